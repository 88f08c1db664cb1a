"""Pictures for the tests of stages: of one tone, pitched, and as plain arrays to compare."""

from __future__ import annotations

from fractions import Fraction
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


def sheet(data: NDArray[Any], kind: str = "mask", pts: int = 0) -> Sheet:
    return Sheet(kind, data, pts, Fraction(1, 25))


def same(got: Frame, wanted: Frame) -> bool:
    """Pixel for pixel."""
    return all(np.array_equal(a, b) for a, b in zip(values(got), values(wanted), strict=True))


__all__ = ["SIZES", "flat", "noise", "picture", "pitched", "same", "sheet", "values"]
