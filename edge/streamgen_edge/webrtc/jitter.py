"""`JitterBuffer`: RTP packets to whole pictures, at once where nothing is missing.

A picture is out with the packet that bears its marker, not with the next one's first. What is
missing is waited for only so long; then everything up to the next key frame is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

MOST = 2048
"""Packets held; more are as good as lost."""
_LEAP = 3000
"""A sequence number so far away belongs to another source."""
_HALF = 0x8000


@dataclass(frozen=True, slots=True)
class Arrived:
    """One packet, its payload without the codec's packetization."""

    timestamp: int
    marker: bool
    data: bytes
    begins_key: bool = False
    """A key picture certainly begins here."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A picture, or one packet of sound."""

    timestamp: int
    data: bytes


class JitterBuffer:
    """For one source. Video needs markers (RFC 6184, 5.1; RFC 7741, 4.1); of sound every packet
    is a unit."""

    def __init__(self, *, video: bool, wait_ns: int, is_key: Callable[[bytes], bool]) -> None:
        self.broken = False
        """Pictures are left out until the next key frame: ask for one."""
        self.skipped = 0
        """Times that something missing was given up."""
        self._video = video
        self._wait_ns = wait_ns
        self._is_key = is_key
        self._held: dict[int, Arrived] = {}
        self._came_ns: dict[int, int] = {}
        """When each of them came."""
        self._next: int | None = None
        """The first that is not out."""
        self._scan = 0
        self._high = 0
        self._blocked_ns: int | None = None
        self._whole = True
        """The next picture's beginning is known to be there."""

    @property
    def blocked(self) -> bool:
        return self._blocked_ns is not None

    def missing(self, most: int = MOST) -> list[int]:
        """Sequence numbers on 16 bits that are waited for, oldest first, and no more than that."""
        if self._next is None:
            return []
        waited = (at & 0xFFFF for at in range(self._next, self._high) if at not in self._held)
        return list(islice(waited, most))

    def add(self, sequence: int, packet: Arrived, now_ns: int) -> list[Unit]:
        """One packet in any order; the units that are whole now."""
        at = self._place(sequence)
        if self._next is None:
            self._next = self._scan = at
            self._high = at
        if at < self._next:
            return []  # too late, or a second time
        self._held[at] = packet
        self._came_ns[at] = now_ns
        self._high = max(self._high, at)
        if len(self._held) > MOST:
            self._skip()
        return self._whole_units(now_ns)

    def expire(self, now_ns: int) -> list[Unit]:
        """Give up what has been missing for too long."""
        out: list[Unit] = []
        while self._blocked_ns is not None and now_ns - self._blocked_ns >= self._wait_ns:
            self._skip()
            out += self._whole_units(now_ns)
        return out

    def _place(self, sequence: int) -> int:
        """The sequence number beyond 16 bits."""
        if self._next is None:
            return sequence
        step = (sequence - self._high) & 0xFFFF
        step -= (step & _HALF) << 1
        if abs(step) > _LEAP:
            self._held.clear()
            self._came_ns.clear()
            self._next = None
            self._blocked_ns = None
            self.broken = self._video
            self._whole = not self._video
            return sequence
        return self._high + step

    def _whole_units(self, now_ns: int) -> list[Unit]:
        out: list[Unit] = []
        held = self._held
        hole = self._scan
        while (packet := held.get(self._scan)) is not None:
            before = held.get(self._scan - 1)
            if self._video and before is not None and before.timestamp != packet.timestamp:
                # A source may leave markers out: the next picture's time ends this one as well.
                out += self._emit()
            self._scan += 1
            if packet.marker or not self._video:
                out += self._emit()
        if self._scan <= self._high and self._high in held:
            if self._blocked_ns is None or self._scan != hole:
                # Whatever has come beyond shows that something is missing: every hole's time
                # runs by itself, or many of them would be waited for one after the other.
                came = self._came_ns
                self._blocked_ns = min(came[at] for at in held if at > self._scan)
        else:
            self._blocked_ns = None
        return out

    def _emit(self) -> list[Unit]:
        assert self._next is not None
        first = self._next
        packets = [self._held.pop(at) for at in range(first, self._scan)]
        for at in range(first, self._scan):
            del self._came_ns[at]
        self._next = self._scan
        begins = self._whole or packets[0].begins_key
        self._whole = True
        data = b"".join([packet.data for packet in packets])
        if not begins or not data:
            return []
        if self.broken:
            if not self._is_key(data):
                return []
            self.broken = False
        return [Unit(packets[0].timestamp, data)]

    def _skip(self) -> None:
        """Go on behind what is missing."""
        self.skipped += 1
        begin = min((at for at in self._held if at > self._scan), default=self._high + 1)
        for at in [at for at in self._held if at < begin]:
            del self._held[at], self._came_ns[at]
        self._next = self._scan = begin
        self._blocked_ns = None
        if self._video:
            # The damaged picture's rest is no picture, and what refers to it is grey.
            self.broken = True
            self._whole = False
