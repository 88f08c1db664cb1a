"""Colour of decoded pictures: reading the tags, and the one visible conversion to I420.

Frames stay in the decoder's own pixels where those are 4:2:0 of a kind the engine works in. All
else (4:2:2, 4:4:4, 10 bit, RGB, grey) goes through `ToI420`, which counts every picture.
Numbers are those of ITU-T H.273.
"""

from __future__ import annotations

from enum import IntEnum

import av
from av.video.reformatter import Interpolation, VideoReformatter

from streamgen.errors import SourceError
from streamgen.media.frame import Color, Layout, Matrix, Range

LENT = {
    "yuv420p": Layout.I420,
    "yuvj420p": Layout.I420,
    "nv12": Layout.NV12,
    "p010le": Layout.P010,
}
"""Pixel formats that are passed on as they are, by libavutil's name."""

MATRICES = {
    1: Matrix.BT709,
    5: Matrix.BT601,
    6: Matrix.BT601,
    9: Matrix.BT2020,
}
"""Matrix coefficients the engine carries through (H.273 table 4)."""
UNTAGGED = (0, 2, 3)
"""Identity (wrong for YCbCr), unspecified, reserved: guessed from the height."""
SWSCALE = {Matrix.BT709: 1, Matrix.BT601: 5, Matrix.BT2020: 9}
CONVERTED_MATRICES = {4: "FCC", 7: "SMPTE 240M"}
"""Rare matrices that become BT.709."""


class Transfer(IntEnum):
    """Transfer characteristics that mean high dynamic range (H.273 table 3)."""

    PQ = 16
    HLG = 18


class Tagged(IntEnum):
    """Colour range as libavutil numbers it."""

    STUDIO = 1
    FULL = 2


def color_of(
    matrix: int, range_: int, primaries: int, transfer: int, *, height: int, pix_fmt: str
) -> Color:
    """Colour of YCbCr pictures from their tags.

    A missing matrix is guessed as players do: BT.601 below 720 lines, else BT.709 (BT.2020
    primaries or an HDR transfer say more). `yuvj*` formats are full range whatever the tag says,
    grey ones where there is none.
    """
    known = MATRICES.get(matrix)
    if known is None and matrix in UNTAGGED:
        wide = primaries == 9 or transfer in tuple(Transfer)
        known = Matrix.BT2020 if wide else Matrix.BT601 if height < 720 else Matrix.BT709
    full = range_ == Tagged.FULL or pix_fmt.startswith("yuvj")
    full |= range_ == 0 and pix_fmt.startswith("gray")
    return Color(
        matrix=Matrix.BT709 if known is None else known,
        range=Range.FULL if full else Range.STUDIO,
        primaries=primaries,
        transfer=transfer,
    )


def is_rgb(pix_fmt: str) -> bool:
    """RGB in any order and packing, or a palette of it."""
    return pix_fmt.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2"))


class ToI420:
    """Converts pictures of any other format to 8 bit I420, through swscale.

    YCbCr keeps its matrix and range; RGB becomes BT.709 in studio range. Alpha is left out. The
    picture given back is new memory that belongs to the returned `av.VideoFrame`. One thread.
    """

    def __init__(self) -> None:
        self._swscale = VideoReformatter()

    def __call__(self, picture: av.VideoFrame, color: Color) -> tuple[av.VideoFrame, Color]:
        """The converted picture and its colour. `SourceError` for a matrix nobody can undo."""
        if is_rgb(picture.format.name):
            source = range_ = None
            color = Color(Matrix.BT709, Range.STUDIO, color.primaries, color.transfer)
        else:
            source = self._matrix(picture, color)
            # swscale takes grey for full range whatever it is told; so tell it of no change.
            full = color.range is Range.FULL or picture.format.name.startswith("gray")
            range_ = Tagged.FULL if full else Tagged.STUDIO
        out = self._swscale.reformat(
            picture,
            format="yuv420p",
            src_colorspace=source,
            dst_colorspace=SWSCALE[color.matrix],
            src_color_range=range_,
            dst_color_range=range_ or Tagged.STUDIO,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        )
        return out, color

    @staticmethod
    def _matrix(picture: av.VideoFrame, color: Color) -> int:
        matrix = picture.colorspace
        if matrix in CONVERTED_MATRICES:
            return matrix
        if matrix in MATRICES or matrix in UNTAGGED:
            return SWSCALE[color.matrix]
        raise SourceError(f"the pictures use colour matrix {matrix} (H.273), which is unsupported")
