"""`mask`: one picture where a mask is low, another where it is high."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.errors import StageError
from streamgen.media.frame import Frame
from streamgen.protocols import StageContext
from streamgen.stages.mask import Mask
from streamgen.testing import HarshPool
from tests.stages.pictures import SIZES, flat, noise, pitched, same, sheet, values


def masked(
    context: StageContext, a: Frame, keep: Frame, mask: NDArray[Any] | None, **params: Any
) -> Frame:
    given = Mask.Params(**params)
    inputs: dict[str, Any] = {"picture": a, "keep": keep}
    if mask is not None:
        inputs["mask"] = sheet(mask)
    result = Mask(given, context).process(inputs, given)["picture"]
    assert isinstance(result, Frame)
    return result


def half(rows: int, columns: int) -> NDArray[np.uint8]:
    """High on the right."""
    mask = np.zeros((rows, columns), np.uint8)
    mask[:, columns // 2 :] = 255
    return mask


@pytest.mark.parametrize("size", SIZES)
def test_a_hard_mask_shows_one_picture_or_the_other(
    context: StageContext, pool: HarshPool, size: tuple[int, int]
) -> None:
    a, keep = pitched(noise(*size, 1), pool), pitched(noise(*size, 2), pool)
    mask = half(size[1], size[0])
    result = masked(context, a, keep, mask, soft=0)
    np.testing.assert_array_equal(values(result)[0], np.where(mask, values(keep)[0], values(a)[0]))
    for first, second, got in zip(values(a)[1:], values(keep)[1:], values(result)[1:], strict=True):
        quarter = got.shape[1] // 4
        np.testing.assert_array_equal(got[:, :quarter], first[:, :quarter])
        np.testing.assert_array_equal(got[:, -quarter:], second[:, -quarter:])
    assert not any(pool.spoiled(frame) for frame in (a, keep, result))


@pytest.mark.parametrize("shape", [(6, 8), (48, 64), (480, 640), (1, 2)])
def test_a_mask_of_any_size_covers_the_same_part(
    context: StageContext, shape: tuple[int, int]
) -> None:
    luma = values(masked(context, flat(128, 96, 0), flat(128, 96, 200), half(*shape), soft=0))[0]
    assert (luma[:, :20] == 0).all()
    assert (luma[:, -20:] == 200).all()
    assert abs(luma.mean() - 100) < 3


@pytest.mark.parametrize("soft", [4, 16, 48])
def test_an_edge_fades_over_about_the_pixels_asked_for(context: StageContext, soft: int) -> None:
    mask = half(144, 256)
    row = values(masked(context, flat(256, 144, 0), flat(256, 144, 200), mask, soft=soft))[0][72]
    between = np.flatnonzero((row > 0) & (row < 200))
    assert soft * 0.4 <= between[-1] - between[0] + 1 <= soft * 1.25
    assert (np.diff(row) >= 0).all()
    assert abs(float(row.mean()) - 100) < 2, "the edge stays where it was"


def test_a_mask_of_one_value_gives_the_frame_itself(context: StageContext, pool: HarshPool) -> None:
    a, keep = noise(64, 48, 1), noise(64, 48, 2)
    none, all_ = np.zeros((12, 16), np.uint8), np.full((12, 16), 255, np.uint8)
    for soft in (0, 8):
        assert masked(context, a, keep, none, soft=soft) is a
        assert masked(context, a, keep, all_, soft=soft) is keep
        assert masked(context, a, keep, none, soft=soft, invert=True) is keep
    assert pool.taken == 0


def test_without_a_mask_the_picture_passes(context: StageContext) -> None:
    a = noise(64, 48, 1)
    assert masked(context, a, noise(64, 48, 2), None) is a


def test_an_inverted_mask_keeps_the_rest(context: StageContext) -> None:
    a, keep, mask = noise(64, 48, 1), noise(64, 48, 2), half(48, 64)
    assert same(
        masked(context, a, keep, mask, soft=0, invert=True),
        masked(context, keep, a, mask, soft=0),
    )


def test_the_same_sheet_is_prepared_once(context: StageContext) -> None:
    stage, params, mask = Mask(Mask.Params(), context), Mask.Params(), half(48, 64)
    inputs = {"picture": noise(64, 48, 1), "keep": noise(64, 48, 2), "mask": sheet(mask)}
    first = stage.process(inputs, params)["picture"]
    mask[:] = 255  # nobody may write into a sheet; here it shows who reads it
    second = stage.process(inputs, params)["picture"]
    assert isinstance(first, Frame) and isinstance(second, Frame)
    assert same(first, second)
    third = stage.process(inputs, Mask.Params(soft=9))["picture"]
    assert third is inputs["keep"], "another parameter, another preparation"


@pytest.mark.parametrize(
    "data", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4), "u1")]
)
def test_what_is_no_mask_loses_its_frame_only(context: StageContext, data: NDArray[Any]) -> None:
    with pytest.raises(StageError, match=r"a mask is uint8 \[H, W\]"):
        masked(context, noise(8, 8), noise(8, 8), data)
