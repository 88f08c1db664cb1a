"""`Sent`: the last packets of one transport, by transport-wide number, and what came of them."""

from __future__ import annotations

from array import array

KEPT = 4096
"""Packets: some 8 s at 4 Mbit/s; what is told of older ones comes too late."""
_MASK = KEPT - 1
UNKNOWN, ABSENT = 0, -1
"""Instead of an arrival: nothing was said of the packet; it had not come when it was spoken of."""


class Sent:
    """Numbers are counted on without wraps; on the wire are their lowest 16 bits."""

    def __init__(self) -> None:
        self.next = 1
        """Number of the next packet."""
        self.octets = 0
        self.late_us = 0.0
        """By how much packets are late on the average, without a queue: jitter."""
        self.trip_us = 0.0
        """The shortest time from a packet to what is told of it."""
        self._times = array("q", bytes(8 * KEPT))
        self._sizes = array("H", bytes(2 * KEPT))
        self._arrivals = array("q", bytes(8 * KEPT))

    def add(self, octets: int, now_us: int) -> None:
        at = self.next & _MASK
        self._times[at] = now_us
        self._sizes[at] = octets
        self._arrivals[at] = UNKNOWN
        self.octets += octets
        self.next += 1

    @property
    def oldest(self) -> int:
        return max(1, self.next - KEPT)

    def number(self, low: int) -> int | None:
        """The number of these lowest 16 bits; None where it is none of those kept."""
        last = self.next - 1
        number = last - ((last - low) & 0xFFFF)
        return number if number >= self.oldest else None

    def time_us(self, number: int) -> int:
        return self._times[number & _MASK]

    def size(self, number: int) -> int:
        return self._sizes[number & _MASK]

    def arrived_us(self, number: int) -> int:
        """By the viewer's clock, above 0; or `UNKNOWN`, or `ABSENT`."""
        return self._arrivals[number & _MASK]

    def arrive(self, number: int, at_us: int) -> bool:
        """False for one that is known to have come."""
        at = number & _MASK
        if self._arrivals[at] > 0:
            return False
        self._arrivals[at] = at_us
        return True

    def miss(self, number: int) -> None:
        """It had not come; perhaps it still does."""
        at = number & _MASK
        if self._arrivals[at] == UNKNOWN:
            self._arrivals[at] = ABSENT
