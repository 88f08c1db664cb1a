"""`MediaClock`: one clock for all tracks of a stream."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from streamgen.deliver.rtp import ntp

_NS = 1_000_000_000


class MediaClock:
    """Which wall time belongs to time zero of a stream's packets (RFC 3550, 6.4.1: what makes lips
    move with the sound)."""

    def __init__(self, now_ns: Callable[[], int], wall_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self._ahead = wall_ns() - now_ns()
        self._zero: int | None = None

    def begin(self, pts: int, base: Fraction) -> None:
        """A packet of this time is here now; the first to come decides."""
        if self._zero is None:
            self._zero = self.now_ns() - pts * base.numerator * _NS // base.denominator

    def read(self, rate_hz: int) -> tuple[int, int] | None:
        """NTP time now, and the media time that belongs to it; None before `begin`."""
        if self._zero is None:
            return None
        now = self.now_ns()
        return ntp(now + self._ahead), (now - self._zero) * rate_hz // _NS
