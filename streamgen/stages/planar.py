"""From what decoders give to what networks take: packed I420 planes of a suitable size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Layout
from streamgen.media.pool import CopyMeter, Pool, copy_padded, replicate


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
