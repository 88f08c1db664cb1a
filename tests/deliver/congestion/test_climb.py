"""Down at once, up when there is room, and not up and down again."""

from __future__ import annotations

import pytest

from streamgen.deliver.congestion.climb import Climb, Move, Try
from streamgen.deliver.congestion.hearsay import Hearsay
from streamgen.deliver.congestion.probe import Probe, Verdict
from streamgen.testing.bottleneck import Bottleneck
from tests.deliver.congestion.way import Show, Viewer

WIDE, NARROW = 4_000_000, 800_000


@pytest.mark.parametrize("queue_ms", [60.0, 300.0, 1000.0])
@pytest.mark.parametrize("jitter_ms", [0.0, 20.0])
def test_a_narrow_way_is_answered_within_a_second_and_a_wide_one_within_twenty(
    queue_ms: float, jitter_ms: float
) -> None:
    way = Bottleneck(WIDE, queue_ms=queue_ms, jitter_ms=jitter_ms, delay_ms=20)
    show = Show(way)
    show.run(20)
    assert show.rung == 0 and not show.moves
    way.rate_bps = NARROW
    show.run(1)
    assert show.rung == 2
    show.run(9)
    assert show.rung == 2 and show.estimate.queue_ms < 40
    way.rate_bps = WIDE
    show.run(20)
    assert show.rung == 0


@pytest.mark.parametrize("half_s", [3.0, 5.0, 10.0, 12.0, 20.0, 30.0])
@pytest.mark.parametrize("first", [WIDE, NARROW])
def test_a_way_that_flaps_costs_at_most_one_change_a_minute(half_s: float, first: int) -> None:
    """Three at the start, as nobody knows yet that it does; the fourth after four minutes."""
    way = Bottleneck(WIDE, delay_ms=20)
    show = Show(way)
    minutes = 6
    for number in range(int(minutes * 60 / half_s)):
        way.rate_bps = first if number % 2 == 0 else WIDE + NARROW - first
        show.run(half_s)
    print(half_s, show.moves, show.probes)
    assert show.moves
    for number, (at_s, _, _) in enumerate(show.moves[3:], 4):
        assert number <= at_s / 60


@pytest.mark.parametrize("first", [WIDE, NARROW])
def test_a_way_that_flaps_every_ten_seconds_is_not_followed_at_all(first: int) -> None:
    way = Bottleneck(first, delay_ms=20)
    show = Show(way)
    for _ in range(12):
        show.run(10)
        way.rate_bps = WIDE + NARROW - way.rate_bps
    assert [to for _, to, _ in show.moves] == [2]


@pytest.mark.parametrize("jitter_ms", [0.0, 30.0])
@pytest.mark.parametrize("dip_s", [1.0, 4.0, 9.0, 11.0, 14.0, 25.0])
def test_after_one_narrow_moment_the_top_rung_is_back_within_twenty_seconds(
    dip_s: float, jitter_ms: float
) -> None:
    way = Bottleneck(WIDE, jitter_ms=jitter_ms, delay_ms=20)
    show = Show(way)
    show.run(8)
    way.rate_bps = NARROW
    show.run(dip_s)
    assert show.rung == 2
    way.rate_bps = WIDE
    show.run(20)
    assert show.rung == 0


def test_a_rung_is_reached_that_fits_between() -> None:
    way = Bottleneck(NARROW, delay_ms=20)
    show = Show(way)
    show.run(5)
    assert show.rung == 2
    way.rate_bps = 1_400_000
    show.run(60)
    assert show.rung == 1 and [to for _, to, reason in show.moves if reason == "room"] == [1]


@pytest.mark.parametrize("jitter_ms", [0.0, 50.0])
def test_a_bad_way_that_is_wide_enough_costs_no_change(jitter_ms: float) -> None:
    way = Bottleneck(WIDE, loss=0.02, jitter_ms=jitter_ms, delay_ms=20)
    show = Show(way, viewer=Viewer(drift=5e-5))
    show.run(300)
    assert not show.moves


@pytest.mark.parametrize("jitter_ms", [0.0, 20.0, 50.0])
def test_a_probe_finds_room_where_there_is_some_though_packets_overtake_each_other(
    jitter_ms: float,
) -> None:
    show = Show(Bottleneck(WIDE, jitter_ms=jitter_ms, delay_ms=20), [300_000], adapts=False)
    show.run(3)
    for _ in range(40):
        probe = show._probe = Probe(3_000_000, show.sent, show.now_us)
        while probe.judge(show.estimate, show.now_us) is Verdict.OPEN:
            show.run(0.06)
        assert probe.verdict is Verdict.ROOM
        show.run(1)


def test_a_probe_that_finds_no_room_fills_no_queue_for_long() -> None:
    way = Bottleneck(NARROW, delay_ms=20, queue_ms=1000)
    show = Show(way, [2_500_000, 600_000])
    worst = 0.0
    for _ in range(600):
        show.run(0.1)
        worst = max(worst, show.estimate.queue_ms if show.now_us > 10_000_000 else 0)
    assert show.rung == 1 and show.probes >= 3
    assert worst < 350


def test_where_nobody_tells_of_packets_reports_decide_and_rungs_are_tried() -> None:
    hearsay, climb, now = Hearsay(), Climb(0), 10_000_000
    needs = [2_500_000, 900_000, 300_000]
    hearsay.report(0.02, 40.0, needs[0], now)
    assert climb.judge(0, needs, hearsay, now) is None
    hearsay.remb_bps = 120_000  # nonsense, as long as nothing is lost
    hearsay.report(0.0, 42.0, needs[0], now)
    assert climb.judge(0, needs, hearsay, now) is None
    hearsay.remb_bps = None
    for _ in range(2):
        now += 1_000_000
        hearsay.report(0.5, 300.0, needs[0], now)
    step = climb.judge(0, needs, hearsay, now)
    assert isinstance(step, Move) and step.to == 1
    while step != Move(0, "room"):
        now += 1_000_000
        hearsay.report(0.0, 40.0, needs[1], now)
        step = climb.judge(1, needs, hearsay, now)
        if isinstance(step, Try):
            assert step.rung == 0
            step = climb.passed(0, needs, now)
        assert now < 60_000_000


def test_one_bad_report_and_a_rung_that_is_gone_change_nothing() -> None:
    hearsay, climb = Hearsay(), Climb(0)
    hearsay.report(0.5, None, 900_000, 10_000_000)
    assert hearsay.bps is None
    hearsay.report(0.0, 30.0, 900_000, 11_000_000)
    hearsay.report(0.5, 30.0, 900_000, 12_000_000)
    assert hearsay.bps is None
    assert climb.judge(1, [None, 900_000], hearsay, 20_000_000) is None


def test_a_round_trip_that_grows_is_a_limit_without_any_loss() -> None:
    hearsay = Hearsay()
    for second in range(5):
        hearsay.report(0.0, 30.0, 900_000, second * 1_000_000)
    for second in range(5, 7):
        hearsay.report(0.0, 700.0, 900_000, second * 1_000_000)
    assert hearsay.bps is not None and hearsay.bps < 900_000
