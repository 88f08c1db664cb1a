"""`Telemetry`: quantiles that can be trusted, and what Prometheus sees."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streamgen.telemetry import Metrics, Telemetry, Times, Trace, chrome_trace
from streamgen.testing import ManualClock


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_a_quantile_is_at_most_one_bucket_above_the_true_one(
    durations: list[int], share: float
) -> None:
    times = Times()
    for duration in durations:
        times.add(duration)
    ordered = sorted(durations)
    rank = max(-(-int(share * len(ordered) * 10**9) // 10**9), 1)
    true_ms = ordered[min(rank, len(ordered)) - 1] / 1e6
    given_ms = times.quantile_ms(share)
    assert given_ms <= ordered[-1] / 1e6
    assert given_ms >= true_ms * 0.93
    assert times.count == len(durations)


def test_no_times_give_zero() -> None:
    assert Times().quantile_ms(0.99) == 0.0


def test_counts_are_kept_by_reason() -> None:
    telemetry = Telemetry()
    telemetry.count("dropped", "late", 2)
    telemetry.count("dropped", "late")
    telemetry.count("dropped", "decode")
    telemetry.count("corrected", "wrap")
    assert telemetry.counts("dropped") == {"late": 3, "decode": 1}


def test_prometheus_reads_what_was_measured() -> None:
    telemetry = Telemetry()
    telemetry.times("decode").add(2_000_000)
    telemetry.times("decode").add(40_000_000)
    telemetry.count("dropped", "late", 3)
    telemetry.gauge("queue_depth", "packets", 7)
    metrics = Metrics()
    metrics.add("demo", telemetry)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    base = (("step", "decode"), ("stream", "demo"))
    assert samples["streamgen_step_seconds_count", base] == 2
    assert samples["streamgen_step_seconds_bucket", (("le", "0.01"), *base)] == 1
    assert samples["streamgen_step_seconds_bucket", (("le", "+Inf"), *base)] == 2
    assert samples["streamgen_dropped_total", (("reason", "late"), ("stream", "demo"))] == 3
    assert samples["streamgen_queue_depth", (("of", "packets"), ("stream", "demo"))] == 7
    metrics.remove("demo")
    assert b'stream="demo"' not in metrics.text()


def traced(telemetry: Telemetry) -> list[dict[str, Any]]:
    assert telemetry.trace is not None
    file = json.loads(b"".join(chrome_trace([("demo", telemetry.trace)])))
    events: list[dict[str, Any]] = file["traceEvents"]
    return events


def test_a_trace_has_a_named_track_for_each_step_and_a_span_for_each_frame() -> None:
    clock = ManualClock(5_000_000)
    telemetry = Telemetry(clock, trace=True)
    telemetry.times("scale").span(5_000_000, 5_250_500, 3003)
    telemetry.times("decode").span(4_000_000, 4_500_000, None)
    telemetry.count("dropped", "late")
    events = traced(telemetry)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(names.values()) == ["decode", "scale", "events"]
    spans = {names[e["tid"]]: e for e in events if e["ph"] == "X"}
    assert spans["decode"]["ts"] == 0
    assert spans["decode"]["args"] == {}
    assert (spans["scale"]["ts"], spans["scale"]["dur"]) == (1000.0, 250.5)
    assert spans["scale"]["args"] == {"pts": 3003}
    (mark,) = (e for e in events if e["ph"] == "i")
    assert (mark["name"], mark["ts"], names[mark["tid"]]) == ("dropped late", 1000.0, "events")
    assert telemetry.times("scale").count == 1


def test_spans_of_one_step_that_overlap_are_shown_side_by_side() -> None:
    telemetry = Telemetry(trace=True)
    times = telemetry.times("stage/0/style")
    for began, ended in ((0, 30), (10, 40), (30, 60), (40, 70), (5, 15)):
        times.span(began, ended, began)
    events = traced(telemetry)
    names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert names == ["stage/0/style", "stage/0/style #2", "stage/0/style #3", "events"]
    for tid in {e["tid"] for e in events if e["ph"] == "X"}:
        own = [e for e in events if e["ph"] == "X" and e["tid"] == tid]
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in own)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_a_trace_is_bounded_and_says_what_it_lost() -> None:
    trace = Trace(most=3)
    track = trace.track("decode")
    for number in range(5):
        trace.add(track, number, number + 1, number)
    trace.mark(9, "dropped late")
    file = json.loads(b"".join(chrome_trace([("one", trace), ("two", Trace())])))
    assert sum(e["ph"] == "X" for e in file["traceEvents"]) == 3
    assert file["otherData"] == {"spans_lost": 3}
    assert {e["pid"] for e in file["traceEvents"]} == {1, 2}


def test_without_a_trace_spans_are_only_counted() -> None:
    telemetry = Telemetry()
    telemetry.times("decode").span(0, 2_000_000, 0)
    assert telemetry.trace is None
    assert telemetry.times("decode").total_ns == 2_000_000


def test_a_gauge_that_is_gone_is_not_told_any_more() -> None:
    telemetry = Telemetry()
    telemetry.gauge("push", "hall", 1.0)
    telemetry.gauge("push", "hall", None)
    telemetry.gauge("push", "hall", None)
    assert telemetry.gauges() == {}
