"""`Notice`: an event of which one service has to be told, as the store keeps it until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Notice:
    target: str
    """Name of a configured hook, never a URL with secrets in it."""
    event: str
    """The same for every target and every try."""
    about: str
    """Notices about one stream are told one after the other."""
    created_ms: int
    """When it happened, by the clock of who saw it."""
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimedNotice:
    """A notice that one sender has for now. The next claim of it has a higher `attempt`."""

    notice: Notice
    attempt: int
    """From 1."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one target."""

    left: int
    """Those that somebody is about to tell included."""
    due_ms: int | None
    """From now on, until one may be claimed; None: nothing is left."""
