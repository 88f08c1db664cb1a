"""`TrackClock`: a publisher's tracks on one clock, from sender reports (RFC 3550, 6.4.1).

Until both tracks have had a report, what arrives together belongs together: by the earliest
arrival of each, as only lateness varies. Reports may lie: some publishers stamp them when they
send, however late that is, and a clock may be set between two of them.
"""

from __future__ import annotations

_WRAP = 1 << 32
_NS = 1_000_000_000
STEP_NS = 12_000_000
"""Smaller errors are left alone: people notice 45 ms, and each step is heard."""
ROUGH_NS = 40_000_000
"""The same while only arrivals tell."""
SURE_NS = 300_000_000
"""The first reports to be believed may move a track so far; all other steps are asked for twice."""
MOST_NS = 9_000_000_000
"""Tracks are moved no further: those that seem further apart are not stamped by one clock, and the
timeline takes a gap of ten seconds for a jump."""


class TrackClock:
    """RTP timestamps of one track. `leader` is the track whose times are never moved.

    The other one never steps back: where it is moved back, it gives nothing until it has come to
    where it was.
    """

    def __init__(self, rate_hz: int, leader: TrackClock | None = None) -> None:
        self.rate_hz = rate_hz
        self.steps = 0
        """Times that this track was moved against its leader."""
        self._leader = leader
        self._last: int | None = None
        self._zero_ns: int | None = None
        """Local time of timestamp zero: where the track is placed."""
        self._earliest_ns = 0
        """The same, by the earliest arrival so far."""
        self._shift = 0
        self._length = 0
        """Shortest distance of two units."""
        self._end: int | None = None
        """Of the unit that was placed last."""
        self._reported: tuple[int, int] | None = None
        self._compared: tuple[tuple[int, int], tuple[int, int]] | None = None
        """The reports of this track and its leader that were looked at last."""
        self._told_ns = 0
        """What they said of timestamp zero."""
        self._sure = False
        """Reports have been believed: arrivals tell no more."""

    def place(self, timestamp: int, now_ns: int) -> int | None:
        """The time of a timestamp in units of the track's own clock, from local time zero; None
        where that was taken before the track was moved back."""
        former, ticks = self._last, self._unwrapped(timestamp)
        zero_ns = now_ns - ticks * _NS // self.rate_hz
        if self._zero_ns is None:
            self._zero_ns = self._earliest_ns = zero_ns
            self._shift = zero_ns * self.rate_hz // _NS
        self._earliest_ns = min(self._earliest_ns, zero_ns)
        wanted = self._wanted()
        if wanted is not None and self._near(ticks + wanted * self.rate_hz // _NS):
            self._zero_ns = wanted
            self._shift = wanted * self.rate_hz // _NS
            self.steps += 1
        at = ticks + self._shift
        if self._leader is None:
            return at
        if self._end is not None and at < self._end and self._near(at):
            return None
        step = ticks - (ticks if former is None else former)
        if step > 0:
            self._length = min(step, self._length or step)
        self._end = at + max(1, self._length)
        return at

    def restart(self) -> None:
        """Another source: its timestamps have nothing to do with those of the former one."""
        self._last = self._zero_ns = self._reported = self._compared = None
        self._sure = False

    def reported(self, ntp_time: int, timestamp: int) -> None:
        """A sender report: this timestamp was at that time of the publisher's own clock."""
        if self._last is not None and ntp_time:
            self._reported = (ntp_time, self._last + _signed(timestamp - self._last))

    def _near(self, at: int) -> bool:
        """Whether a time is not so far behind what was placed last that the rest waits for long."""
        return self._end is None or self._end - at <= MOST_NS * self.rate_hz // _NS

    def _wanted(self) -> int | None:
        """Where timestamp zero is to be moved, for this track to be where its leader is."""
        leader = self._leader
        if leader is None or leader._zero_ns is None:
            return None
        if leader._reported is None:
            self._sure = False  # or again, if it has another source
        wanted = self._by_reports(leader)
        return wanted if wanted is not None or self._sure else self._by_arrivals(leader)

    def _by_reports(self, leader: TrackClock) -> int | None:
        """The same, if both tracks have reported anew."""
        mine, other, former = self._reported, leader._reported, self._compared
        if mine is None or other is None:
            return None
        if former is not None and (mine is former[0] or other is former[1]):
            return None
        assert self._zero_ns is not None and leader._zero_ns is not None
        told = leader._zero_ns + _epoch_ns(mine, self.rate_hz) - _epoch_ns(other, leader.rate_hz)
        again = former is not None and abs(told - self._told_ns) <= STEP_NS
        self._compared, self._told_ns = (mine, other), told
        by = abs(told - self._zero_ns)
        if by > MOST_NS or not (again or (not self._sure and by <= SURE_NS)):
            return None
        self._sure = True
        return told if by > STEP_NS else None

    def _by_arrivals(self, leader: TrackClock) -> int | None:
        """The same as long as no report has told more."""
        assert self._zero_ns is not None and leader._zero_ns is not None
        told = leader._zero_ns + self._earliest_ns - leader._earliest_ns
        return told if ROUGH_NS < abs(told - self._zero_ns) <= MOST_NS else None

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


def _epoch_ns(report: tuple[int, int], rate_hz: int) -> int:
    """The publisher's time at timestamp zero."""
    ntp_time, ticks = report
    return (ntp_time * _NS >> 32) - ticks * _NS // rate_hz
