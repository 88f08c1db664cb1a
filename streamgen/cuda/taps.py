"""Filter weights for scaling one axis, as bytes: what `rungs.cu` multiplies with.

The filters are swscale's (triangle, cubic, Lanczos with three lobes), widened by the ratio where a
picture becomes smaller, with the centres of pixels aligned. The weights of a pixel add up to
exactly `UNIT`, so a flat picture stays flat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ConfigError

UNIT = 127
"""Sum of the weights of one pixel: the largest that a signed byte holds. As in `rungs.cu`."""

Floats = NDArray[np.float64]


def _triangle(x: Floats) -> Floats:
    return np.maximum(0.0, 1.0 - x)


def _cubic(x: Floats) -> Floats:
    """Mitchell and Netravali 1988, B = 0, C = 0.6."""
    near = 1.4 * x**3 - 2.4 * x**2 + 1.0
    far = -0.6 * x**3 + 3.0 * x**2 - 4.8 * x + 2.4
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Floats) -> Floats:
    return np.where(x < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


FILTERS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    "fast_bilinear": (_triangle, 1.0),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
"""Weight at a distance in pixels, and how far it reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Where each pixel of the target begins to read, and its weights."""

    start: NDArray[np.int32]
    """`[target]`: the first source pixel, a multiple of 4. Where none exists, before the first and
    behind the last one, that one is read again."""
    weights: NDArray[np.int8]
    """`[target, 4 * words]`"""

    @property
    def words(self) -> int:
        return int(self.weights.shape[1]) // 4


def taps(source: int, target: int, interpolation: str) -> Taps:
    """The filter from `source` to `target` pixels; names as in `streamgen.media.scaler`."""
    if interpolation not in FILTERS:
        raise ConfigError(f"unknown filter '{interpolation}' (there are: {', '.join(FILTERS)})")
    weight, reach = FILTERS[interpolation]
    ratio = source / target
    widened = max(1.0, ratio)
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    first = np.ceil(centres - reach * widened).astype(np.int64)
    start = first // 4 * 4
    last = first + int(2 * reach * widened)
    words = int((last - start).max()) // 4 + 1
    positions = start[:, None] + np.arange(4 * words)
    ideal = weight(np.abs(positions - centres[:, None]) / widened)
    ideal /= ideal.sum(axis=1, keepdims=True)
    return Taps(start.astype(np.int32), _bytes(ideal))


def _bytes(ideal: Floats) -> NDArray[np.int8]:
    """Whole weights with a sum of `UNIT`: those cut off most are rounded up."""
    scaled = ideal * UNIT
    whole = np.floor(scaled)
    missing = (UNIT - whole.sum(axis=1)).round().astype(np.int64)
    rank = np.argsort(np.argsort(whole - scaled, axis=1, kind="stable"), axis=1)
    weights: NDArray[np.int8] = (whole + (rank < missing[:, None])).astype(np.int8)
    return weights
