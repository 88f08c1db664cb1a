"""`Scale`: what the numbers in an array of pixels mean, and turning one scale into another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ConfigError

ROWS = 32
"""Rows that are worked on at a time, so that floats stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Type and ends of the values of a mask or of one colour."""

    dtype: np.dtype[Any]
    low: float
    high: float

    @classmethod
    def of(cls, dtype: str, range_: tuple[float, float] | None) -> Self:
        """Raises `ConfigError` for what cannot be a scale."""
        kind = np.dtype(dtype)
        if kind.kind not in "uifb":
            raise ConfigError(f"pixels are numbers, got {dtype}")
        if range_ is None:
            whole = kind.kind in "ui"
            range_ = (0.0, float(np.iinfo(kind).max) if whole else 1.0)
        low, high = range_
        if high <= low:
            raise ConfigError(f"a range goes upwards, got {low:g}..{high:g}")
        return cls(kind, low, high)

    @property
    def is_bytes(self) -> bool:
        """As pictures have it: 0..255 in a byte."""
        return self.dtype == np.uint8 and (self.low, self.high) == (0.0, 255.0)

    def turn(self, values: NDArray[Any], wanted: Scale, out: NDArray[Any]) -> None:
        """`values` in this scale to `out` in the one that is wanted, clipped to its ends.

        Whole numbers are rounded to the nearest; what is no number becomes the lowest value.
        """
        if self == wanted and self.dtype.kind in "ui":
            out[...] = values
            return
        gain = np.float32((wanted.high - wanted.low) / (self.high - self.low))
        add = np.float32(wanted.low - self.low * float(gain))
        if wanted.dtype.kind in "ui":
            add += np.float32(0.5)
        lowest, highest = np.float32(wanted.low), np.float32(_ceiling(wanted))
        within = self.is_bytes  # bytes cannot lie beyond their ends
        strip = np.empty((min(ROWS, values.shape[0]), *values.shape[1:]), np.float32)
        for top in range(0, values.shape[0], ROWS):
            here = values[top : top + ROWS]
            part = strip[: here.shape[0]]
            np.multiply(here, gain, out=part, casting="unsafe")
            part += add
            if not within:
                # fmax and fmin take the other one where a value is no number.
                np.fmax(part, lowest, out=part)
                np.fmin(part, highest, out=part)
            out[top : top + ROWS] = part


def _ceiling(scale: Scale) -> float:
    return scale.high + (0.5 if scale.dtype.kind in "ui" else 0.0)
