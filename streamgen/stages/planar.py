"""From what decoders give to what stages take: I420, packed for networks, of a common size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import StageError
from streamgen.media.frame import Frame, Layout, Plane
from streamgen.media.pool import CopyMeter, Pool, copy_padded, replicate
from streamgen.media.scaler import CascadeScaler
from streamgen.protocols import StageContext, Value


def packed(frame: Frame, pool: Pool, meter: CopyMeter, multiple: int) -> Frame:
    """The frame itself where a network can read it as it lies; else one copy of its rows.

    Packed planes and a size of whole `multiple`s are lent. Otherwise the rows are copied once
    into a pooled picture, padded up by repeating the last row and column; NV12 and P010 become
    I420 in the same pass. The pad is the caller's to crop from what comes out.
    """
    if frame.layout is not Layout.I420:
        return _separated(frame, pool, meter, multiple)
    fits = frame.width % multiple == 0 and frame.height % multiple == 0
    if fits and all(plane.packed for plane in frame.planes):
        return frame
    return copy_padded(frame, pool, meter, multiple)


def readable(value: Value, context: StageContext, stage: str) -> Frame:
    """A picture whose planes numpy can read now: in host memory, I420, its fence passed.

    The frame itself, unless it is semi-planar: that is separated, one counted copy. Rows may have
    any distance. Raises `StageError` for what is no picture or lies on a GPU, and what the
    picture's work raised.
    """
    if not isinstance(value, Frame):
        raise StageError("expected a picture", stage=stage, pts=value.pts)
    if value.device.type != "cpu":
        raise StageError(
            f"works in host memory, the picture is on {value.device}", stage=stage, pts=value.pts
        )
    if value.ready is not None:
        value.ready.wait()  # passed already where the executor did its part
    if value.layout is Layout.I420:
        return value
    return _separated(value, context.pool, context.meter, multiple=1)


class Matching:
    """Makes second pictures fit a first one in size, and remembers the last that it made."""

    def __init__(self, context: StageContext, stage: str) -> None:
        self._stage = stage
        self._scaler = CascadeScaler("bicubic", context.pool, context.meter)
        self._last: tuple[tuple[Plane, ...], Frame] | None = None

    def match(self, other: Frame, picture: Frame) -> Frame:
        """`other` in the size of `picture`. Raises `StageError` where their colours differ."""
        if (other.color.matrix, other.color.range) != (picture.color.matrix, picture.color.range):
            raise StageError(
                f"the pictures differ in colour: {_color(picture)} and {_color(other)}",
                stage=self._stage,
                pts=picture.pts,
            )
        size = (picture.width, picture.height)
        if (other.width, other.height) == size:
            return other
        if self._last is not None:
            planes, made = self._last
            if planes is other.planes and (made.width, made.height) == size:
                return made
        made = self._scaler.stretch(other, *size)
        self._last = (other.planes, made)
        return made

    def forget(self) -> None:
        self._last = None


def _color(frame: Frame) -> str:
    return f"{frame.color.matrix.value} {frame.color.range.value}"


def shown_as(other: Frame, picture: Frame) -> Frame:
    """The pixels of `other` in place of `picture`: with its times, and its shape on the screen."""
    if other.pts == picture.pts and other.time_base == picture.time_base:
        return other
    return picture.retimed(planes=other.planes, layout=other.layout, ready=other.ready)


def _separated(frame: Frame, pool: Pool, meter: CopyMeter, multiple: int) -> Frame:
    """Semi-planar to planar, 10 bits to 8."""
    out = pool.take(Layout.I420, frame.width, frame.height, multiple=multiple)
    luma, chroma = (plane.array() for plane in frame.planes)
    for source, target in zip((luma, chroma[:, ::2], chroma[:, 1::2]), out.planes, strict=True):
        replicate(_bytes(source), np.asarray(target))
        meter.copied(frame.layout.value, source.shape[0] * source.shape[1])
    return out.publish(frame)


def _bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    if samples.dtype == np.uint8:
        return samples
    rounded = (samples.astype(np.uint32) + 0x80) >> 8
    eight: NDArray[np.uint8] = np.minimum(rounded, 255).astype(np.uint8)
    return eight
