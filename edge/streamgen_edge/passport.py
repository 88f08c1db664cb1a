"""`Passport`: all by which another edge goes on with a session. The home of a stream gives it to
the coordinators, who keep it and do not read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from streamgen.deliver.live import LiveSettings
from streamgen.errors import ConfigError
from streamgen_edge.attachment import OutTrack
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.viewing import Viewing

FORM = 1
OVER = "over"
"""In place of a passport, where there is nothing to go on with."""
LONGEST_BYTES = 64 << 10
"""Of its text. A session whose passport were longer is not gone on with elsewhere."""
_SESSION = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the API wants done with a stream, beside the configuration, which every edge has."""

    record: bool | None = None
    """None: as configured."""
    push: Mapping[str, PushSettings | None] = field(default_factory=dict)
    """By id, as `push.pushes.Pushes` remembers them."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a stream goes on from where another edge had it."""

    passport: Passport
    elapsed_ns: int
    """Since the session's beginning, by the clock on the wall."""
    viewing: Viewing | None = None
    """Its viewers here, with what they have; None: there are none."""


class Session(Protocol):
    """A stream that has begun (`stream.LiveStream`)."""

    @property
    def session(self) -> str: ...
    @property
    def pipeline(self) -> dict[str, Any]: ...
    @property
    def params(self) -> dict[str, dict[str, Any]]: ...
    @property
    def version(self) -> int: ...
    @property
    def viewing(self) -> Viewing: ...


@dataclass(frozen=True, slots=True)
class Passport:
    session: str
    unix_ns: int
    """Wall clock at zero of the output timeline."""
    pipeline: dict[str, Any]
    params: dict[str, dict[str, Any]]
    version: int
    tracks: tuple[OutTrack, ...]
    hls: LiveSettings
    wishes: Wishes = Wishes()

    @classmethod
    def of(cls, stream: Session, wishes: Wishes) -> Passport | None:
        """As a stream is now; None before it has begun."""
        packager = stream.viewing.packager
        if packager is None:
            return None
        return cls(
            stream.session,
            packager.start.unix_ns,
            stream.pipeline,
            stream.params,
            stream.version,
            tuple(stream.viewing.tracks),
            packager.settings,
            wishes,
        )

    @property
    def text(self) -> str:
        """For the coordinators; `OVER` where it is too long for them."""
        text = json.dumps(
            {
                "form": FORM,
                "session": self.session,
                "unix_ns": self.unix_ns,
                "pipeline": self.pipeline,
                "params": self.params,
                "version": self.version,
                "tracks": [track.told for track in self.tracks],
                "hls": asdict(self.hls),
                "record": self.wishes.record,
                "push": {id: _written(one) for id, one in self.wishes.push.items()},
            },
            separators=(",", ":"),
        )
        return text if len(text) <= LONGEST_BYTES else OVER

    @classmethod
    def read(cls, text: str) -> Passport:
        """Raises `ConfigError` for what is none, or none that this version understands."""
        try:
            told = json.loads(text)
            if told["form"] != FORM or not _SESSION.fullmatch(told["session"]):
                raise ConfigError("a session's passport of another form")
            record = told["record"]
            return cls(
                session=told["session"],
                unix_ns=int(told["unix_ns"]),
                pipeline=dict(told["pipeline"]),
                params={str(node): dict(values) for node, values in told["params"].items()},
                version=int(told["version"]),
                tracks=tuple(OutTrack.of(track) for track in told["tracks"]),
                hls=LiveSettings(**{str(key): int(ns) for key, ns in told["hls"].items()}),
                wishes=Wishes(
                    None if record is None else bool(record),
                    {str(id): _read(one) for id, one in told["push"].items()},
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ConfigError(f"not a session's passport: {error!r}") from error


def _written(push: PushSettings | None) -> dict[str, Any] | None:
    return None if push is None else push.model_dump(mode="json", exclude_none=True)


def _read(push: Any) -> PushSettings | None:
    """Raises `ValueError`."""
    return None if push is None else PushSettings.model_validate(push)
