"""`Ends`: when what runs will be over, as far as that is known, so that a no can say until when."""

from __future__ import annotations

from bisect import bisect_left, insort

from streamgen.control.placement.bins import Bins, Vector

LOOK = 100
"""Ends that are looked at: who needs more of them than that waits for something unknown as well."""
Key = tuple[str, int]
"""Work and slot."""


class Ends:
    """Kept in order of time."""

    def __init__(self) -> None:
        self._in_order: list[tuple[int, str, int]] = []
        self._gains: dict[Key, tuple[int, Vector]] = {}

    def add(self, name: str, slot: int, at_ms: int, gain: Vector) -> None:
        """What this work has there will be free then."""
        self.discard(name, slot)
        self._gains[name, slot] = at_ms, gain
        insort(self._in_order, (at_ms, name, slot))

    def discard(self, name: str, slot: int) -> None:
        """It is over, or gone."""
        known = self._gains.pop((name, slot), None)
        if known is not None:
            del self._in_order[bisect_left(self._in_order, (known[0], name, slot))]

    def earliest(self, need: Vector, bins: Bins) -> int | None:
        """When a node has room for this if nothing else comes; None: that is not known."""
        gained: dict[int, Vector] = {}
        for at_ms, name, slot in self._in_order[:LOOK]:
            _, gain = self._gains[name, slot]
            gained[slot] = gained[slot] + gain if slot in gained else gain
            if bins.fits(slot, need - gained[slot]):
                return at_ms
        return None
