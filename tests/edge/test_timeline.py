"""One output timeline for a stream, however often its publisher comes back."""

from __future__ import annotations

from fractions import Fraction

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.timeline import BASE, HZ, PATIENCE, LiveTimeline

S = 1_000_000_000
MS = Fraction(1, 1000)


def picture(ms: int, *, key: bool = False, base: Fraction = MS) -> Packet:
    ticks = round(ms * MS / base)
    return Packet(b"x", ticks, ticks, 0, base, key, "video/0")


def sound(ms: int) -> Packet:
    return Packet(b"x", ms, ms, 23, MS, True, "audio/0")


def test_the_moment_a_worker_is_ready_is_the_outputs_zero() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    assert line.mend(picture(5000, key=True), 0).pts == 0
    assert line.mend(picture(5040), 0).pts == HZ * 40 // 1000
    assert line.begin(10 * S) == -HZ * 40 // 1000
    assert line.mend(picture(5080), 10 * S).pts == HZ * 40 // 1000
    assert line.mend(sound(5080), 10 * S).pts == HZ * 40 // 1000


def test_a_publisher_that_comes_back_goes_on_where_the_wall_clock_stands() -> None:
    telemetry = Telemetry()
    line = LiveTimeline(telemetry)
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    line.mend(picture(1000), 1 * S)
    line.arrive()
    again = line.mend(picture(77_000_000, key=True, base=Fraction(1, 30_000)), 6 * S)
    assert again.pts == 6 * HZ - PATIENCE and (again.epoch, again.time_base) == (1, BASE)
    assert line.mend(picture(77_000_040, base=Fraction(1, 30_000)), 6 * S).pts == again.pts + 3600
    assert telemetry.counts("resumed") == {"publisher": 1}


def test_a_publisher_that_takes_over_at_once_follows_the_former_ones_last_picture() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    last = line.mend(picture(1000), 1 * S)
    line.arrive()
    first = line.mend(picture(0, key=True), 1 * S)
    assert (first.pts or 0) - (last.pts or 0) == HZ // 30


def test_time_never_goes_back_even_if_the_clock_is_behind_the_pictures() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    last = line.mend(picture(9000), 1 * S)
    assert list(line.stills(line.front, 9 * S)) == []
    (still,) = line.stills(line.front, 9 * S + S // 2)
    assert still > (last.pts or 0)
    line.arrive()
    assert (line.mend(picture(50, key=True), 3 * S).pts or 0) > still


def test_stills_follow_the_wall_clock() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(100 * S)
    assert list(line.stills(0, 100 * S + S // 2)) == [HZ // 6]
    late = list(line.stills(line.front, 101 * S + S // 4))
    assert late == [n * HZ // 6 for n in range(2, 7)]
    assert list(line.stills(line.front, 101 * S + S // 4)) == []


def test_stills_after_a_hole_that_nobody_filled_do_not_fill_it_now() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    assert list(line.stills(0, 60 * S + S // 4)) == [60 * HZ]


def test_a_publisher_that_stood_still_goes_on_where_the_clock_stands_with_its_sound() -> None:
    telemetry = Telemetry()
    line = LiveTimeline(telemetry)
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    line.mend(sound(0), 0)
    assert len(list(line.stills(0, S))) == 4
    moved = line.catch_up(line.mend(picture(40), 5 * S), 5 * S)
    assert moved.pts == 5 * HZ - HZ // 4
    assert line.mend(picture(80), 5 * S).pts == moved.pts + HZ * 40 // 1000
    assert line.mend(sound(40), 5 * S).pts == moved.pts
    assert telemetry.counts("corrected") == {"stall": 1}


def test_sound_that_went_on_while_the_pictures_stood_still_stays_where_it_is() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    for ms in range(0, 5000, 23):
        line.mend(sound(ms), ms * S // 1000)
    line.catch_up(line.mend(picture(40), 5 * S), 5 * S)
    assert line.mend(sound(5000), 5 * S).pts == 5 * HZ
    line.arrive()
    line.mend(picture(0, key=True), 6 * S)
    both = line.mend(picture(40), 6 * S).pts, line.mend(sound(40), 6 * S).pts
    assert both[0] == both[1]


def test_a_jump_within_one_publisher_is_another_epoch_too() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.begin(0)
    line.mend(picture(40), 0)
    jumped = line.mend(picture(900_000, key=True), 0)
    assert jumped.epoch == 1 and (jumped.pts or 0) < HZ
    line.arrive()
    assert line.mend(picture(0, key=True), 1 * S).epoch == 2


def test_a_publisher_s_epochs_are_none_of_the_former_one_s_though_its_sound_never_jumped() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.mend(sound(0), 0)
    line.begin(0)
    assert line.mend(picture(900_000, key=True), 0).epoch == 1
    assert line.mend(sound(23), 0).epoch == 0
    line.arrive()
    assert line.mend(picture(0, key=True), 1 * S).epoch == 2


def test_a_publisher_that_leaves_before_anything_was_shown_leaves_no_trace() -> None:
    line = LiveTimeline(Telemetry())
    line.arrive()
    line.mend(picture(0, key=True), 0)
    line.mend(picture(5000), 0)
    line.arrive()
    line.mend(picture(0, key=True), 0)
    assert line.front == 0
