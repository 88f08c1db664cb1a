"""Samples become parts and segments that obey RFC 8216bis at any frame rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.deliver.boxes import payload
from streamgen.deliver.cutting import Cutter
from streamgen.deliver.fragments import Sample
from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.rendition import LiveTrack, _pace
from streamgen.deliver.window import Window

GRID = Grid(0, 1_700_000_000 * NS)
RATES = ("10", "12.5", "15", "20", "24000/1001", "24", "25", "30000/1001", "30", "50", "60")


class Bench:
    """A cutter, its window, and what was counted."""

    def __init__(self, rate: Fraction | None, *, window_s: int = 30, grid: Grid = GRID) -> None:
        self.counts: Counter[str] = Counter()
        self._cell: int | None = None
        self.window = Window(window_s * NS)
        self.pace = _pace(LiveTrack("video/1p", "h264", 1, rate), 333_000_000)
        self.grid = grid
        self.cutter = Cutter(
            self.pace, grid, self.window, lambda reason: self.counts.update([reason]), video=True
        )

    def feed(self, times: Iterable[int], length: int = 0) -> None:
        """Pictures at these times in 1/90000 s, key frames where the frame clock puts them."""
        for at in times:
            here = self.grid.number(self.pace.ns(at))
            self.cutter.put(Sample(at, 0, length, at.to_bytes(8, "big"), here != self._cell))
            self._cell = here

    def shape(self) -> list[tuple[int, list[float], bool]]:
        return [
            (p.number, [round(part.duration_ns / NS, 3) for part in p.parts], p.complete)
            for p in self.window.pieces
        ]

    def spans(self) -> list[tuple[int, int]]:
        """Begin and end of each part's media."""
        found = []
        for piece in self.window.pieces:
            for part in piece.parts:
                tfdt = int.from_bytes(payload(part.data, "moof", "traf", "tfdt")[4:], "big")
                trun = payload(part.data, "moof", "traf", "trun")
                rows = range(12, len(trun), 12)
                length = sum(int.from_bytes(trun[at : at + 4], "big") for at in rows)
                found.append((tfdt, tfdt + length))
        return found


def times(rate: Fraction, seconds: int = 5) -> list[int]:
    return [int(n * 90_000 / rate) for n in range(int(seconds * rate))]


def check_lengths(bench: Bench) -> None:
    target = bench.pace.length_ns(bench.pace.target)
    for piece in bench.window.pieces:
        for number, part in enumerate(piece.parts):
            assert 0 < part.duration_ns <= target
            if number + 1 < len(piece.parts) and not part.independent:
                assert part.duration_ns >= 0.85 * target


def check_times(bench: Bench) -> None:
    """The playlist tells the time of the media: a part is no longer for a picture that is late."""
    check_lengths(bench)
    spans = bench.spans()
    assert all(0 <= begin - end <= bench.pace.slack for (_, end), (begin, _) in pairwise(spans))
    for piece, following in pairwise(bench.window.pieces):
        assert following.number == piece.number + 1
        off_ns = piece.start_ns + piece.duration_ns - following.start_ns
        assert abs(off_ns) <= bench.pace.length_ns(bench.pace.slack)


def test_the_opening_is_half_a_second_and_then_the_grid_is_the_frame_clock_s() -> None:
    bench = Bench(Fraction(30))
    bench.feed(times(Fraction(30), 3), 3000)
    assert bench.shape() == [
        (0, [0.333, 0.167], True),
        (1, [0.333, 0.167], True),
        (2, [0.333, 0.333, 0.333], True),
        (3, [0.333, 0.333], False),
    ]


