"""Key frames and frame rate, decided once for all rungs, on the time of the output."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from streamgen.errors import ConfigError
from streamgen.media.frame import Frame
from streamgen.telemetry import Telemetry

_NS = 1_000_000_000
_LOOKED_S = Fraction(1, 2)
"""A source has another rate when two such spans in a row say so."""
_OTHER = Fraction(5, 4)
"""A rate that differs by so much is another one."""
_SAID, _SEEN = Fraction(101, 100), Fraction(11, 10)
"""How far above the cap a rate may be that was told, and one that was measured."""


class FrameClock:
    """Says where every rung begins a closed GOP; encoders add no key frame of their own.

    The grid is absolute: its points are the whole multiples of the interval on the output
    timeline, so two workers that encode the same stream cut it at the same pictures. Called by one
    thread; `request` by any.
    """

    def __init__(self, interval_ns: int) -> None:
        if interval_ns <= 0:
            raise ConfigError(f"the key frame interval must be positive, got {interval_ns} ns")
        self.interval_ns = interval_ns
        self._cell: int | None = None
        self._epoch = 0
        self._requested = False
        self._also_ns: int | None = None

    def also_at(self, at_ns: int) -> None:
        """One key frame beside the grid, at the first picture at or after this output time: the
        opening segments of a live stream are shorter. Before the first picture."""
        self._also_ns = at_ns

    def mark(self, frame: Frame) -> Frame:
        """The same picture, tagged `keyframe` where a GOP begins.

        That is the first picture, the first at or after each grid point, the first of a new
        epoch, and the first after a `request`. Key frames of the source are of no consequence.
        """
        base = frame.time_base
        cell = frame.pts * base.numerator * _NS // (base.denominator * self.interval_ns)
        begins = cell != self._cell or frame.epoch != self._epoch or self._requested
        if self._also_ns is not None and frame.pts * base.numerator * _NS >= (
            self._also_ns * base.denominator
        ):
            begins, self._also_ns = True, None
        if begins:
            self._cell = cell
            self._epoch = frame.epoch
            self._requested = False
        return frame if frame.keyframe == begins else frame.retimed(keyframe=begins)

    def request(self) -> None:
        """Make the next picture a key frame: somebody joined, or lost packets."""
        self._requested = True


class RateCap:
    """Thins pictures above a frame rate evenly: 50 and 60 Hz become 25 and 30, 120 becomes 30.

    Every picture that stays keeps its exact PTS. With a nominal rate above the cap, a picture stays
    when it is at least `n - 1/2` nominal pictures after the last one that stayed, `n` the smallest
    power of two that fits. So jitter below a quarter of a picture changes nothing, and the slow
    passages of a variable frame rate are left alone. A source that is faster than its nominal rate
    for a second is taken for what it is, until it no longer is. Without a nominal rate, pictures
    closer than 0.9 cap periods go.
    """

    def __init__(self, cap_hz: int, rate: Fraction | None, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._cap_hz = cap_hz
        self._nominal = self._believed = rate
        self._kept_hz: Fraction | None = None
        self._least_s: Fraction | None = Fraction(9, 10 * cap_hz)
        """Between two pictures that stay; None: all of them stay."""
        if rate is not None:
            self._believe(rate, _SAID)
        self.rate = self._kept_hz
        """Nominal frame rate of what stays."""
        self._last: Fraction | None = None
        self._epoch = 0
        self._span: tuple[Fraction, int] | None = None
        """Where the present span began, and how many pictures it has."""
        self._former: Fraction | None = None
        """Rate of the span before."""

    def keep(self, frame: Frame) -> Frame | None:
        """The picture, shown for as long as the ones dropped after it; None when it is dropped.

        Counted as `dropped{fps_cap}`.
        """
        at = frame.pts * frame.time_base
        if frame.epoch != self._epoch:
            self._last, self._epoch = None, frame.epoch
            self._span = self._former = None
        if self._nominal is not None:
            self._look(at, self._nominal)
        least_s, last = self._least_s, self._last
        if least_s is None:
            self._last = at
            return frame
        if last is not None and at - last < least_s:
            self._telemetry.count("dropped", "fps_cap")
            return None
        self._last = at
        if self._kept_hz is None or frame.duration == 0:
            return frame
        longest = ceil(1 / (self._kept_hz * frame.time_base) - Fraction(1, 2))
        return frame if frame.duration >= longest else frame.retimed(duration=longest)

    def _believe(self, rate: Fraction, above: Fraction) -> None:
        every = 1
        while rate > every * self._cap_hz * above:
            every *= 2
        self._believed, self._kept_hz = rate, rate / every
        self._least_s = None if every == 1 else (every - Fraction(1, 2)) / rate

    def _look(self, at: Fraction, nominal: Fraction) -> None:
        """Whether the source has another rate than the one that is believed."""
        began, pictures = self._span or (at, 0)
        if at - began < _LOOKED_S:
            self._span = began, pictures + 1
            return
        rate, former, believed = pictures / (at - began), self._former, self._believed or nominal
        self._span, self._former = (at, 1), rate
        if former is None or not _alike(rate, former):
            return
        if rate <= nominal * _OTHER and believed != nominal:
            self._believe(nominal, _SAID)
        elif rate > nominal * _OTHER and not _alike(rate, believed):
            self._believe(rate, _SEEN)


def _alike(one: Fraction, other: Fraction) -> bool:
    return one <= other * _OTHER and other <= one * _OTHER
