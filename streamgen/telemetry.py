"""Times, depths, drops and corrections of one run: for the report and for Prometheus.

Counting costs about a microsecond and never formats a string on the frame path.
"""

from __future__ import annotations

import json
import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

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

    def span(self, began_ns: int, ended_ns: int, pts: int | None) -> None:
        """Count the time between two readings of the clock, spent on the picture, or piece of
        sound, with this PTS."""
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


_NO_PTS = -(1 << 63)
_ORDER = ("decode", "stage", "scale", "encode", "audio", "deliver")
"""Tracks as they are shown, from the top."""


class Trace:
    """Every span of one run, for a look at single frames. Any thread may add.

    Bounded: beyond `most` spans (24 bytes each) new ones are only counted, in `lost`.
    """

    def __init__(self, most: int = 2_000_000) -> None:
        self.lost = 0
        self._left = most
        self._spans: dict[str, array[int]] = {}
        self._marks: list[tuple[int, str]] = []

    def track(self, name: str) -> array[int]:
        """Where the spans of one step are kept: began, ended, PTS, and so on."""
        return self._spans.setdefault(name, array("q"))

    def add(self, track: array[int], began_ns: int, ended_ns: int, pts: int | None) -> None:
        if self._takes():
            track.extend((began_ns, ended_ns, _NO_PTS if pts is None else pts))

    def mark(self, at_ns: int, name: str) -> None:
        """Something happened at this moment: a picture was dropped, a breaker opened."""
        if self._takes():
            self._marks.append((at_ns, name))

    def _takes(self) -> bool:
        if self._left <= 0:
            self.lost += 1
            return False
        self._left -= 1
        return True

    def events(self, name: str, pid: int = 1) -> Iterator[dict[str, Any]]:
        """Chrome trace events (ph M, X, i), one track for each step; after the run has ended.

        Spans of one step that overlap, as several pictures were at work, get a track each.
        """
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
        begins_ns = min(
            [at for at, _ in self._marks[:1]]
            + [spans[0] for spans in self._spans.values() if spans],
            default=0,
        )
        tid = 0
        for step in sorted(self._spans, key=_place):
            lanes = _side_by_side(self._spans[step])
            for number, lane in enumerate(lanes):
                tid += 1
                title = step if not number else f"{step} #{number + 1}"
                yield from _described(pid, tid, title)
                for began_ns, ended_ns, pts in lane:
                    yield {
                        "ph": "X",
                        "pid": pid,
                        "tid": tid,
                        "name": step,
                        "ts": (began_ns - begins_ns) / 1000,
                        "dur": (ended_ns - began_ns) / 1000,
                        "args": {} if pts == _NO_PTS else {"pts": pts},
                    }
        yield from _described(pid, tid + 1, "events")
        for at_ns, what in self._marks:
            ts = (at_ns - begins_ns) / 1000
            yield {"ph": "i", "s": "t", "pid": pid, "tid": tid + 1, "name": what, "ts": ts}


def _place(step: str) -> tuple[int, str]:
    kind = step.partition("/")[0]
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), step)


def _described(pid: int, tid: int, title: str) -> Iterator[dict[str, Any]]:
    head = {"ph": "M", "pid": pid, "tid": tid}
    yield {**head, "name": "thread_name", "args": {"name": title}}
    yield {**head, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _side_by_side(spans: array[int]) -> list[list[tuple[int, int, int]]]:
    """Spans in the order of their beginnings, on as few lanes as keep them from overlapping."""
    lanes: list[list[tuple[int, int, int]]] = []
    for span in sorted(zip(spans[::3], spans[1::3], spans[2::3], strict=True)):
        free = next((lane for lane in lanes if lane[-1][1] <= span[0]), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


class TracedTimes(Times):
    """Times whose spans are kept as well."""

    def __init__(self, trace: Trace, step: str) -> None:
        super().__init__()
        self._trace = trace
        self._track = trace.track(step)

    def span(self, began_ns: int, ended_ns: int, pts: int | None) -> None:
        self.add(ended_ns - began_ns)
        self._trace.add(self._track, began_ns, ended_ns, pts)


def chrome_trace(runs: Iterable[tuple[str, Trace]]) -> Iterator[bytes]:
    """A JSON file of several runs, in pieces, as Perfetto and chrome://tracing open it."""
    yield b'{"displayTimeUnit": "ms", "traceEvents": ['
    separator = b"\n"
    lost = 0
    for pid, (name, trace) in enumerate(runs, start=1):
        lost += trace.lost
        for event in trace.events(name, pid):
            yield separator + json.dumps(event).encode()
            separator = b",\n"
    yield b'\n], "otherData": {"spans_lost": %d}}' % lost


class Telemetry:
    """What one run measured. Steps get their `Times` once and keep it; counters are by name."""

    def __init__(self, clock: Clock | None = None, *, trace: bool = False) -> None:
        """`trace`: keep every span of every step, for `chrome_trace`."""
        self.clock: Clock = clock if clock is not None else MonotonicClock()
        self.trace = Trace() if trace else None
        self._times: dict[str, Times] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._gauges: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def times(self, step: str) -> Times:
        """The histogram of a step, made on first use."""
        with self._lock:
            times = self._times.get(step)
            if times is None:
                times = Times() if self.trace is None else TracedTimes(self.trace, step)
                self._times[step] = times
            return times

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Add to a counter: `dropped` by reason, `corrected` by kind, `lost` by step."""
        with self._lock:
            key = (name, reason)
            self._counts[key] = self._counts.get(key, 0) + number
        if self.trace is not None:
            self.trace.mark(self.clock.now_ns(), f"{name} {reason}".rstrip())

    def gauge(self, name: str, label: str, value: float | None) -> None:
        """Set a value that goes up and down: queue depth, memory. None: it is gone."""
        with self._lock:
            if value is None:
                self._gauges.pop((name, label), None)
            else:
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
