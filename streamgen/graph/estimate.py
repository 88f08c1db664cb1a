"""`Estimate`: how long a step will take next, from how long it took lately; `Recent` counts."""

from __future__ import annotations

from collections import deque

WINDOW_NS = 2_000_000_000
"""What counts as lately."""
_TRUSTED = 3
"""Calls before anything is expected: the first may have had to warm up."""
_SILENT_NS = 500_000_000
_MOST = 256


class Recent:
    """How often something happened in the last two seconds."""

    def __init__(self) -> None:
        self._times: deque[int] = deque(maxlen=4 * _MOST)

    def add(self, at_ns: int) -> None:
        self._times.append(at_ns)

    def clear(self) -> None:
        self._times.clear()

    def count(self, now_ns: int) -> int:
        times = self._times
        while times and now_ns - times[0] > WINDOW_NS:
            times.popleft()
        return len(times)

    def distance_ns(self, now_ns: int) -> float:
        """Mean time from one to the next; 0 while fewer than two happened."""
        number = self.count(now_ns)
        return (self._times[-1] - self._times[0]) / (number - 1) if number > 1 else 0.0


class Estimate:
    """Mean and spread of the durations of one step, new ones weighing more (as RFC 6298 does).

    What was not heard of for half a second is believed less and less: or a step that was slow
    once, and is therefore not called, would stay slow for ever.
    """

    def __init__(self) -> None:
        self.count = 0
        self.last_ns = 0
        self.mean_ns = 0.0
        self._spread_ns = 0.0
        self._slow_ns = 0.0
        self._at_ns = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=_MOST)

    def add(self, duration_ns: int, now_ns: int) -> None:
        """One more call took this long."""
        self.count += 1
        self._recent.append((now_ns, duration_ns))
        if self.count <= _TRUSTED:
            self.mean_ns = self._slow_ns = float(min(ns for _, ns in self._recent))
            self._spread_ns = self.mean_ns / 8
        else:
            doubt = 1.0 - self._belief(now_ns) if now_ns - self._at_ns > _SILENT_NS else 0.0
            error_ns = duration_ns - self.mean_ns
            weight = 0.25 if error_ns > 0 else 0.125
            self.mean_ns += error_ns * (doubt if doubt > weight else weight)
            error_ns = abs(duration_ns - self.mean_ns) - self._spread_ns
            self._spread_ns += error_ns * (doubt if doubt > 0.25 else 0.25)
            self._slow_ns += (duration_ns - self._slow_ns) / 32
        self.last_ns, self._at_ns = duration_ns, now_ns

    def _belief(self, now_ns: int) -> float:
        silent_ns = now_ns - self._at_ns - _SILENT_NS
        return 1.0 if silent_ns <= 0 else float(0.5 ** (silent_ns / _SILENT_NS))

    def next_ns(self, now_ns: int) -> tuple[float, float]:
        """Mean and spread (mean deviation) of the next call; zeros while it is not known."""
        if self.count < _TRUSTED:
            return 0.0, 0.0
        belief = self._belief(now_ns)
        return self.mean_ns * belief, self._spread_ns * belief

    @property
    def trend(self) -> float:
        """Present over past: 1 is steady, 2 takes twice as long as in the last second or so."""
        return self.mean_ns / self._slow_ns if self._slow_ns else 1.0

    def lately(self, now_ns: int) -> list[int]:
        """Durations of the last two seconds, the longest first."""
        recent = tuple(self._recent)  # another thread may be adding
        return sorted((ns for at, ns in recent if now_ns - at <= WINDOW_NS), reverse=True)

    def quantile_ns(self, share: float, now_ns: int) -> int:
        """Of the last two seconds: `share` of the calls took at most this long; 0 without any."""
        lately = self.lately(now_ns)
        return lately[min(int((1.0 - share) * len(lately)), len(lately) - 1)] if lately else 0