@pytest.mark.parametrize("start_s", ["0", "0.2", "0.49", "0.5", "0.76", "17.3", "1000"])
def test_numbers_and_starts_of_cells_agree(start_s: str) -> None:
    start_ns = int(Fraction(start_s) * NS)
    grid = Grid(start_ns, 0)
    edges = [grid.start_of(number) for number in range(6)]
    assert edges[0] == start_ns
    assert grid.opening_cut_ns == edges[1] == start_ns + NS // 2
    assert all(edge % NS == 0 for edge in edges[2:])
    assert all(NS // 4 <= b - a <= 1.25 * NS for a, b in pairwise(edges))
    for number, edge in enumerate(edges):
        assert grid.number(edge) == number
        assert grid.number(edge - 1) == max(number - 1, 0)


@pytest.mark.parametrize("whole_ms", [False, True], ids=["exact", "milliseconds"])
@pytest.mark.parametrize("lengths", [False, True], ids=["unknown lengths", "known lengths"])
@pytest.mark.parametrize("rate", RATES)
def test_parts_obey_their_target_at_every_frame_rate(
    rate: str, lengths: bool, whole_ms: bool
) -> None:
    bench = Bench(Fraction(rate))
    at = times(Fraction(rate))
    if whole_ms:
        at = [(2 * time + 90) // 180 * 90 for time in at]
    bench.feed(at, int(90_000 / Fraction(rate)) if lengths else 0)
    check_lengths(bench)
    for piece in list(bench.window.pieces)[2:-1]:
        assert 0.9 <= piece.duration_ns / NS <= 1.1
        assert len(piece.parts) <= 4


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=300), st.booleans())
@settings(max_examples=60, deadline=None)
def test_parts_obey_their_target_at_no_frame_rate_at_all(steps: list[int], known: bool) -> None:
    bench = Bench(None if known else Fraction(30))
    at = [sum(steps[:number]) for number in range(len(steps))]
    bench.feed(at, 3000 if known else 0)
    check_times(bench)


def test_a_part_is_published_with_its_last_picture_when_lengths_are_known() -> None:
    bench = Bench(Fraction(30))
    bench.feed(times(Fraction(30))[:10], 3000)
    assert bench.window.position() == (0, 0)


def test_a_picture_that_comes_early_by_its_clock_s_rounding_does_not_begin_a_segment() -> None:
    bench = Bench(Fraction(30))
    at = [n * 3000 for n in range(75)]
    at[60] -= 45  # half a millisecond before 2 s: the frame clock gives the next one the key
    bench.feed(at, 3000)
    starts = [piece.start_ns for piece in bench.window.pieces]
    assert starts[-1] == bench.pace.ns(61 * 3000)
    check_lengths(bench)


@pytest.mark.parametrize("begins_s", [2.4, 2.333])  # within a part, and behind a full one
def test_media_has_no_hole_where_pictures_are_missing(begins_s: float) -> None:
    bench = Bench(Fraction(30))
    at = [time for time in times(Fraction(30)) if not begins_s * 90_000 <= time < 2.9 * 90_000]
    bench.feed(at, 3000)
    spans = bench.spans()
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
    check_lengths(bench)


@pytest.mark.parametrize("keyed", [True, False], ids=["then a key frame", "then none"])
def test_cells_that_lost_all_their_pictures_show_a_key_frame(keyed: bool) -> None:
    bench = Bench(Fraction(30))
    at = [time for time in times(Fraction(30), 7) if not 2.4 * 90_000 <= time < 4.7 * 90_000]
    first = next(time for time in at if time > 4 * 90_000)
    for time in at:
        sync = time % 90_000 == 0 or time == 45_000 or (keyed and time == first)
        bench.cutter.put(Sample(time, 0, 3000, time.to_bytes(8, "big"), sync))
    assert [number for number, _, _ in bench.shape()] == [0, 1, 2, 3, 4, 5, 6, 7]
    still = bench.window.pieces[4]
    shown = first if keyed else 2 * 90_000
    assert all(shown.to_bytes(8, "big") in part.data for part in still.parts)
    assert all(part.independent for part in still.parts)
    spans = bench.spans()
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
    check_lengths(bench)


