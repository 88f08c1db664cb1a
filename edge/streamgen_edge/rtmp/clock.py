"""32-bit milliseconds that never wrap again."""

from __future__ import annotations

_HALF, _WHOLE = 1 << 31, 1 << 32
_SHORT = 1 << 24
_NEAR = 60_000
"""A step that misses 2**24 by less is the clock of an encoder that has only 24 bits."""


class MessageClock:
    """Unwraps the timestamps of one connection, all tracks together (RTMP 1.0 section 4).

    Each is taken for the one nearest to its predecessor, so sound that comes late across a wrap
    stays behind it. What steps back or leaps stays as it is: the timeline mends it.
    """

    def __init__(self) -> None:
        self.wraps = 0
        """Steps across 2**24 or 2**32 so far."""
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
        if both < _SHORT and abs(abs(step) - _SHORT) < _NEAR:
            # Forward across the wrap, or back for a message that was late.
            self.wraps += 1
            return step + _SHORT if step < 0 else step - _SHORT
        near = (step + _HALF) % _WHOLE - _HALF
        self.wraps += near != step
        return near
