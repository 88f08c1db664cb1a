"""`Telemetry`: quantiles that can be trusted, and what Prometheus sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streamgen.telemetry import Metrics, Telemetry, Times


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
