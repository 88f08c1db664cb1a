"""`cluster` in `streamgen.yaml`: where the coordinators are, and who we are to them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from streamgen.config import Settings
from streamgen.control.coordinator.places import address, keyed
from streamgen.control.keys import public_key
from streamgen.control.wire import Place
from streamgen.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}")


class ClusterSettings(Settings):
    """Streams run on any worker of a cluster. Read at the start only."""

    coordinators: tuple[str, ...] = Field(min_length=1)
    """All there are: `10.0.0.5:7100`, or the folder of one on this machine."""
    key: Path | None = None
    """Our own key, made by `streamgen worker --new-key`; workers of this machine have it, too."""
    coordinator_key: str | None = None
    """The coordinators' public key."""
    name: str = Field(default_factory=lambda: re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()))
    """Ours; no other edge has it. Default: the machine's."""
    link: str | None = None
    """Where workers of other machines find this edge's link; default: `link.listen`."""
    mirror: str | None = None
    """`host:port` where other edges fetch what their viewers want of the streams that are here.
    Without it they come to the folder of the link, where the coordinators are in folders, too."""
    edges: tuple[str, ...] = ()
    """Public keys of the other edges, which may do that."""
    profiles: Path | None = None
    """What streams take, as `streamgen profile` prints it, below `profiles` in a YAML file. What is
    not there is assumed by size and rate."""

    @field_validator("coordinators")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            _as_value(address, place)
        return value

    @field_validator("coordinator_key")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        if value is not None:
            _as_value(public_key, value)
        return value

    @field_validator("edges")
    @classmethod
    def _edges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            _as_value(public_key, key)
        return value

    @field_validator("link", "mirror")
    @classmethod
    def _link(cls, value: str | None) -> str | None:
        if value is not None:
            _as_value(Place.at, value)
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"not a name for an edge: '{value}'")
        return value

    @model_validator(mode="after")
    def _with_keys(self) -> ClusterSettings:
        """Between machines nobody talks without."""
        if self.between_machines and (self.key is None or self.coordinator_key is None):
            raise ValueError("coordinators at a port need key and coordinator_key")
        if self.mirror is not None and self.key is None:
            raise ValueError("mirror: nobody listens there without key")
        return self

    @property
    def between_machines(self) -> bool:
        """Others than processes of this machine may be in it."""
        return any(keyed(place) for place in self.coordinators)


def _as_value(read: Callable[[str], object], text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
