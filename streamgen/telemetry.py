"""Times, depths, drops and corrections of one run: for the report and for Prometheus.

Counting costs about a microsecond and never formats a string on the frame path.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Clock(Protocol):
    """Where the time comes from; tests bring their own."""

    def now_ns(self) -> int: ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()


_STEPS_PER_OCTAVE = 16


class Times:
    """Histogram of durations with 16 buckets per octave (at most 6.3 % wide), as HdrHistogram.

    One thread writes, any may read.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total_ns = 0
        self.worst_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration in nanoseconds."""
        shift = max(duration_ns.bit_length() - 5, 0)
        key = (shift << 5) | (duration_ns >> shift)
        self._buckets[key] = self._buckets.get(key, 0) + 1
        self.count += 1
        self.total_ns += duration_ns
        if duration_ns > self.worst_ns:
            self.worst_ns = duration_ns

    def span(self, began_ns: int, ended_ns: int, pts: int) -> None:
        """Count the time between two readings of the clock, spent on the picture with this PTS."""
        self.add(ended_ns - began_ns)

    @staticmethod
    def _upper_ns(key: int) -> int:
        return ((key & 31) + 1) << (key >> 5)

    def quantile_ms(self, share: float) -> float:
        """Upper bound in milliseconds of the bucket that holds this share (0..1) of all."""
        if self.count == 0:
            return 0.0
        wanted = share * self.count
        seen = 0
        for key, number in sorted(self._buckets.items(), key=lambda b: self._upper_ns(b[0])):
            seen += number
            if seen >= wanted:
                return min(self._upper_ns(key), self.worst_ns) / 1e6
        return self.worst_ns / 1e6

    def cumulative(self, bounds_s: tuple[float, ...]) -> list[tuple[str, float]]:
        """Prometheus buckets: how many were at most each bound, ending with +Inf."""
        buckets = list(self._buckets.items())
        rows = [
            (str(bound), float(sum(n for key, n in buckets if self._upper_ns(key) <= bound * 1e9)))
            for bound in bounds_s
        ]
        return [*rows, ("+Inf", float(self.count))]


class Telemetry:
    """What one run measured. Steps get their `Times` once and keep it; counters are by name."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock if clock is not None else MonotonicClock()
        self._times: dict[str, Times] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._gauges: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def times(self, step: str) -> Times:
        """The histogram of a step, made on first use."""
        with self._lock:
            return self._times.setdefault(step, Times())

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Add to a counter: `dropped` by reason, `corrected` by kind, `lost` by step."""
        with self._lock:
            key = (name, reason)
            self._counts[key] = self._counts.get(key, 0) + number

    def gauge(self, name: str, label: str, value: float) -> None:
        """Set a value that goes up and down: queue depth, memory."""
        with self._lock:
            self._gauges[(name, label)] = value

    def counts(self, name: str) -> dict[str, int]:
        """All reasons of one counter."""
        with self._lock:
            return {reason: n for (key, reason), n in self._counts.items() if key == name}

    def steps(self) -> Mapping[str, Times]:
        with self._lock:
            return dict(self._times)

    def gauges(self) -> dict[tuple[str, str], float]:
        with self._lock:
            return dict(self._gauges)

    def counters(self) -> dict[tuple[str, str], int]:
        with self._lock:
            return dict(self._counts)


_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics(Collector):
    """Prometheus view of running telemetries; nothing is computed until somebody scrapes."""

    def __init__(self) -> None:
        self._runs: dict[str, Telemetry] = {}

    def add(self, stream: str, telemetry: Telemetry) -> None:
        self._runs[stream] = telemetry

    def remove(self, stream: str) -> None:
        self._runs.pop(stream, None)

    def collect(self) -> Iterator[Metric]:
        steps = HistogramMetricFamily(
            "streamgen_step_seconds", "Time per frame and step.", labels=["stream", "step"]
        )
        counters: dict[str, CounterMetricFamily] = {}
        gauges: dict[str, GaugeMetricFamily] = {}
        for stream, run in list(self._runs.items()):
            for step, times in run.steps().items():
                steps.add_metric(
                    [stream, step], times.cumulative(_BOUNDS_S), sum_value=times.total_ns / 1e9
                )
            for (name, reason), number in run.counters().items():
                family = counters.setdefault(
                    name,
                    CounterMetricFamily(
                        f"streamgen_{name}", f"{name}, by reason.", labels=["stream", "reason"]
                    ),
                )
                family.add_metric([stream, reason], number)
            for (name, label), value in run.gauges().items():
                gauge = gauges.setdefault(
                    name,
                    GaugeMetricFamily(
                        f"streamgen_{name}", f"{name}, present value.", labels=["stream", "of"]
                    ),
                )
                gauge.add_metric([stream, label], value)
        yield steps
        yield from counters.values()
        yield from gauges.values()

    def text(self) -> bytes:
        """Exposition format 0.0.4, as `/metrics` and a textfile collector take it."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
