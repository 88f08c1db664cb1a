"""The line of samples is unbroken and stays near the times it was given."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.encode.samples import TOLERANCE_S, SampleLine
from streamgen.telemetry import Telemetry

RATE_HZ = 1000
TOLERANCE = round(TOLERANCE_S * RATE_HZ)


def ramp(start: int, length: int) -> np.ndarray:
    """Samples whose value is their own index."""
    return np.arange(start, start + length, dtype=np.float32)[:, None]


def laid(blocks: list[tuple[int | None, int]], telemetry: Telemetry) -> np.ndarray:
    line = SampleLine(RATE_HZ, 1, telemetry)
    pieces = []
    for start, length in blocks:
        for at, piece in line.place(start, ramp(start or 0, length)):
            assert at == (blocks[0][0] or 0) + sum(len(p) for p in pieces)
            pieces.append(piece)
    return np.concatenate(pieces)[:, 0] if pieces else np.zeros(0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-100, 400), st.integers(1, 100)), min_size=1, max_size=30))
def test_no_sample_lies_further_from_its_time_than_the_tolerance(
    moves: list[tuple[int, int]],
) -> None:
    start, blocks = 0, []
    for gap, length in moves:
        start = max(0, start + gap)
        blocks.append((start, length))
        start += length
    whole = laid(blocks, Telemetry())
    offsets = np.arange(whole.size) + blocks[0][0] - whole
    assert np.all(np.abs(offsets[whole != 0]) <= TOLERANCE)


def test_deviations_below_the_tolerance_do_not_add_up() -> None:
    telemetry = Telemetry()
    blocks = [(index * 101, 100) for index in range(100)]
    whole = laid(blocks, telemetry)
    assert abs(whole.size - 100 * 101) <= TOLERANCE + 1
    assert telemetry.counts("corrected")["audio_gap"] >= 5


def test_an_overlap_is_cut_and_counted() -> None:
    telemetry = Telemetry()
    whole = laid([(0, 200), (100, 200)], telemetry)
    assert np.array_equal(whole, np.arange(300))
    assert telemetry.counts("corrected") == {"audio_overlap": 1}


def test_a_block_without_a_time_follows_the_last() -> None:
    assert laid([(50, 10), (None, 10)], Telemetry()).size == 20


def test_a_gap_of_minutes_comes_in_pieces() -> None:
    line = SampleLine(RATE_HZ, 1, Telemetry())
    list(line.place(0, ramp(0, 10)))
    pieces = list(line.place(600 * RATE_HZ, ramp(0, 10)))
    assert max(len(piece) for _, piece in pieces) <= RATE_HZ
    assert sum(len(piece) for _, piece in pieces) == 600 * RATE_HZ


def test_where_nobody_can_hear_it_a_block_lies_exactly_at_its_time() -> None:
    line = SampleLine(RATE_HZ, 1, Telemetry())
    line.next = 100
    late = [(at, len(piece)) for at, piece in line.place(110, ramp(110, 50), exact=True)]
    assert late == [(100, 10), (110, 50)]
    ((at, piece),) = line.place(155, ramp(155, 50), exact=True)
    assert at == 160 and piece[0, 0] == 160 and len(piece) == 45
    assert line.worst == 0
