"""`Outbox`: the events that one service has still to be told, and when each may be tried."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from streamgen_edge.hooks.event import Event

MOST = 1000
KEPT_S = 600.0
"""An event that is older is news no more."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An event on its way."""

    event: Event
    number: int
    """In the order in which they happened."""
    until_s: float
    due_s: float = float("-inf")
    tries: int = 0


class Outbox:
    """When it is full the oldest makes room. Events of one stream leave in their order: while one
    waits for its next try, so do those behind it, but not those of other streams."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._all: list[Waiting] = []
        """Oldest first."""
        self._number = 0

    def __len__(self) -> int:
        return len(self._all)

    def put(self, event: Event, now_s: float) -> int:
        """How many were dropped to make room."""
        self._number += 1
        self._all.append(Waiting(event, self._number, now_s + KEPT_S))
        return self._shed()

    def put_back(self, waiting: Waiting, due_s: float) -> int:
        """It was taken in vain: at its old place, not before that time. As `put`."""
        waiting.due_s = due_s
        insort(self._all, waiting, key=lambda one: one.number)
        return self._shed()

    def take(self, now_s: float) -> Waiting | None:
        """What may be tried now."""
        for one in self._first():
            if one.due_s <= now_s:
                self._all.remove(one)
                return one
        return None

    def due_s(self) -> float:
        """When there may be something to take; infinite where nothing is left."""
        return min((one.due_s for one in self._first()), default=float("inf"))

    def expire(self, now_s: float) -> int:
        """How many were too old."""
        old = next((n for n, one in enumerate(self._all) if one.until_s > now_s), len(self._all))
        del self._all[:old]
        return old

    def hurry(self) -> None:
        """All may be tried now."""
        for one in self._all:
            one.due_s = float("-inf")

    def _first(self) -> Iterator[Waiting]:
        """The oldest of each stream."""
        seen: set[str] = set()
        for one in self._all:
            if one.event.stream not in seen:
                seen.add(one.event.stream)
                yield one

    def _shed(self) -> int:
        more = max(0, len(self._all) - self._most)
        del self._all[:more]
        return more
