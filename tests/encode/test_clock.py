"""Key frames follow the output's time; frame rates above the cap are thinned evenly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.encode.clock import FrameClock, RateCap
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame
from streamgen.telemetry import Telemetry
from streamgen.testing import picture

SECOND_NS = 1_000_000_000
PIXELS = picture(16, 16)


def at(pts: int, time_base: Fraction, **changes: object) -> Frame:
    return PIXELS.retimed(pts=pts, time_base=time_base, **changes)


def keys(clock: FrameClock, frames: list[Frame]) -> list[int]:
    return [frame.pts for frame in map(clock.mark, frames) if frame.keyframe]


def test_key_frames_lie_on_the_grid_of_a_constant_rate() -> None:
    frames = [at(pts, Fraction(1, 25)) for pts in range(101)]
    assert keys(FrameClock(2 * SECOND_NS), frames) == [0, 50, 100]


@pytest.mark.parametrize("start", [0, 10 * 3600 * 30])
def test_the_grid_is_exact_for_fractional_rates_even_after_hours(start: int) -> None:
    base = Fraction(1001, 30_000)
    clock = FrameClock(2 * SECOND_NS)
    marked = keys(clock, [at(pts, base) for pts in range(start, start + 9000)])
    assert len(marked) == 9000 // 60 + 1
    for pts in marked[1:]:
        point = pts * base // 2 * 2
        assert pts * base >= point > (pts - 1) * base


def test_the_first_picture_after_a_grid_point_is_taken_when_none_lies_on_it() -> None:
    frames = [at(pts, Fraction(1, 1000)) for pts in (21, 1990, 2015, 3999, 9000, 9100)]
    assert keys(FrameClock(2 * SECOND_NS), frames) == [21, 2015, 9000]


def test_a_new_epoch_and_a_request_begin_a_gop() -> None:
    clock = FrameClock(10 * SECOND_NS)
    base = Fraction(1, 25)
    assert clock.mark(at(0, base)).keyframe
    assert not clock.mark(at(1, base)).keyframe
    assert clock.mark(at(2, base, epoch=1)).keyframe
    assert not clock.mark(at(3, base, epoch=1)).keyframe
    clock.request()
    assert clock.mark(at(4, base, epoch=1)).keyframe
    assert not clock.mark(at(5, base, epoch=1)).keyframe


def test_a_mark_of_the_source_does_not_count() -> None:
    clock = FrameClock(SECOND_NS)
    frames = [at(pts, Fraction(1, 25), keyframe=True) for pts in range(50)]
    assert keys(clock, frames) == [0, 25]


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        FrameClock(0)


def kept(cap: RateCap, frames: list[Frame]) -> list[Frame]:
    return [one for one in map(cap.keep, frames) if one is not None]


@pytest.mark.parametrize(
    ("rate", "cap_hz", "every"),
    [(50, 30, 2), (60, 30, 2), (Fraction(60_000, 1001), 30, 2), (120, 30, 4), (25, 30, 1)],
)
def test_rates_above_the_cap_are_halved_evenly(rate: Fraction, cap_hz: int, every: int) -> None:
    rate = Fraction(rate)
    telemetry = Telemetry()
    cap = RateCap(cap_hz, rate, telemetry)
    left = kept(cap, [at(pts, 1 / rate, duration=1) for pts in range(240)])
    assert [frame.pts for frame in left] == list(range(0, 240, every))
    assert {frame.duration for frame in left} == {every}
    assert cap.rate == rate / every
    assert telemetry.counts("dropped").get("fps_cap", 0) == 240 - len(left)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=20, max_size=120))
def test_jitter_below_a_fifth_of_a_picture_does_not_change_which_pictures_stay(
    jitter: list[int],
) -> None:
    cap = RateCap(30, Fraction(60), Telemetry())
    frames = [at(round(n * 1000 / 60) + j, Fraction(1, 1000)) for n, j in enumerate(jitter)]
    assert [one.pts for one in kept(cap, frames)] == [one.pts for one in frames[::2]]


def test_slow_passages_of_a_variable_rate_are_left_alone() -> None:
    cap = RateCap(30, Fraction(60), Telemetry())
    fast = [at(n * 1500, Fraction(1, 90_000), duration=1500) for n in range(60)]
    slow = [at(90_000 + n * 3600, Fraction(1, 90_000), duration=3600) for n in range(25)]
    left = kept(cap, fast + slow)
    assert left[30:] == slow
    assert len(left) == 30 + 25


def stepped(steps: list[int]) -> list[Frame]:
    """Pictures at these distances in milliseconds."""
    return [at(one, Fraction(1, 1000)) for one in [0, *itertools.accumulate(steps)]]


def test_a_source_that_becomes_faster_than_it_said_is_thinned_within_two_seconds() -> None:
    telemetry = Telemetry()
    cap = RateCap(30, Fraction(25), telemetry)
    frames = stepped([40] * 50 + [20] * 200 + [40] * 75 + [80] * 25)
    left = kept(cap, frames)
    between = {b.pts: b.pts - a.pts for a, b in itertools.pairwise(left)}
    for begins, ends, step in ((0, 2000, 40), (3520, 6000, 40), (6000, 9000, 40), (9000, 1e9, 80)):
        assert {gap for end, gap in between.items() if begins < end <= ends} == {step}
    assert 0 < telemetry.counts("dropped")["fps_cap"] == len(frames) - len(left)


@pytest.mark.parametrize("fast_ms", [17, 20, 28, 30])
def test_a_slow_source_that_ran_fast_for_a_while_loses_nothing_afterwards(fast_ms: int) -> None:
    cap = RateCap(30, Fraction(24), Telemetry())
    frames = stepped([41] * 50 + [fast_ms] * 150 + [41] * 150)
    left = {one.pts for one in kept(cap, frames)}
    after = frames[200].pts + 1600
    assert all(one.pts in left for one in frames if one.pts > after)


def test_a_moment_of_haste_does_not_change_which_pictures_stay() -> None:
    cap = RateCap(30, Fraction(25), Telemetry())
    frames = stepped(([40] * 40 + [5] * 6) * 8)
    assert kept(cap, frames) == frames


def test_an_unknown_rate_is_capped_by_time() -> None:
    cap = RateCap(30, None, Telemetry())
    left = kept(cap, [at(n * 20, Fraction(1, 1000)) for n in range(100)])
    assert [frame.pts for frame in left] == list(range(0, 2000, 40))


def test_a_new_epoch_is_not_measured_against_the_old_one() -> None:
    cap = RateCap(30, Fraction(60), Telemetry())
    base = Fraction(1, 60)
    assert cap.keep(at(100, base)) is not None
    assert cap.keep(at(101, base, epoch=1)) is not None
