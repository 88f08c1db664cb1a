"""`convert`: between what a stage gives and what the next one takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamgen.errors import StageError
from streamgen.media.frame import Color, Frame, Layout, Matrix, Range, Sheet, plane_shapes
from streamgen.plugins import find
from streamgen.protocols import StageContext
from streamgen.stages.convert import Convert
from streamgen.testing import HarshPool, frame_of
from tests.stages.pictures import SIZES, flat, noise, picture, pitched, sheet, values

KR_KB = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.BT601: (0.299, 0.114),
    Matrix.BT2020: (0.2627, 0.0593),
}
COLORS = [Color(matrix, range_) for matrix in Matrix for range_ in Range]


def short(color: Color) -> str:
    return f"{color.matrix.value}-{color.range.value}"


def converted(context: StageContext, value: Any, like: Any = None, **params: Any) -> Any:
    given = Convert.Params(**params)
    inputs = {"value": value} if like is None else {"value": value, "like": like}
    return Convert(given, context).process(inputs, given)["value"]


def to_rgb(y: Any, u: Any, v: Any, color: Color) -> NDArray[Any]:
    """ITU-T H.273 in floating point; 0..255, clipped."""
    kr, kb = KR_KB[color.matrix]
    full = color.range is Range.FULL
    luma = y / 255 if full else (y - 16) / 219
    blue, red = ((p - 128) / (255 if full else 224) for p in (u, v))
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)


def from_rgb(rgb: NDArray[Any], color: Color) -> list[NDArray[Any]]:
    kr, kb = KR_KB[color.matrix]
    r, g, b = (rgb[..., index] / 255 for index in range(3))
    luma = kr * r + (1 - kr - kb) * g + kb * b
    blue, red = (b - luma) / (2 * (1 - kb)), (r - luma) / (2 * (1 - kr))
    if color.range is Range.FULL:
        return [luma * 255, blue * 255 + 128, red * 255 + 128]
    return [luma * 219 + 16, blue * 224 + 128, red * 224 + 128]


def patches(width: int, height: int, seed: int = 3) -> NDArray[np.uint8]:
    """RGB in squares of 16 pixels, any colour."""
    squares = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3))
    return squares.repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)


def within_squares(values: NDArray[Any], size: int = 16) -> NDArray[Any]:
    """Away from the borders, where 4:2:0 mixes neighbours."""
    rows, columns = (np.arange(n) % size for n in values.shape[:2])
    inner = [(at >= size // 4) & (at < size - size // 4) for at in (rows, columns)]
    found: NDArray[Any] = values[np.ix_(*inner)]
    return found


def painted(rgb: NDArray[Any], color: Color) -> Frame:
    y, u, v = (np.clip(np.round(p), 0, 255).astype(np.uint8) for p in from_rgb(rgb, color))
    chroma = [np.ascontiguousarray(p[::2, ::2]) for p in (u, v)]
    return replace(frame_of([y, *chroma]), color=color)


@pytest.mark.parametrize("color", COLORS, ids=short)
@pytest.mark.parametrize("planar", [False, True])
def test_pictures_become_rgb_within_one_code_value(
    context: StageContext, color: Color, planar: bool
) -> None:
    frame = painted(patches(96, 64), color)
    rgb = converted(context, frame, to="rgb", planar=planar)
    data = np.moveaxis(rgb.data, 0, 2) if planar else rgb.data
    assert (rgb.kind, data.shape, data.dtype, rgb.pts) == ("rgb", (64, 96, 3), np.uint8, frame.pts)
    y, u, v = values(frame)
    wanted = to_rgb(y, *(p.repeat(2, 0).repeat(2, 1) for p in (u, v)), color)
    assert np.abs(within_squares(data - wanted)).max() <= 1


@pytest.mark.parametrize("color", COLORS, ids=short)
def test_rgb_becomes_a_picture_in_the_colour_of_the_one_it_came_from(
    context: StageContext, color: Color
) -> None:
    rgb = patches(96, 64)
    like = replace(flat(96, 64, 90, pts=7), color=color, keyframe=True)
    frame = converted(context, sheet(rgb, "rgb"), like, to="picture")
    assert (frame.color, frame.pts, frame.keyframe) == (color, 7, True)
    for index, (got, wanted) in enumerate(zip(values(frame), from_rgb(rgb, color), strict=True)):
        step = 2 if index else 1
        gap = np.abs(got - wanted[::step, ::step])
        assert within_squares(gap, 16 // step).max() <= 1.1


@pytest.mark.parametrize("color", COLORS, ids=short)
def test_there_and_back_changes_little(context: StageContext, color: Color) -> None:
    frame = painted(patches(96, 64), color)
    back = converted(context, converted(context, frame, to="rgb"), frame, to="picture")
    for index, (got, wanted) in enumerate(zip(values(back), values(frame), strict=True)):
        assert within_squares(np.abs(got - wanted), 8 if index else 16).max() <= 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_size_keeps_its_size_and_no_byte_from_behind_the_rows(
    context: StageContext, pool: HarshPool, size: tuple[int, int], dtype: str
) -> None:
    frame = pitched(flat(*size, 126), pool)
    rgb = converted(context, frame, to="rgb", dtype=dtype)
    assert rgb.data.shape == (size[1], size[0], 3)
    grey = 128 if dtype == "uint8" else 128 / 255
    assert np.abs(rgb.data - grey).max() <= (1 if dtype == "uint8" else 1 / 255)
    back = converted(context, rgb, frame, to="picture")
    assert (back.width, back.height) == size
    assert [p.shape for p in back.planes] == list(plane_shapes(Layout.I420, *size))
    assert all(np.abs(got - 127).max() <= 1 for got in values(back))


@pytest.mark.parametrize("range_", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
@pytest.mark.parametrize("planar", [False, True])
def test_floats_span_their_range(
    context: StageContext, range_: tuple[float, float], planar: bool
) -> None:
    frame = picture(64, 48)
    bytes_ = converted(context, frame, to="rgb", planar=planar).data
    rgb = converted(context, frame, to="rgb", dtype="float32", range=range_, planar=planar)
    low, high = range_
    np.testing.assert_allclose(rgb.data, low + bytes_ / 255 * (high - low), atol=1e-3)
    back = converted(context, rgb, frame, to="picture", given_range=range_, given_planar=planar)
    straight = converted(
        context, Sheet("rgb", bytes_, 0, frame.time_base), frame, to="picture", given_planar=planar
    )
    assert all((a == b).all() for a, b in zip(values(back), values(straight), strict=True))


def test_rgb_is_rearranged(context: StageContext) -> None:
    rgb = patches(32, 16)
    planar = converted(context, sheet(rgb, "rgb"), to="rgb", planar=True)
    np.testing.assert_array_equal(planar.data, np.moveaxis(rgb, 2, 0))
    packed = converted(context, sheet(planar.data, "rgb"), to="rgb", dtype="float32")
    np.testing.assert_allclose(packed.data, rgb / 255, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), low=st.floats(-5, 0), high=st.floats(1, 9))
def test_masks_keep_their_meaning_in_another_scale(seed: int, low: float, high: float) -> None:
    pool = HarshPool()
    context = StageContext(*[None] * 2, pool, pool.meter, *[None] * 2)  # type: ignore[arg-type]
    mask = np.random.default_rng(seed).integers(0, 256, (9, 40), np.uint8)
    wide = converted(context, sheet(mask), to="mask", dtype="float32", range=(low, high))
    assert np.abs(wide.data - (low + mask / 255 * (high - low))).max() < 1e-4
    back = converted(context, wide, to="mask", given_range=(low, high))
    np.testing.assert_array_equal(back.data, mask)


def test_what_is_no_number_or_too_large_ends_at_the_ends(context: StageContext) -> None:
    mask = np.array([[np.nan, np.inf, -np.inf, 2.0, -1.0, 0.5]], np.float32)
    assert converted(context, sheet(mask), to="mask").data.tolist() == [[0, 255, 0, 255, 0, 128]]
    truth = np.array([[True, False]])
    assert converted(context, sheet(truth), to="mask").data.tolist() == [[255, 0]]


def test_boxes_become_a_mask_in_the_size_of_the_picture(context: StageContext) -> None:
    boxes = np.array([[2, 1, 5, 3], [-4, 6, 3.5, 99], [np.nan, 0, 1, 1]], np.float32)
    mask = converted(context, sheet(boxes, "boxes"), noise(10, 8), to="mask").data
    wanted = np.zeros((8, 10), np.uint8)
    wanted[1:3, 2:5] = wanted[6:8, 0:4] = wanted[0, 0] = 255
    np.testing.assert_array_equal(mask, wanted)
    none = converted(
        context, sheet(np.zeros((0, 4), "f4"), "boxes"), noise(10, 8), to="mask", dtype="float32"
    )
    assert none.data.shape == (8, 10) and not none.data.any()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_rgb_of_a_wrong_shape_loses_its_frame_only(
    context: StageContext, shape: tuple[int, ...]
) -> None:
    with pytest.raises(StageError, match="RGB is"):
        converted(context, sheet(np.zeros(shape, np.uint8), "rgb"), noise(4, 4), to="picture")


def test_each_conversion_is_counted(context: StageContext, pool: HarshPool) -> None:
    converted(context, noise(64, 48), to="rgb")
    assert pool.meter.planes == {"converted": 3}


def test_it_is_found_by_its_name() -> None:
    assert find("conversion", "convert") is Convert
