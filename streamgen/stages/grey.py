"""One grey plane in another size: reduced luma to measure on, masks to mix by."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class GreyScaler:
    """Scales single planes through swscale; keeps its filters by size. One thread at a time."""

    def __init__(self) -> None:
        self._reformatters: dict[tuple[Any, ...], VideoReformatter] = {}

    def mean(self, grey: Bytes, rows: int, columns: int) -> Bytes:
        """Smaller: each value is the mean of what it covers."""
        return self._scaled(grey, rows, columns, Interpolation.AREA)

    def smooth(self, grey: Bytes, rows: int, columns: int) -> Bytes:
        """Larger or smaller, straight lines between the values."""
        return self._scaled(grey, rows, columns, Interpolation.BILINEAR)

    def _scaled(self, grey: Bytes, rows: int, columns: int, how: Interpolation) -> Bytes:
        """Read-only memory of libav, which the array keeps alive; the same size is the same
        array."""
        if grey.shape == (rows, columns):
            return grey
        if grey.strides[1] != 1 or grey.strides[0] < 0:
            grey = np.ascontiguousarray(grey)
        key = (grey.shape, rows, columns, how)
        picture = self._reformatters.setdefault(key, VideoReformatter()).reformat(
            av.VideoFrame.from_numpy_buffer(grey, format="gray"),
            width=columns,
            height=rows,
            interpolation=how,
            threads=1,
        )
        plane: Any = picture.planes[0]
        return np.ndarray((rows, columns), np.uint8, buffer=plane, strides=(plane.line_size, 1))


def difference(a: Bytes, b: Bytes) -> Bytes:
    """How far apart two planes are, pixel by pixel."""
    far: Bytes = np.maximum(a, b)
    far -= np.minimum(a, b)
    return far


def smoothed(grey: Bytes) -> Bytes:
    """The mean of three by three, edges repeated."""
    wide = np.pad(grey, 1, "edge").astype(np.uint16)
    across = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = across[:-2] + across[1:-1] + across[2:]
    mean: Bytes = ((total + 4) // 9).astype(np.uint8)
    return mean


def grown(grey: Bytes, reach: int) -> Bytes:
    """The highest value within `reach` in each direction."""
    return _highest(_highest(grey, reach).T, reach).T


def _highest(grey: Bytes, reach: int) -> Bytes:
    """Along the rows; each step doubles the distance it looks."""
    rows, columns = grey.shape
    wide = np.zeros((rows, columns + 2 * reach), np.uint8)
    wide[:, reach : reach + columns] = grey
    seen = 1
    while seen < 2 * reach + 1:
        step = min(seen, 2 * reach + 1 - seen)
        # Each value sees itself and what lies to its right; wide shrinks as it sees further.
        wide = np.maximum(wide[:, :-step], wide[:, step:])
        seen += step
    return wide
