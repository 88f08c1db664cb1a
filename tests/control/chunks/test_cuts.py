from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from streamgen.control.chunks.cuts import FIRST_NS, LAST_NS, Chunk, Cuts, Needs, cut
from streamgen.control.chunks.survey import EXACT, HIDDEN, KEY, MISSING, ROW, Survey, begins_anew

S = 1_000_000_000
RATE = 25


def surveyed(
    pts: list[int], keys: list[int], *, hidden: int = 0, exact: bool = True, rate: int = RATE
) -> Survey:
    """Packets in the order of decoding, with these times; `keys` are places in that order."""
    rows = np.zeros(len(pts), ROW)
    rows["pts"], rows["raw_pts"], rows["duration"] = pts, pts, 1
    rows["flags"][keys] = KEY | (EXACT if exact else 0)
    rows["flags"][:hidden] |= HIDDEN
    return Survey(rows, Fraction(1, rate))


def plain(seconds: int, gop: int = RATE) -> Survey:
    frames = seconds * RATE
    return surveyed(list(range(frames)), list(range(0, frames, gop)))


def cuts_of(survey: Survey, jobs: int = 2, needs: Needs | None = None) -> Cuts:
    return cut(survey, interval_ns=2 * S, jobs=jobs, needs=needs or Needs(), least_ns=4 * S)


def owned(survey: Survey, chunks: tuple[Chunk, ...]) -> list[int]:
    """How many shown pictures each piece owns."""
    shown = survey.rows[(survey.rows["flags"] & HIDDEN) == 0]
    at = survey.times_ns(shown["pts"])
    return [int(((at >= c.begin_ns) & (at < c.end_ns)).sum()) for c in chunks]


@pytest.mark.parametrize("jobs", [2, 3, 8])
def test_every_picture_is_owned_by_exactly_one_piece(jobs: int) -> None:
    survey = plain(60)
    chunks = cuts_of(survey, jobs).chunks
    assert len(chunks) > 1
    assert (chunks[0].begin_ns, chunks[-1].end_ns) == (FIRST_NS, LAST_NS)
    assert all(a.end_ns == b.begin_ns for a, b in pairwise(chunks))
    assert owned(survey, chunks) == [chunk.frames for chunk in chunks]
    assert sum(chunk.frames for chunk in chunks) == 60 * RATE


def test_a_piece_begins_where_the_uncut_output_has_a_key_frame() -> None:
    assert all(c.begin_ns % (2 * S) == 0 for c in cuts_of(plain(60)).chunks[1:])


def test_a_piece_is_decoded_from_the_key_frame_before_it() -> None:
    survey = plain(60, gop=30)  # key frames of the source lie off the grid
    for chunk in cuts_of(survey).chunks[1:]:
        begin = chunk.begin_ns * RATE // S
        assert chunk.first == begin - begin % 30
        assert begin - chunk.first < 15  # and the grid points near them are taken


def test_what_remembers_is_warmed_up_by_pictures_that_are_thrown_away() -> None:
    for chunk in cuts_of(plain(60), needs=Needs(settle_ns=3 * S, latency=2)).chunks[1:-1]:
        assert chunk.warm_ns == chunk.begin_ns - 3 * S
        assert chunk.first * S // RATE <= chunk.warm_ns
        assert chunk.until_ns == chunk.end_ns + 2 * S // RATE


def test_a_piece_ends_with_the_last_packet_that_its_pictures_need() -> None:
    # I P B B P B B ...: a picture's successor in presentation is decoded before it.
    pts = [0, *(p for k in range(1, 1500, 3) for p in (k + 2, k, k + 1))]
    chunks = cuts_of(surveyed(pts, list(range(0, 1500, 24)))).chunks
    for chunk in chunks[:-1]:
        needed = [n for n, p in enumerate(pts) if p * S // RATE < chunk.end_ns]
        assert chunk.last >= max(needed)


def test_leading_pictures_of_an_open_gop_belong_to_the_piece_before() -> None:
    # Every 25th packet is a key frame; the two behind it in decoding are shown before it.
    pts: list[int] = []
    for base in range(0, 1500, 25):
        pts += [base + 2, base, base + 1, *range(base + 3, base + 25)]
    survey = surveyed(pts, list(range(0, 1500, 25)))
    for chunk in cuts_of(survey).chunks[1:]:
        first = pts[chunk.first]
        assert first * S <= chunk.begin_ns * RATE


def test_a_key_frame_that_refreshes_by_and_by_is_decoded_from_the_one_before() -> None:
    survey = plain(60)
    survey.rows["flags"] &= ~np.uint32(EXACT)
    for chunk in cuts_of(survey).chunks[1:]:
        assert chunk.begin_ns * RATE // S - chunk.first >= RATE


def test_a_file_with_one_key_frame_is_not_cut() -> None:
    found = cuts_of(plain(60, gop=10_000))
    assert (len(found.chunks), found.uncut) == (1, "its key frames are too far apart")


def test_a_short_file_is_not_cut() -> None:
    found = cuts_of(plain(6))
    assert (len(found.chunks), found.uncut) == (1, "it is too short")


def test_a_file_that_does_not_say_when_its_pictures_are_shown_is_not_cut() -> None:
    survey = plain(60)
    survey.rows["pts"][100] = MISSING
    assert cuts_of(survey).chunks == ()
    doubled = plain(60)
    doubled.rows["pts"][100] = doubled.rows["pts"][99]
    assert cuts_of(doubled).chunks == ()


def test_pictures_outside_the_edit_list_are_decoded_and_owned_by_nobody() -> None:
    survey = surveyed(list(range(-25, 1475)), list(range(0, 1500, 25)), hidden=25)
    chunks = cuts_of(survey).chunks
    assert chunks[0].first == 0
    assert sum(chunk.frames for chunk in chunks) == 1475


def test_times_are_rounded_as_the_frame_clock_does_it_without_overflow() -> None:
    survey = Survey(np.zeros(0, ROW), Fraction(1001, 30_000_000))
    pts = np.array([0, 1, 29_999, 10**12, -1], np.int64)
    exact = [int(p) * 1001 * S // 30_000_000 for p in pts]
    assert survey.times_ns(pts).tolist() == exact


def test_an_idr_is_told_from_a_recovery_point() -> None:
    idr = b"\x00\x00\x00\x01\x67\x64\x00\x00\x01\x68\x00\x00\x00\x01\x65\x88"
    recovery = b"\x00\x00\x00\x01\x06\x06\x01\x00\x00\x01\x41\x9a"
    assert begins_anew(idr, 0)
    assert not begins_anew(recovery, 0)
    assert begins_anew(b"\x00\x00\x00\x02\x09\x10\x00\x00\x00\x02\x65\x88", 4)
    assert not begins_anew(b"\x00\x00\x00\x02\x41\x88", 4)
