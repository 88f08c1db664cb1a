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
    kind: Kind
    id: str
    """The same for every try."""
    unix_ns: int
    """When it happened."""
    stream: str
    session: str
    """How the session's name begins, as logs and files have it: who knows all of it may watch."""
    facts: Mapping[str, Any]
    """Plain values."""

    def body(self, attempt: int) -> bytes:
        """JSON; tries count from 1."""
        happened = datetime.fromtimestamp(self.unix_ns // 1_000_000 / 1e3, UTC)
        told = {
            "event": self.kind.value,
            "id": self.id,
            "time": happened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "attempt": attempt,
            "stream": self.stream,
            "session": self.session,
            **self.facts,
        }
        return json.dumps(told).encode()
