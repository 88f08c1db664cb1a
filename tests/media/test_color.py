"""Colour tags, the one conversion to I420, and the curve that brings HDR down."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streamgen.errors import SourceError
from streamgen.media.color import LENT, ToI420, Transfer, color_of, is_rgb
from streamgen.media.frame import Color, Layout, Matrix, Range
from streamgen.media.tonemap import (
    PEAK,
    POINTS,
    STANDARD,
    WHITE,
    ToneMap,
    eetf,
    hlg_to_light,
    light_to_pq,
    pq_to_light,
    table,
)


def flat(pix_fmt: str, values: list[int], *, width: int = 32, height: int = 16) -> av.VideoFrame:
    """A picture of one colour; one code value per plane."""
    picture = av.VideoFrame(width, height, pix_fmt)
    for plane, value in zip(picture.planes, values, strict=True):
        deep = picture.format.components[0].bits > 8
        np.frombuffer(plane, np.uint16 if deep else np.uint8)[:] = value
    return picture


def first_pixel(picture: av.VideoFrame) -> list[int]:
    return [int(np.frombuffer(plane, np.uint8)[0]) for plane in picture.planes]


@pytest.mark.parametrize(
    ("tags", "matrix"),
    [
        ((1, 1, 1, 1), Matrix.BT709),
        ((5, 1, 5, 6), Matrix.BT601),
        ((6, 1, 6, 6), Matrix.BT601),
        ((9, 1, 9, 14), Matrix.BT2020),
        ((2, 0, 2, 2), Matrix.BT601),
        ((0, 0, 2, 2), Matrix.BT601),
        ((2, 0, 9, 2), Matrix.BT2020),
        ((2, 0, 2, Transfer.HLG), Matrix.BT2020),
    ],
)
def test_the_matrix_follows_the_tags_and_else_a_guess(
    tags: tuple[int, int, int, int], matrix: Matrix
) -> None:
    assert color_of(*tags, height=576, pix_fmt="yuv420p").matrix is matrix


@pytest.mark.parametrize(
    ("range_", "pix_fmt", "expected"),
    [
        (0, "yuv420p", Range.STUDIO),
        (1, "yuv420p", Range.STUDIO),
        (2, "yuv420p", Range.FULL),
        (1, "yuvj422p", Range.FULL),
        (0, "gray", Range.FULL),
        (1, "gray", Range.STUDIO),
    ],
)
def test_the_range_follows_the_tag_the_format_and_else_a_guess(
    range_: int, pix_fmt: str, expected: Range
) -> None:
    assert color_of(2, range_, 2, 2, height=720, pix_fmt=pix_fmt).range is expected


def test_only_420_formats_are_lent() -> None:
    assert {LENT[name] for name in LENT} == {Layout.I420, Layout.NV12, Layout.P010}
    assert not any(is_rgb(name) for name in LENT)


@pytest.mark.parametrize("matrix", list(Matrix))
@pytest.mark.parametrize("range_", list(Range))
@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p10le", "yuv411p"])
def test_a_conversion_keeps_matrix_and_range(pix_fmt: str, matrix: Matrix, range_: Range) -> None:
    deep = 4 if pix_fmt.endswith("10le") else 1
    picture = flat(pix_fmt, [70 * deep, 90 * deep, 200 * deep])
    picture.color_range = 2 if range_ is Range.FULL else 1
    out, color = ToI420()(picture, Color(matrix, range_))
    assert color == Color(matrix, range_)
    assert out.format.name == "yuv420p"
    assert first_pixel(out) == pytest.approx([70, 90, 200], abs=1)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 255), (32, 240, 118)),
    ],
)
def test_rgb_becomes_bt709_in_studio_range(
    rgb: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    red, green, blue = rgb
    out, color = ToI420()(flat("gbrp", [green, blue, red]), Color())
    assert first_pixel(out) == pytest.approx(expected, abs=1)
    assert (color.matrix, color.range) == (Matrix.BT709, Range.STUDIO)


def test_a_rare_matrix_becomes_bt709() -> None:
    picture = flat("yuv420p", [120, 60, 200])
    picture.colorspace = 7
    color = color_of(7, 1, 2, 2, height=720, pix_fmt="yuv420p")
    out, color = ToI420()(picture, color)
    assert color.matrix is Matrix.BT709
    assert first_pixel(out) != [120, 60, 200]


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_a_matrix_that_cannot_be_undone_is_an_error(matrix: int) -> None:
    picture = flat("yuv444p", [120, 60, 200])
    picture.colorspace = matrix
    with pytest.raises(SourceError, match=f"matrix {matrix}"):
        ToI420()(picture, Color())


def test_pq_is_st_2084() -> None:
    # Code values of ITU-R BT.2408 table 1 and ST 2084's own end points.
    code = np.array([0.0, 0.508, 0.581, 0.752, 1.0])
    assert pq_to_light(code) == pytest.approx([0, 100, 203, 1000, 10_000], rel=0.01)
    assert light_to_pq(pq_to_light(code)) == pytest.approx(code, abs=1e-6)


def test_hlg_on_its_display_is_bt_2100() -> None:
    code = np.repeat(np.array([0.0, 0.75, 1.0])[:, None], 3, axis=1)
    assert hlg_to_light(code)[:, 0] == pytest.approx([0, 203, 1000], rel=0.01, abs=1e-3)


def test_the_curve_keeps_middle_tones_rises_and_ends_at_white() -> None:
    light = np.linspace(0, 4000, 4001)
    mapped = eetf(light)
    assert mapped[:90] == pytest.approx(light[:90], rel=0.01, abs=0.01)
    assert (np.diff(mapped) >= -1e-6).all()
    assert mapped[int(PEAK)] == pytest.approx(WHITE, rel=0.01)
    assert mapped.max() <= WHITE * 1.001


def test_grey_stays_grey_in_the_table() -> None:
    for transfer in Transfer:
        values = table(transfer)
        diagonal = np.array([values[n, n, n] for n in range(POINTS)])
        assert np.ptp(diagonal, axis=1).max() < 0.002
        assert (np.diff(diagonal[:, 0]) >= 0).all()


def test_highlights_keep_their_shades_where_a_plain_clip_would_not() -> None:
    codes = [round(64 + 876 * float(light_to_pq(np.array(n)))) for n in (203.0, 400.0, 800.0)]
    color = Color(Matrix.BT2020, Range.STUDIO, 9, Transfer.PQ)
    shades = []
    tone_map: ToneMap | None = None
    for code in codes:
        picture = flat("yuv420p10le", [code, 512, 512])
        picture.colorspace, picture.color_trc, picture.color_range = 9, Transfer.PQ, 1
        tone_map = tone_map or ToneMap(picture, color)
        shades.append(first_pixel(tone_map(picture))[0])
    assert shades[0] > 200
    assert shades[0] + 5 < shades[1] < shades[2] - 2 < 236
    assert STANDARD.matrix is Matrix.BT709
