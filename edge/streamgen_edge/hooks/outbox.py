"""`Outbox`: the events that one service has still to be told, in memory, and when each may be
tried. Its sibling `stored.StoredOutbox` has them in the store."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from streamgen_edge.hooks.event import Event

MOST = 1000
KEPT_S = 600.0
"""An event that is older is news no more."""
SOON_S = 0.1
"""Who leaves waits for what is due so soon."""
TOO_MANY = "too many events wait"
NEVER_S = float("inf")


class Lose(Protocol):
    def __call__(self, what: str, number: int, reason: str) -> None:
        """So many events will not be told; `what` is how they are counted."""
        ...


@dataclass(slots=True, eq=False)
class Waiting:
    """An event on its way."""

    event: Event
    until_s: float
    tries: int = 0
    number: int = 0
    """In the order in which they happened."""
    due_s: float = -NEVER_S


class Outbox:
    """When it is full the oldest makes room. Events of one stream leave in their order: while one
    waits for its next try, so do those behind it, but not those of other streams."""

    def __init__(self, lose: Lose, most: int = MOST) -> None:
        self.woken = asyncio.Event()
        """There may be something to take."""
        self._lose, self._most = lose, most
        self._all: list[Waiting] = []
        """Oldest first."""
        self._taken = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._all) + self._taken

    @property
    def fleeting(self) -> int:
        """Events that end with this process."""
        return len(self)

    def kept(self) -> AbstractAsyncContextManager[None]:
        """To be within while events are taken."""
        return nullcontext()

    def put(self, event: Event, now_s: float) -> None:
        """Does not wait."""
        self._number += 1
        self._all.append(Waiting(event, now_s + KEPT_S, number=self._number))
        self._shed()
        self.woken.set()

    async def take(self, now_s: float) -> Waiting | None:
        """What may be tried now. It is settled or put back after that."""
        self._expire(now_s)
        for one in self._first():
            if one.due_s <= now_s:
                self._all.remove(one)
                self._taken += 1
                return one
        return None

    async def settle(self, waiting: Waiting) -> None:
        """It is heard, or given up."""
        self._taken -= 1

    async def put_back(self, waiting: Waiting, due_s: float) -> None:
        """It was taken in vain: at its old place, not before that time."""
        self._taken -= 1
        waiting.due_s = due_s
        insort(self._all, waiting, key=lambda one: one.number)
        self._shed()

    def due_s(self) -> float:
        """When there may be something to take; infinite where nothing is left."""
        return min((one.due_s for one in self._first()), default=NEVER_S)

    def hurry(self) -> None:
        """Nothing more comes, and all may be tried now."""
        for one in self._all:
            one.due_s = -NEVER_S
        self.woken.set()

    def _expire(self, now_s: float) -> None:
        old = next((n for n, one in enumerate(self._all) if one.until_s > now_s), len(self._all))
        del self._all[:old]
        if old:
            self._lose("failed", old, f"older than {KEPT_S:g} s")

    def _first(self) -> Iterator[Waiting]:
        """The oldest of each stream."""
        seen: set[str] = set()
        for one in self._all:
            if one.event.stream not in seen:
                seen.add(one.event.stream)
                yield one

    def _shed(self) -> None:
        more = max(0, len(self._all) - self._most)
        del self._all[:more]
        if more:
            self._lose("dropped", more, TOO_MANY)
