"""`TrackClock`: a publisher's tracks on one clock, from sender reports (RFC 3550, 6.4.1).

Until both tracks have had a report, what arrives together belongs together.
"""

from __future__ import annotations

_WRAP = 1 << 32
_NS = 1_000_000_000
STEP_NS = 12_000_000
"""Smaller errors are left alone: people notice 45 ms, and each step is heard."""


class TrackClock:
    """RTP timestamps of one track. `leader` is the track whose times are never moved."""

    def __init__(self, rate_hz: int, leader: TrackClock | None = None) -> None:
        self.rate_hz = rate_hz
        self.steps = 0
        """Times that a report moved this track against its leader."""
        self._leader = leader
        self._last: int | None = None
        self._zero_ns: int | None = None
        """Local time of timestamp zero, as far as arrivals tell."""
        self._shift = 0
        self._reported: tuple[int, int] | None = None

    def place(self, timestamp: int, now_ns: int) -> int:
        """The time of a timestamp in units of the track's own clock, from local time zero."""
        ticks = self._unwrapped(timestamp)
        if self._zero_ns is None:
            self._zero_ns = now_ns - ticks * _NS // self.rate_hz
            self._shift = self._zero_ns * self.rate_hz // _NS
            self._align()
        return ticks + self._shift

    def reported(self, ntp_time: int, timestamp: int) -> None:
        """A sender report: this timestamp was at that time of the publisher's own clock."""
        if self._last is None or not ntp_time:
            return
        near = self._last + _signed(timestamp - self._last)
        self._reported = (ntp_time, near)
        self._align()

    def _align(self) -> None:
        leader = self._leader
        if leader is None or self._reported is None or leader._reported is None:
            return
        if self._zero_ns is None or leader._zero_ns is None:
            return
        behind = _epoch_ns(self) - _epoch_ns(leader)
        wanted = leader._zero_ns + behind
        if abs(wanted - self._zero_ns) > STEP_NS:
            self._zero_ns = wanted
            self._shift = wanted * self.rate_hz // _NS
            self.steps += 1

    def _unwrapped(self, timestamp: int) -> int:
        if self._last is None:
            self._last = timestamp
            return timestamp
        near = self._last + _signed(timestamp - self._last)
        self._last = max(self._last, near)
        return near


def _signed(step: int) -> int:
    step &= _WRAP - 1
    return step - _WRAP if step >= _WRAP // 2 else step


def _epoch_ns(clock: TrackClock) -> int:
    """The publisher's time at timestamp zero."""
    assert clock._reported is not None
    ntp_time, ticks = clock._reported
    return (ntp_time * _NS >> 32) - ticks * _NS // clock.rate_hz
