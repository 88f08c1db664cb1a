"""Pictures for the tests of stages: of one tone, pitched, and as plain arrays to compare."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Layout, Sheet, plane_shapes
from streamgen.media.pool import Pool
from streamgen.testing import frame_of, picture

SIZES = [(64, 48), (86, 48), (17, 31), (1, 1), (90, 301)]
"""Packed, pitched, odd, tiny, and more rows than one strip."""


def flat(width: int, height: int, y: int, u: int = 128, v: int = 128, *, pts: int = 0) -> Frame:
    """A picture of one colour."""
    shapes = plane_shapes(Layout.I420, width, height)
    planes = [
        np.full(shape, value, np.uint8) for shape, value in zip(shapes, (y, u, v), strict=True)
    ]
    return frame_of(planes, pts=pts)


def pitched(frame: Frame, pool: Pool) -> Frame:
    """The same picture with poisoned bytes behind its rows, as decoders give at odd widths."""
    out = pool.take(Layout.I420, frame.width, frame.height)
    for source, target in zip(frame.planes, out.planes, strict=True):
        np.asarray(target)[:] = source.array()
    return out.publish(frame)


def noise(width: int, height: int, seed: int = 0, *, pts: int = 0) -> Frame:
    """Every code value, everywhere."""
    random = np.random.default_rng(seed)
    shapes = plane_shapes(Layout.I420, width, height)
    return frame_of([random.integers(0, 256, s, np.uint8) for s in shapes], pts=pts)


def values(frame: Frame) -> list[NDArray[Any]]:
    """Its planes as wide signed numbers."""
    return [plane.array().astype(np.int64) for plane in frame.planes]


@cache
def scene(rows: int, columns: int) -> NDArray[np.uint8]:
    """One plane with structure at every scale, as pictures have it."""
    random = np.random.default_rng(7)
    total = np.zeros((rows, columns))
    for size in (4, 8, 16, 32, 64):
        grid = random.normal(0, size, (rows // size + 3, columns // size + 3))
        wide = grid.repeat(size, axis=0).repeat(size, axis=1)
        for axis in (0, 1):
            wide = _mean(np.cumsum(wide, axis=axis), size, axis)
        total += wide[:rows, :columns]
    scaled: NDArray[np.uint8] = np.clip(128 + total * (40 / total.std()), 0, 255).astype(np.uint8)
    return scaled


def _mean(sums: NDArray[Any], size: int, axis: int) -> NDArray[Any]:
    """Running mean along an axis, from cumulated sums."""
    sums = np.moveaxis(sums, axis, 0)
    return np.moveaxis((sums[size:] - sums[:-size]) / size, 0, axis)


def sheet(data: NDArray[Any], kind: str = "mask", pts: int = 0) -> Sheet:
    return Sheet(kind, data, pts, Fraction(1, 25))


def same(got: Frame, wanted: Frame) -> bool:
    """Pixel for pixel."""
    return all(np.array_equal(a, b) for a, b in zip(values(got), values(wanted), strict=True))


__all__ = ["SIZES", "flat", "noise", "picture", "pitched", "same", "scene", "sheet", "values"]
