"""`PushSettings`: where a stream is sent on to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from streamgen.config import Settings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.target import by_rtmp, target_of

PUSH_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class PushSettings(Settings):
    """One server that a stream is sent on to, as it is painted."""

    url: str = Field(repr=False)
    """`rtmp://host/app/key`, `rtmps://host/app/key`, or a WHIP endpoint, `https://host/path`."""
    token: str | None = Field(default=None, repr=False, min_length=1, max_length=4096)
    """Bearer token of a WHIP endpoint."""
    rung: str | None = None
    """The one that is sent, such as `480p`; default: the top one that the protocol can carry."""
    id: str | None = None
    """What it is called in the API and in metrics; default: its host."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        target_of(value)
        return value

    @field_validator("token")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValueError("a token has no such characters")
        return value

    @field_validator("id")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is not None and not PUSH_ID.fullmatch(value):
            raise ValueError("letters, digits, '.', '_' and '-' only, 64 at most")
        return value

    @model_validator(mode="after")
    def _of_whip(self) -> PushSettings:
        if self.token is not None and by_rtmp(self.target):
            raise ValueError("token is for WHIP: RTMP has its key in the address")
        return self

    @property
    def target(self) -> Url:
        return target_of(self.url)


def _written(value: Any) -> Any:
    """An address alone will do."""
    return {"url": value} if isinstance(value, str) else value


WrittenPush = Annotated[PushSettings, BeforeValidator(_written)]


def named(pushes: Sequence[PushSettings]) -> dict[str, PushSettings]:
    """By id; targets on one host get numbers. Raises `ValueError` for an id that stands twice."""
    found: dict[str, PushSettings] = {}
    for one in pushes:
        if one.id is not None and found.setdefault(one.id, one) is not one:
            raise ValueError(f"the id '{one.id}' stands twice")
    for one in pushes:
        if one.id is None:
            host = re.sub(r"[^A-Za-z0-9._-]", "-", one.target.host)[:60]
            names = (host if n == 1 else f"{host}-{n}" for n in range(1, len(pushes) + 2))
            found[next(name for name in names if name not in found)] = one
    return found
