"""What edges ask the leader beside what their streams want. Nothing is decided by it, and nothing
kept: a question that got lost is asked again by whoever still wants to know."""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.placement.scheduler import Work

LONGEST_BODY = 200_000
"""Characters of an answer in one message."""


@dataclass(frozen=True, slots=True)
class RoomAsked:
    """Whether this would find room now."""

    number: int
    """Of the question, at its edge."""
    work: Work
    runs: bool = False
    """The stream runs, and is to become this; else it is new."""


@dataclass(frozen=True, slots=True)
class RoomTold:
    number: int
    reason: str
    """Why not; empty: it would, or nobody can say."""
    earliest_ms: int | None
    """When there will be room if nothing else happens; None: that is not known."""


@dataclass(frozen=True, slots=True)
class ApiAsked:
    """Something of the whole cluster, by an administrator of the edge."""

    number: int
    method: str
    path: str
    """With its query."""


@dataclass(frozen=True, slots=True)
class ApiTold:
    """One part of the answer to that; parts come in order."""

    number: int
    status: int
    body: str
    last: bool


FromAsking = RoomAsked | ApiAsked
Told = RoomTold | ApiTold
