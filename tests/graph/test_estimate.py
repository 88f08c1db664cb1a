"""`Estimate`: fast to see that a step has become slow, slow to believe a single outlier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgen.graph.estimate import WINDOW_NS, Estimate, Recent

MS = 1_000_000
FRAME = 33 * MS


def fed(*durations_ms: float) -> tuple[Estimate, int]:
    """An estimate after one call per frame, and the time of the last."""
    one = Estimate()
    for number, duration_ms in enumerate(durations_ms, start=1):
        one.add(round(duration_ms * MS), number * FRAME)
    return one, len(durations_ms) * FRAME


def test_nothing_is_expected_before_three_calls() -> None:
    one, now_ns = fed(900, 900)
    assert one.next_ns(now_ns) == (0.0, 0.0)


def test_a_slow_first_call_says_little() -> None:
    one, now_ns = fed(900, 20, 20)
    assert one.next_ns(now_ns)[0] == 20 * MS


def test_one_call_that_was_held_up_hardly_counts_and_several_in_a_row_do() -> None:
    steady = [20.0] * 30
    one, now_ns = fed(*steady, 400)
    mean, spread = one.next_ns(now_ns)
    assert mean + 2 * spread < 30 * MS
    one, now_ns = fed(*steady, *[60.0] * 12)
    mean, spread = one.next_ns(now_ns)
    assert mean + 2 * spread > 55 * MS
    assert one.trend > 1.5


def test_what_was_not_heard_of_is_believed_less_and_less() -> None:
    one, now_ns = fed(*[100.0] * 30)
    means = [one.next_ns(now_ns + wait_ms * MS)[0] for wait_ms in (0, 400, 1500, 3000)]
    assert means[0] == means[1] == 100 * MS
    assert means[1] > means[2] > means[3]
    one.add(20 * MS, now_ns + 3000 * MS)
    assert one.next_ns(now_ns + 3000 * MS)[0] < 40 * MS


def test_quantiles_are_of_the_last_two_seconds() -> None:
    one = Estimate()
    for number in range(10):
        one.add((number + 1) * MS, 0)
    assert one.quantile_ns(0.9, 0) == 9 * MS
    assert one.quantile_ns(0.5, 0) == 5 * MS
    assert one.likely_ns(0) == 9 * MS
    assert one.quantile_ns(0.9, WINDOW_NS + 1) == 0


@given(st.lists(st.integers(0, 10**10), min_size=3, max_size=60))
def test_an_estimate_stays_within_what_was_seen(durations: list[int]) -> None:
    one = Estimate()
    for number, duration in enumerate(durations):
        one.add(duration, number * FRAME)
        assert one.count < 3 or 0 <= one.next_ns(number * FRAME)[0] <= max(durations)
    assert one.last_ns == durations[-1]


def test_happenings_are_counted_for_two_seconds() -> None:
    recent = Recent()
    for number in range(5):
        recent.add(number * 500 * MS)
    assert recent.count(2000 * MS) == 5
    assert recent.distance_ns(2000 * MS) == 500 * MS
    assert recent.count(3000 * MS) == 3
    recent.clear()
    assert recent.distance_ns(3000 * MS) == 0.0
