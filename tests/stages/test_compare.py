"""`compare`: before on the left, after on the right, and nothing else in between but a line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamgen.media.frame import Color, Frame, Range
from streamgen.protocols import StageContext
from streamgen.stages.compare import Compare, column
from streamgen.testing import HarshPool
from tests.stages.pictures import SIZES, flat, noise, pitched, same, values


def compared(context: StageContext, after: Frame, before: Frame | None, **params: Any) -> Frame:
    given = Compare.Params(**params)
    inputs = {"picture": after} | ({} if before is None else {"before": before})
    result = Compare(given, context).process(inputs, given)["picture"]
    assert isinstance(result, Frame)
    return result


@pytest.mark.parametrize("split", [0.1, 0.5, 0.77])
@pytest.mark.parametrize("size", SIZES)
def test_the_left_is_before_and_the_right_is_after(
    context: StageContext, pool: HarshPool, size: tuple[int, int], split: float
) -> None:
    after, before = pitched(noise(*size, 1), pool), pitched(noise(*size, 2), pool)
    result = compared(context, after, before, split=split, line=0)
    at = column(split, size[0])
    planes = zip(values(after), values(before), values(result), strict=True)
    for number, (new, old, got) in enumerate(planes):
        here = at if number == 0 else (at + 1) // 2
        np.testing.assert_array_equal(got[:, :here], old[:, :here])
        np.testing.assert_array_equal(got[:, here:], new[:, here:])
    assert not any(pool.spoiled(frame) for frame in (after, before, result))


def test_the_line_is_bright_without_colour_and_shaded(context: StageContext) -> None:
    after, before = flat(64, 48, 200, 90, 160), flat(64, 48, 80, 160, 90)
    luma, first, second = values(compared(context, after, before, split=0.5, line=4))
    assert (luma[:, 30:34] == 235).all()
    assert (luma[:, 28:30] == 50).all() and (luma[:, 34:36] == 125).all()
    assert (luma[:, :28] == 80).all() and (luma[:, 36:] == 200).all()
    assert (first[:, 15:17] == 128).all() and (second[:, 15:17] == 128).all()
    assert (first[:, :15] == 160).all() and (first[:, 17:] == 90).all()


def test_the_line_is_white_in_full_range_too(context: StageContext) -> None:
    full = Color(range=Range.FULL)
    after, before = (replace(noise(32, 16, seed), color=full) for seed in (1, 2))
    assert (values(compared(context, after, before, line=2))[0][:, 15:17] == 255).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("split", [0.02, 0.04, 0.96, 0.99])
def test_a_line_at_the_edge_stays_in_the_picture(
    context: StageContext, pool: HarshPool, size: tuple[int, int], split: float
) -> None:
    after, before = pitched(noise(*size, 1), pool), pitched(noise(*size, 2), pool)
    result = compared(context, after, before, split=split, line=64)
    assert not any(pool.spoiled(frame) for frame in (after, before, result))


def test_both_ends_are_the_frames_themselves(context: StageContext, pool: HarshPool) -> None:
    after, before = noise(64, 48, 1), noise(64, 48, 2)
    for split, wanted in ((0.0, after), (0.004, after), (1.0, before), (0.996, before)):
        assert compared(context, after, before, split=split) is wanted
    assert pool.taken == 0


def test_without_the_original_what_was_painted_passes(context: StageContext) -> None:
    after = noise(64, 48, 1)
    assert compared(context, after, None) is after


def test_an_original_of_another_size_is_scaled(context: StageContext) -> None:
    luma = values(compared(context, flat(128, 96, 200), flat(64, 48, 40), line=0))[0]
    assert (luma[:, :64] == 40).all() and (luma[:, 64:] == 200).all()


def test_the_picture_keeps_its_own_times(context: StageContext) -> None:
    after, before = noise(64, 48, 1, pts=7), noise(64, 48, 2, pts=3)
    for split in (0.5, 1.0):
        assert compared(context, after, before, split=split).pts == 7
    assert same(compared(context, after, before, split=1.0), before)


@pytest.mark.parametrize("width", [1, 2, 17, 64])
def test_a_split_is_at_an_even_column_or_the_right_edge(width: int) -> None:
    columns = [column(share / 100, width) for share in range(101)]
    assert (columns[0], columns[100]) == (0, width)
    assert columns == sorted(columns)
    assert all(at % 2 == 0 or at == width for at in columns)
