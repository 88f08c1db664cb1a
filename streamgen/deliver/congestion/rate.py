"""`Rate`: what a track takes, as its viewers would feel it."""

from __future__ import annotations

from collections import deque

STEP_NS = 4_000_000_000
"""Long enough that key frames that were asked for do not count for much."""
STEPS = 3
"""The fullest of so many: what moves again soon needs the room that it needed before."""
FIRST_NS = 2_000_000_000


class Rate:
    def __init__(self) -> None:
        self._full: deque[int] = deque(maxlen=STEPS)
        self._octets = 0
        self._began_ns: int | None = None
        self._last_ns = 0

    def add(self, octets: int, now_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = now_ns
        took = now_ns - self._began_ns
        if took >= STEP_NS:
            self._full.append(self._octets * 8_000_000_000 // took)
            self._octets, self._began_ns = 0, now_ns
        self._octets += octets
        self._last_ns = now_ns

    @property
    def bps(self) -> int | None:
        """None in the first seconds."""
        if self._full:
            return max(self._full)
        took = self._last_ns - (self._began_ns or self._last_ns)
        return self._octets * 8_000_000_000 // took if took >= FIRST_NS else None
