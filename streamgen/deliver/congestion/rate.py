"""`Rate`: what a track takes, as its viewers would feel it."""

from __future__ import annotations

from collections import deque

STEP_NS = 1_000_000_000
STEPS = 8
"""The fullest second of so many: what moves again soon needs the room that it needed before."""


class Rate:
    def __init__(self) -> None:
        self._full: deque[int] = deque(maxlen=STEPS)
        self._octets = 0
        self._began_ns: int | None = None

    def add(self, octets: int, now_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = now_ns
        took = now_ns - self._began_ns
        if took >= STEP_NS:
            self._full.append(self._octets * 8 * STEP_NS // took)
            self._octets, self._began_ns = 0, now_ns
        self._octets += octets

    @property
    def bps(self) -> int | None:
        """None in the first second."""
        return max(self._full, default=None)
