"""`Wishes`: which packets that a viewer says it misses are sent again, and when (RFC 4585, 6.2.1).

On a way with jitter packets overtake each other, and most of what is missed is only late. A wish
for a packet that may still be on its way waits, and is dropped when it is told to have come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from streamgen.deliver.congestion.sent import Sent

MOST_ASKED = 512
"""Packets that one wish is looked through for: a message can name thousands."""
BYTES = 128 << 10
"""Retransmissions to one viewer before it must wait: a quarter of what it is sent, this at once."""
STAMPS = 512
JITTER_US = 6_000
"""Less than this is none."""
PATIENCE = 3
"""Packets may be late by so many times the mean."""


class Wishes:
    """Numbers are those of the viewer's RTP, without wraps."""

    def __init__(self, sent: Sent | None) -> None:
        """`sent` knows what has come, where the viewer tells of each packet."""
        self.left = BYTES
        """Octets that may be sent again now."""
        self._sent = sent
        self._stamps: deque[tuple[int, int]] = deque(maxlen=STAMPS)
        self._waiting: dict[int, None] = {}

    def sending(self, number: int, octets: int) -> None:
        """Packets from this number on are sent next."""
        self.left = min(BYTES, self.left + octets // 4)
        if self._sent is not None:
            self._stamps.append((number, self._sent.next))

    def sort(self, numbers: Iterable[int], now_us: int) -> tuple[list[int], float | None]:
        """Those of these, and of those that waited, to send now; seconds until to come again."""
        sent = self._sent
        if sent is None or sent.late_us < JITTER_US:
            found = [*self._waiting, *numbers]
            self._waiting.clear()
            return found, None
        due: list[int] = []
        wait_us: float | None = None
        waiting, self._waiting = self._waiting, {}
        for number in [*waiting, *numbers]:
            counted = self._counted(number)
            if counted is None or counted < sent.oldest:
                due.append(number)
                continue
            if sent.arrived_us(counted) > 0:
                continue
            left_us = sent.time_us(counted) + sent.trip_us + PATIENCE * sent.late_us - now_us
            if left_us <= 0:
                due.append(number)
            elif len(self._waiting) < MOST_ASKED:
                self._waiting[number] = None
                wait_us = left_us if wait_us is None else min(wait_us, left_us)
        return due, None if wait_us is None else wait_us / 1e6

    def _counted(self, number: int) -> int | None:
        """Its number in the transport."""
        for first, counted in reversed(self._stamps):
            if number >= first:
                return counted + number - first
        return None

    def forget(self) -> None:
        self._waiting.clear()
