"""`Alarms`: what has to be looked at again, and when."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from heapq import heappop, heappush


class About(Enum):
    """What an alarm is about; its name says of which node or stream."""

    ATTACH = "attach"
    """A new owner should have begun by now."""
    PATIENCE = "patience"
    """Who wants the stream gives up waiting."""
    RETRY = "retry"
    """A stream that failed is tried again."""
    BACK_OFF = "back-off"
    """A node that failed is trusted again."""
    DRAIN = "drain"
    """A node that is emptied waits no longer for its batch work."""
    SETTLED = "settled"
    """A new leader has waited long enough for what nodes report."""
    DEFRAGMENT = "defragment"


class Alarms:
    """One each of a kind and name. Setting it again moves it."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, About, str]] = []
        self._set: dict[tuple[About, str], int] = {}
        self._number = 0

    def set(self, about: About, name: str, at_ms: int) -> None:
        self._number += 1
        self._set[about, name] = self._number
        heappush(self._heap, (at_ms, self._number, about, name))

    def clear(self, about: About, name: str) -> None:
        self._set.pop((about, name), None)

    def __contains__(self, key: tuple[About, str]) -> bool:
        return key in self._set

    def due(self, now_ms: int) -> Iterator[tuple[About, str]]:
        """Those whose time has come, in its order; each is over with that."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, number, about, name = heappop(self._heap)
            if self._set.get((about, name)) == number:
                del self._set[about, name]
                yield about, name
