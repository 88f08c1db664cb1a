"""What a way carries is found out from what comes of it, and nothing else is taken for it."""

from __future__ import annotations

import random

import pytest

from streamgen.deliver.congestion.feedback import Feedback
from streamgen.testing.bottleneck import Bottleneck
from tests.deliver.congestion.way import Show, Viewer

CAP = 800_000


def held(way: Bottleneck, **options: object) -> Show:
    """A show of 2.5 Mbit/s that goes on whatever comes of it."""
    return Show(way, adapts=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("queue_ms", [30.0, 100.0, 300.0, 2000.0])
@pytest.mark.parametrize("jitter_ms", [0.0, 10.0])
def test_a_way_that_narrows_is_measured_within_half_a_second(
    queue_ms: float, jitter_ms: float
) -> None:
    way = Bottleneck(4_000_000, queue_ms=queue_ms, jitter_ms=jitter_ms, delay_ms=20)
    show = held(way)
    show.run(8)
    assert show.estimate.bps is None or show.estimate.bps > 2_500_000
    way.rate_bps = CAP
    show.run(0.6)
    assert show.estimate.bps is not None
    assert 0.7 * CAP < show.estimate.bps < 1.5 * CAP
    show.run(0.6)
    assert 0.7 * CAP < show.estimate.bps < 1.05 * CAP


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
@pytest.mark.parametrize("jitter_ms", [0.0, 20.0, 50.0])
def test_losses_jitter_and_drift_are_no_limit(drift: float, jitter_ms: float) -> None:
    way = Bottleneck(8_000_000, loss=0.03, jitter_ms=jitter_ms, delay_ms=30)
    show = held(way, viewer=Viewer(drift=drift))
    show.run(60)
    assert show.estimate.bps is None and show.estimate.congested_us is None
    assert 0.015 < show.estimate.loss < 0.05


def test_a_key_frame_that_fills_a_queue_for_a_moment_is_no_limit_below_the_stream() -> None:
    show = held(Bottleneck(3_600_000, delay_ms=20))
    show.run(30)
    assert show.estimate.bps is None or show.estimate.bps > 2_500_000


def test_a_way_that_stands_still_for_a_moment_is_no_limit() -> None:
    way = Bottleneck(20_000_000, queue_ms=2000)
    show = held(way)
    for stall_ms in (50, 100, 150):
        show.run(3)
        way._free_s = show.now_us / 1e6 + stall_ms / 1000
    show.run(3)
    assert show.estimate.bps is None or show.estimate.bps > 2_600_000


def test_another_way_that_is_longer_is_no_limit() -> None:
    way = Bottleneck(8_000_000, delay_ms=10)
    show = held(way)
    show.run(5)
    way.delay_ms = 130
    show.run(20)
    assert show.estimate.bps is None or show.estimate.bps > 2_600_000


def test_more_losses_than_can_be_mended_are_a_limit() -> None:
    way = Bottleneck(8_000_000)
    show = held(way)
    show.run(4)
    way.loss = 0.2
    show.run(2.5)
    assert show.estimate.bps is not None and show.estimate.bps < 2_300_000


def test_feedback_that_is_lost_changes_little() -> None:
    way = Bottleneck(4_000_000)
    show = held(way, feedback_lost=lambda number: number % 3 == 0)
    show.run(5)
    assert show.estimate.bps is None or show.estimate.bps > 2_500_000
    way.rate_bps = CAP
    show.run(1)
    assert show.estimate.bps is not None and 0.5 * CAP < show.estimate.bps < 1.1 * CAP


def test_numbers_and_times_that_wrap_change_nothing() -> None:
    # The viewer's clock is 5 s before the wrap of its reference time, in 64 ms modulo 2**24.
    viewer = Viewer(start_us=(1 << 24) * 64_000 - 5_000_000)
    way = Bottleneck(4_000_000)
    show = held(way, viewer=viewer, begin_at=65_000)
    show.run(10)
    assert show.sent.next > 66_000
    assert show.estimate.queue_ms < 40 and show.estimate.loss == 0
    assert show.estimate.bps is None or show.estimate.bps > 2_500_000


def test_feedback_that_lies_breaks_nothing() -> None:
    show = held(Bottleneck(4_000_000))
    show.run(1)
    dice = random.Random(5)
    for _ in range(3000):
        number = dice.randrange(1, 300)
        ticks = [dice.choice([None, dice.randrange(-(1 << 22), 1 << 22)]) for _ in range(number)]
        base = dice.choice([dice.randrange(1 << 16), show.sent.next - 20 & 0xFFFF])
        show.hear(Feedback(base, dice.randrange(1 << 24), ticks))
        show.run(0.005)
        assert show.estimate.bps is None or show.estimate.bps >= 0
        assert show.estimate.highest < show.sent.next
        assert len(show.estimate.queueing._bursts) < 5000
