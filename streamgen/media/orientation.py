"""How a picture is to be turned for display: what a container's matrix and SEI messages say."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Layout
from streamgen.media.pool import Pool

_MATRIX = "DISPLAYMATRIX"


@dataclass(frozen=True, slots=True)
class Orientation:
    """First mirrored, left for right, then turned."""

    rotation: int = 0
    """Degrees counter-clockwise: 0, 90, 180 or 270."""
    mirrored: bool = False


UPRIGHT = Orientation()


def orientation_of(picture: Any, last: Orientation = UPRIGHT) -> Orientation:
    """Of a decoded `av.VideoFrame`; the nearest quarter turn.

    An SEI message stands once, before the key frame or where the camera is turned, and holds up to
    the next key frame (ITU-T H.264 D.2.27); libavcodec shows it with its own picture only. So a
    picture that says nothing is as `last`, the one before it, unless it is a key frame.
    """
    sides = picture.side_data
    found = sides.get(_MATRIX) if len(sides) else None
    if found is None:
        return UPRIGHT if picture.key_frame else last
    a, b, _, c, d, *_ = (int(one) for one in np.frombuffer(bytes(found), np.int32))
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    if not a and not b:
        return UPRIGHT
    return Orientation(round(-degrees(atan2(b, a)) / 90) * 90 % 360, mirrored)


def turned(frame: Frame, orientation: Orientation, pool: Pool, *, rotation: int = 0) -> Frame:
    """A copy whose pixels need to be turned by `rotation` only; the same frame if they do already.

    One counted copy, kind `turned`. A quarter turn swaps width and height, and the pixel's aspect.
    """
    quarters = (orientation.rotation - rotation) // 90 % 4
    if not quarters and not orientation.mirrored:
        return frame
    width, height, sar = frame.width, frame.height, frame.sar
    if quarters % 2:
        width, height, sar = height, width, 1 / sar
    out = pool.take(frame.layout, width, height)
    for number, (source, target) in enumerate(zip(frame.planes, out.planes, strict=True)):
        pair = frame.layout is not Layout.I420 and number == 1
        image = _pixels(source.array(), pair)
        image = image[:, ::-1] if orientation.mirrored else image
        np.copyto(_pixels(np.asarray(target), pair), np.rot90(image, quarters))
        rows, columns = target.shape
        pool.meter.copied("turned", rows * columns * target.itemsize)
    return out.publish(frame, sar=sar).retimed(rotation=rotation)


def _pixels(plane: NDArray[Any], pair: bool) -> NDArray[Any]:
    """Rows, columns and, of interleaved chroma, both values of each pixel."""
    return plane.reshape(plane.shape[0], -1, 2) if pair else plane
