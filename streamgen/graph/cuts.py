"""`CutDetector`: whether a new scene begins at a picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame

_ROWS = 22
"""Blocks over the short side: coarse enough that motion hardly changes them."""
_BLOCK = 4
"""Samples over a block, both ways."""
_FLAT = 3.0
"""Standard deviation below which a picture shows nothing: black, white, a flash."""
_ALIKE = 0.8
"""Correlation above which a picture goes on from the last one."""
_LEAST = 6.0
"""Mean change in code values below which there is no cut, however little is alike."""
_STANDS_OUT = 4.0
"""A cut differs this many times as much as the pictures before it did."""


class CutDetector:
    """Compares the coarse light and dark of each picture with the one before. One thread.

    Brightness and contrast are taken out, so fades, flashes and exposure are no cuts; a picture
    that shows nothing is passed over, and what comes after it is compared with what was before.
    Costs some 60 us at 720p.
    """

    def __init__(self) -> None:
        self._past: NDArray[np.float32] | None = None
        self._deviation = 0.0
        self._usual = 0.0

    def cut(self, frame: Frame) -> bool:
        """Whether this picture begins another scene than the last one given."""
        luma = _coarse(frame)
        luma -= float(np.add.reduce(luma, axis=None)) / luma.size
        deviation = math.sqrt(float(np.vdot(luma, luma)) / luma.size)
        if deviation < _FLAT:
            return False
        past, past_deviation = self._past, self._deviation
        self._past, self._deviation = luma, deviation
        if past is None or past.shape != luma.shape:
            self._usual = 0.0
            return False
        product = float(np.vdot(luma, past)) / luma.size
        unlike = 1.0 - product / (deviation * past_deviation)
        stands_out = unlike > max(1.0 - _ALIKE, _STANDS_OUT * self._usual)
        self._usual += (unlike - self._usual) / 8
        if not stands_out:
            return False
        luma = luma - past
        return float(np.add.reduce(np.abs(luma), axis=None)) / luma.size > _LEAST

    def reset(self) -> None:
        """The next picture is compared with nothing."""
        self._past = None


def _coarse(frame: Frame) -> NDArray[np.float32]:
    """Means of blocks, in code values of 8 bits; of a strided view, so few pixels are touched."""
    luma = frame.planes[0].array()
    step = max(1, min(luma.shape) // (_ROWS * _BLOCK))
    seen = luma[::step, ::step]
    scale = np.float32(1 if luma.dtype == np.uint8 else 256)
    if min(seen.shape) < 2 * _BLOCK:
        pixels: NDArray[np.float32] = seen.astype(np.float32) / scale
        return pixels
    rows, columns = seen.shape[0] // _BLOCK, seen.shape[1] // _BLOCK
    seen = seen[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns * _BLOCK)
    tall = np.add.reduce(seen, axis=1, dtype=np.uint32)
    sums = tall[:, 0::_BLOCK] + tall[:, 1::_BLOCK]  # a sum over so short an axis is slow
    for place in range(2, _BLOCK):
        sums += tall[:, place::_BLOCK]
    means: NDArray[np.float32] = sums.astype(np.float32) / (scale * _BLOCK**2)
    return means
