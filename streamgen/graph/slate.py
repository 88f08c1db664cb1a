"""Pictures that stand between and in for others: a dissolve of two, and a slate."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from streamgen.media.color import SWSCALE
from streamgen.media.frame import Color, Frame, Layout, Range
from streamgen.media.mixing import FULL, Mixer
from streamgen.media.picture_file import read_picture
from streamgen.media.pool import Pool, cropped
from streamgen.media.shell import unwrap

_DARK = 32
"""Luma of the default slate: visibly not a lost picture, which would be black."""


class Dissolve:
    """A picture between two of one size, in a pooled buffer. One thread at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._mixer = Mixer()

    def __call__(self, before: Frame, after: Frame, weight: float) -> Frame:
        """`weight` 0.0 is `before`, 1.0 is `after`, whose times it has."""
        out = self._pool.take(Layout.I420, after.width, after.height)
        share = round(weight * FULL)
        for a, b, target in zip(before.planes, after.planes, out.planes, strict=True):
            self._mixer.mix(a.array(), b.array(), share, np.asarray(target))
        return out.publish(after)


class Slate:
    """The picture shown where the stream's own must not be: from a file, or plain and dark."""

    def __init__(self, path: str | None, pool: Pool) -> None:
        """Raises `ConfigError` for a file that is no picture."""
        self._pool = pool
        self._picture = None if path is None else _read(Path(path))
        """RGB24, as it is in the file."""
        self._ready: Frame | None = None

    def __call__(self, like: Frame) -> Frame:
        """The slate in the size of `like`, with its times."""
        ready = self._ready
        if ready is None or (ready.width, ready.height) != (like.width, like.height):
            ready = self._ready = self._made(like)
        return like.retimed(
            planes=ready.planes,
            layout=ready.layout,
            width=like.width,
            height=like.height,
            ready=None,
        )

    def _made(self, like: Frame) -> Frame:
        if self._picture is not None:
            made = self._picture.reformat(
                width=like.width + like.width % 2,
                height=like.height + like.height % 2,
                format="yuv420p",
                dst_colorspace=SWSCALE[like.color.matrix],
                dst_color_range=2 if like.color.range is Range.FULL else 1,
                interpolation="BICUBIC",
            )
            return cropped(unwrap(made, like), like.width, like.height)
        return dark(self._pool, like.width, like.height, like.time_base, like.color)


def dark(pool: Pool, width: int, height: int, time_base: Fraction, color: Color) -> Frame:
    """A plain picture, at time zero."""
    out = pool.take(Layout.I420, width, height)
    luma = _DARK if color.range is Range.STUDIO else _DARK - 16
    for index, plane in enumerate(out.planes):
        np.asarray(plane)[...] = 128 if index else luma
    return out.publish(Frame(out.planes, Layout.I420, width, height, 0, time_base, color=color))


def _read(path: Path) -> av.VideoFrame:
    return read_picture(path).reformat(format="rgb24")
