"""`Estimate`: how long a step will take next, from how long it took lately; `Recent` counts."""

from __future__ import annotations

from collections import deque

WINDOW_NS = 2_000_000_000
"""What counts as lately."""
_TRUSTED = 3
"""Calls before anything is expected: the first may have had to warm up."""
_OUTLIER = 4.0
"""Spreads above the mean that a single call counts for at most."""
_LEAST_NS = 1_000_000.0
"""Spread that every step may have: waking up a thread takes as long at times."""
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

    One call that was held up moves it a little, several in a row move it fast. What was not heard
    of for `silent_ns` is believed less and less: or a step that was slow once, and is therefore
    not called, would stay slow for ever.
    """

    def __init__(self, silent_ns: int = 500_000_000) -> None:
        self.count = 0
        self.last_ns = 0
        self.mean_ns = 0.0
        self._spread_ns = 0.0
        self._slow_ns = 0.0
        self._at_ns = 0
        self._silent_ns = silent_ns
        self._recent: deque[tuple[int, int]] = deque(maxlen=_MOST)

    def add(self, duration_ns: int, now_ns: int) -> None:
        """One more call took this long."""
        self.count += 1
        self.last_ns = duration_ns
        self._recent.append((now_ns, duration_ns))
        if self.count <= _TRUSTED:
            self.mean_ns = self._slow_ns = float(min(ns for _, ns in self._recent))
            self._spread_ns = self.mean_ns / 8
        else:
            doubt = 1.0 - self._belief(now_ns) if now_ns - self._at_ns > self._silent_ns else 0.0
            most_ns = _OUTLIER * (self._spread_ns if self._spread_ns > _LEAST_NS else _LEAST_NS)
            error_ns = duration_ns - self.mean_ns
            if error_ns > most_ns and not doubt:
                error_ns, duration_ns = most_ns, round(self.mean_ns + most_ns)
            weight = 0.25 if error_ns > 0 else 0.125
            self.mean_ns += error_ns * (doubt if doubt > weight else weight)
            error_ns = abs(duration_ns - self.mean_ns) - self._spread_ns
            self._spread_ns += error_ns * (doubt if doubt > 0.25 else 0.25)
            self._slow_ns += (duration_ns - self._slow_ns) / 32
        self._at_ns = now_ns

    def _belief(self, now_ns: int) -> float:
        patience_ns = max(self._silent_ns, 4 * self.mean_ns)  # what takes long is tried less often
        silent_ns = now_ns - self._at_ns - patience_ns
        return 1.0 if silent_ns <= 0 else float(0.5 ** (silent_ns / patience_ns))

    def next_ns(self, now_ns: int) -> tuple[float, float]:
        """Mean and spread (mean deviation) of the next call; zeros while it is not known."""
        if self.count < _TRUSTED:
            return 0.0, 0.0
        belief = self._belief(now_ns)
        return self.mean_ns * belief, self._spread_ns * belief

    def likely_ns(self, now_ns: int) -> float:
        """What nine calls in ten stayed below lately; for what is called now and then."""
        lately = self.lately(now_ns)
        return lately[len(lately) // 10] if len(lately) >= _TRUSTED else self.next_ns(now_ns)[0]

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
        more = int((1.0 - share) * len(lately) + 1e-9)
        return lately[min(more, len(lately) - 1)] if lately else 0