@pytest.mark.parametrize("begins_s", ["2.1", "2.34", "2.5", "2.99"])
@pytest.mark.parametrize("lasts_s", ["0.1", "0.3", "0.5", "0.9", "1.6", "3.3"])
@pytest.mark.parametrize("known", [True, False], ids=["known lengths", "unknown lengths"])
def test_the_playlist_tells_the_time_of_a_hole_before_a_key_frame(
    begins_s: str, lasts_s: str, known: bool
) -> None:
    bench = Bench(Fraction(30))
    begin = int(Fraction(begins_s) * 90_000)
    end = begin + int(Fraction(lasts_s) * 90_000)
    at = [time for time in times(Fraction(30), 9) if not begin <= time < end]
    first = next(time for time in at if time >= end)
    for time in at:
        sync = time % 90_000 == 0 or time == 45_000 or time == first
        bench.cutter.put(Sample(time, 0, 3000 * known, time.to_bytes(8, "big"), sync))
    check_times(bench)


@pytest.mark.parametrize("first", range(60, 90))
@pytest.mark.parametrize("late", [1, 3, 6])
def test_the_playlist_tells_the_time_of_pictures_that_stand_in_for_others(
    first: int, late: int
) -> None:
    """The first ones in a burst, of which all but the last were left out."""
    bench = Bench(Fraction(30))
    still = bench.pace.part // 2
    bench.feed(range(0, 3000 * first, 3000), 3000)
    begins = 3000 * (first - 1) + late * still
    bench.feed(range(begins, begins + 6 * 90_000, still), still)
    bench.feed(range(begins + 6 * 90_000, begins + 9 * 90_000, 3000), 3000)
    check_times(bench)


@pytest.mark.parametrize("first", range(60, 90))
def test_the_playlist_tells_the_time_of_a_hole_that_no_key_frame_ends(first: int) -> None:
    for missing in range(1, 40):
        bench = Bench(Fraction(30))
        bench.feed((3000 * n for n in range(210) if not first <= n < first + missing), 3000)
        check_times(bench)


@pytest.mark.parametrize("known", [True, False], ids=["known lengths", "unknown lengths"])
@pytest.mark.parametrize("rate", ["1", "2", "2.3", "2.5", "2.9", "4", "5", "7"])
def test_the_playlist_tells_the_time_of_pictures_that_are_rarer_than_was_said(
    rate: str, known: bool
) -> None:
    bench = Bench(Fraction(30))
    bench.feed(times(Fraction(rate), 20), int(90_000 / Fraction(rate)) if known else 0)
    check_times(bench)


def test_a_hole_longer_than_the_window_begins_a_new_one() -> None:
    bench = Bench(Fraction(30), window_s=5)
    bench.feed(times(Fraction(30)))
    bench.cutter.put(Sample(90_000 * 1000, 0, 3000, b"x", True))
    assert [piece.number for piece in bench.window.pieces] == [1001]
    assert bench.counts["still"] == 0


def test_a_dropped_rung_has_gaps_with_its_numbers_intact() -> None:
    bench, whole = Bench(Fraction(30)), Bench(Fraction(30))
    at = times(Fraction(30), 8)
    whole.feed(at, 3000)
    bench.feed(at[:71], 3000)  # to 2.367 s
    bench.cutter.drop()
    for time in at[71:]:
        bench.cutter.advance(time)
    assert bench.window.position()[0] == whole.window.position()[0] + 1
    gaps = [part.gap for piece in bench.window.pieces for part in piece.parts]
    assert gaps[7:9] == [False, False]
    assert all(gaps[9:])
    assert bench.window.pieces[5].gap
    check_lengths(bench)


def test_a_rung_returns_from_its_gap_with_a_key_frame() -> None:
    bench = Bench(Fraction(30))
    at = times(Fraction(30), 8)
    bench.feed(at[:71], 3000)
    bench.cutter.drop()
    bench.cutter.put(Sample(at[100], 0, 3000, b"p", False))
    bench.cutter.put(Sample(at[110], 0, 3000, b"key of nobody's segment", True))
    assert bench.counts["before_segment"] == 2
    bench.feed(at[150:], 3000)
    shape = bench.shape()
    assert [number for number, _, _ in shape] == list(range(9))
    assert [piece.gap for piece in bench.window.pieces] == [False] * 3 + [True] * 3 + [False] * 3
    assert bench.window.pieces[6].parts[0].independent
    check_lengths(bench)


