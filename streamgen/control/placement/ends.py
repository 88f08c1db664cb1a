"""`Ends`: when what runs will be over, as far as that is known, so that a no can say until when."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from streamgen.control.placement.bins import Bins, Vector

LOOK = 100
"""Ends that are looked at: who needs more of them than that waits for something unknown as well."""


class Ends:
    """Kept in order of time."""

    def __init__(self) -> None:
        self._in_order: list[tuple[int, str, int]] = []
        self._known: dict[tuple[str, int], int] = {}

    def expect(self, name: str, slot: int, at_ms: int | None) -> None:
        """What this work has there will be free then; None: nobody knows when."""
        known = self._known.pop((name, slot), None)
        if known is not None:
            del self._in_order[bisect_left(self._in_order, (known, name, slot))]
        if at_ms is not None:
            self._known[name, slot] = at_ms
            insort(self._in_order, (at_ms, name, slot))

    def earliest(
        self,
        need: Vector,
        parts: frozenset[str],
        bins: Bins,
        takes: Callable[[str, int], Vector],
    ) -> int | None:
        """When a node that has these parts has room for this if nothing else comes; None: that is
        not known. `takes` says what work has on a slot now."""
        gained: dict[int, Vector] = {}
        for at_ms, name, slot in self._in_order[:LOOK]:
            gain = takes(name, slot)
            gained[slot] = gained[slot] + gain if slot in gained else gain
            if bins.fits(slot, need - gained[slot], parts=parts):
                return at_ms
        return None
