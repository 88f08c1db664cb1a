"""32-bit milliseconds that never wrap again."""

from __future__ import annotations

_WIDTHS = (24, 31, 32)
"""Bits of the clocks in use: encoders without extended timestamps, FFmpeg's FLV, the rest."""
_NEAR = 60_000
"""A step that misses one round of the clock by less is a wrap; no stream is silent for longer."""


class MessageClock:
    """Unwraps the timestamps of one connection, all tracks together (RTMP 1.0 section 4).

    Sound that comes late across a wrap stays behind it. What steps back or leaps stays as it is:
    the timeline mends it.
    """

    def __init__(self) -> None:
        self.wraps = 0
        """Steps across the end of the clock so far, there and back."""
        self._last: int | None = None
        self._time = 0

    def unwrap(self, timestamp: int) -> int:
        """Milliseconds from the same zero as the first message's."""
        last = self._last
        self._last = timestamp
        if last is None:
            self._time = timestamp
            return timestamp
        step = timestamp - last
        if not -_NEAR < step < _NEAR:
            step = self._wrapped(step, timestamp | last)
        self._time += step
        return self._time

    def _wrapped(self, step: int, both: int) -> int:
        for bits in _WIDTHS:
            width = 1 << bits
            if both < width and abs(abs(step) - width) < _NEAR:
                self.wraps += 1
                return step + width if step < 0 else step - width
        return step