def test_a_rung_that_returns_behind_its_gap_waits_for_the_next_segment() -> None:
    bench = Bench(Fraction(30))
    at = times(Fraction(30), 8)
    bench.feed(at[:71], 3000)
    bench.cutter.drop()
    bench.cutter.advance(at[165])
    bench.feed(at[150:], 3000)
    assert [number for number, _, _ in bench.shape()] == list(range(9))
    assert [piece.gap for piece in bench.window.pieces][5:] == [True, True, True, False]
    check_lengths(bench)


def test_a_grid_point_without_a_key_frame_is_cut_and_counted() -> None:
    bench = Bench(Fraction(30))
    for at in times(Fraction(30), 3):
        bench.cutter.put(Sample(at, 0, 3000, b"x", at in {0, 90_000, 180_000}))
    assert [piece.number for piece in bench.window.pieces] == [0, 1, 2, 3]
    assert [p.parts[0].independent for p in bench.window.pieces] == [True, False, True, True]
    assert bench.counts == {"without_key_frame": 1}


def test_a_whole_gap_is_told_at_once_so_that_players_leave_before_they_stop() -> None:
    bench = Bench(Fraction(30))
    bench.feed(times(Fraction(30), 8)[:71], 3000)
    bench.cutter.drop()
    assert [(p.number, p.gap) for p in bench.window.pieces][3:] == [(3, True), (4, True)]
    check_lengths(bench)


def test_time_that_does_not_go_on_is_dropped_and_counted() -> None:
    bench = Bench(Fraction(30))
    bench.feed([0, 3000, 3000, 1000, 6000], 3000)
    assert bench.counts == {"late": 2}


def test_a_packager_that_begins_in_mid_stream_makes_the_same_parts_from_the_next_segment_on() -> (
    None
):
    first, second = Bench(Fraction(30)), Bench(Fraction(30))
    at = times(Fraction(30), 8)
    first.feed(at, 3000)
    second.feed(at[100:], 3000)  # in mid-segment, with a key frame made for it
    assert [p.number for p in second.window.pieces] == [5, 6, 7, 8]
    assert list(second.window.pieces) == list(first.window.pieces)[5:]


def test_a_packager_that_begins_with_a_segment_makes_that_segment() -> None:
    first, second = Bench(Fraction(30)), Bench(Fraction(30))
    at = times(Fraction(30), 8)
    first.feed(at, 3000)
    second.feed(at[120:], 3000)
    assert list(second.window.pieces) == list(first.window.pieces)[5:]


def test_memory_is_bounded_by_twice_the_window_and_by_the_size_of_a_part() -> None:
    bench = Bench(Fraction(30), window_s=5)
    bench.feed(times(Fraction(30), 60), 3000)
    assert sum(piece.duration_ns for piece in bench.window.pieces) <= 12 * NS
    listed = sum(piece.duration_ns for piece in bench.window.listed())
    assert 5 * NS <= listed <= 7 * NS
    big = Bench(Fraction(30))
    for number in range(9):
        big.cutter.put(Sample(3000 * number, 0, 3000, bytes(5 << 20), number == 0))
    assert big.counts["too_big"] == 5


_STEPS = st.one_of(st.integers(1, 9_000), st.integers(1, 400_000), st.just(1 << 33))


@given(st.lists(st.tuples(_STEPS, st.integers(0, 100_000), st.booleans()), max_size=200))
@settings(max_examples=200, deadline=None)
def test_media_lies_in_order_whatever_lengths_and_key_frames_are(
    pictures: list[tuple[int, int, bool]],
) -> None:
    bench, at = Bench(Fraction(30)), 0
    for step, length, sync in pictures:
        bench.cutter.put(Sample(at, 0, length, b"x", sync))
        at += step
    bench.cutter.finish()
    spans = bench.spans()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert all(end > begin for begin, end in spans)
