"""`Event`: something that happened to a stream, as others are told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any


class Kind(Enum):
    PUBLISH = "on_publish"
    """A stream has begun: viewers get its first picture."""
    END = "on_end"
    """It is over."""
    RECORD = "on_record"
    """A file of its recording is closed."""


class EndReason(Enum):
    """Why a stream is over."""

    PUBLISHER = "publisher"
    """Who published ended it."""
    LOST = "lost"
    """The publisher was lost and did not come back within `grace`."""
    ASKED = "asked"
    """By the API."""
    FAILED = "failed"
    """It could not go on; the error says why."""
    SERVER = "server"
    """The server stops."""
    MOVED = "moved"
    """It is not: it goes on at another edge. Nobody is told."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a service is told, but for the number of the try."""

    id: str
    """The same for every try."""
    stream: str
    unix_ns: int
    """When it happened."""
    told: Mapping[str, Any]
    """Plain values, in the order in which they are told."""

    @classmethod
    def of(
        cls, kind: Kind, id: str, unix_ns: int, stream: str, session: str, facts: Mapping[str, Any]
    ) -> Event:
        """`session` is how its name begins, as logs and files have it: who knows all of it may
        watch."""
        happened = datetime.fromtimestamp(unix_ns // 1_000_000 / 1e3, UTC)
        told = {
            "event": kind.value,
            "id": id,
            "time": happened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "attempt": 0,
            "stream": stream,
            "session": session,
            **facts,
        }
        return cls(id, stream, unix_ns, told)

    def body(self, attempt: int) -> bytes:
        """JSON; tries count from 1."""
        return json.dumps({**self.told, "attempt": attempt}).encode()
