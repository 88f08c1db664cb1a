"""`Patch`: a small picture with transparency, made ready to be laid onto others of one colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Color, Matrix, Plane, Range
from streamgen.media.mixing import FULL, Bytes, Mixer, Words

KR_KB = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.BT601: (0.299, 0.114),
    Matrix.BT2020: (0.2627, 0.0593),
}
"""Weights of red and blue in luma (ITU-T H.273, table 4)."""
Floats = NDArray[np.floating[Any]]
RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Planes and weights of one patch; both sides are even."""

    planes: tuple[Bytes, Bytes, Bytes]
    luma: Words
    chroma: Words

    @classmethod
    def of(cls, rgba: NDArray[Any], color: Color, opacity: float) -> Self:
        """From `[h, w, 4]` of 0..255, colour not multiplied by alpha."""
        whole = _even(rgba).astype(np.float32)
        y, u, v = _ycbcr(whole[..., 0], whole[..., 1], whole[..., 2], color)
        alpha = whole[..., 3]
        cover = _halved(alpha)
        # Colour is the mean of what shows: fully transparent pixels have none.
        seen = np.maximum(cover, 1e-3)
        half_u, half_v = (
            np.where(cover > 0, _halved(plane * alpha) / seen, 128) for plane in (u, v)
        )
        return cls._from((y, half_u, half_v), alpha, cover, opacity)

    @classmethod
    def of_letters(
        cls, fill: Bytes, edge: Bytes, tone: RGB, dark: RGB, color: Color, opacity: float
    ) -> Self:
        """From masks of letters in one tone, on their outline in another: two colours only."""
        inner, alpha = (_even(mask).astype(np.float32) for mask in (fill, edge))
        cover = _halved(alpha)
        inner /= 255
        half = _halved(inner * alpha) / np.maximum(cover, 1e-3)
        low, high = _ycbcr(*dark, color), _ycbcr(*tone, color)
        y, u, v = (
            a + share * (b - a) for a, b, share in zip(low, high, (inner, half, half), strict=True)
        )
        return cls._from((y, u, v), alpha, cover, opacity)

    @classmethod
    def _from(
        cls, planes: tuple[Floats, Floats, Floats], alpha: Floats, cover: Floats, opacity: float
    ) -> Self:
        y, u, v = (np.clip(plane + 0.5, 0, 255).astype(np.uint8) for plane in planes)
        gain = opacity * FULL / 255
        luma, chroma = ((a * gain + 0.5).astype(np.uint16) for a in (alpha, cover))
        return cls((y, u, v), luma, chroma)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.luma.shape[1], self.luma.shape[0]

    def lay(self, mixer: Mixer, out: tuple[Plane, ...], left: int, top: int) -> None:
        """Mix this into I420 planes, its corner at an even place; what stands out is cut off."""
        for index, (source, target) in enumerate(zip(self.planes, out, strict=True)):
            words = self.chroma if index else self.luma
            x, y = (left // 2, top // 2) if index else (left, top)
            pixels = np.asarray(target)
            rows, columns = pixels.shape
            low, first = max(0, -y), max(0, -x)
            high, last = min(source.shape[0], rows - y), min(source.shape[1], columns - x)
            if high <= low or last <= first:
                continue
            inside = (slice(low, high), slice(first, last))
            place = pixels[y + low : y + high, x + first : x + last]
            mixer.mix(place, source[inside], words[inside], place)


def _even(pixels: NDArray[Any]) -> NDArray[Any]:
    """Transparent row and column where a side is odd."""
    rows, columns = pixels.shape[0] % 2, pixels.shape[1] % 2
    if not rows and not columns:
        return pixels
    return np.pad(pixels, ((0, rows), (0, columns), *[(0, 0)] * (pixels.ndim - 2)))


def _ycbcr(red: Any, green: Any, blue: Any, color: Color) -> tuple[Any, Any, Any]:
    """Code values of colours in 0..255, as floats."""
    kr, kb = KR_KB[color.matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) * (0.5 / (1 - kb)), (red - y) * (0.5 / (1 - kr))
    if color.range is Range.FULL:
        return y, u + 128, v + 128
    return y * (219 / 255) + 16, u * (224 / 255) + 128, v * (224 / 255) + 128


def _halved(plane: Floats) -> Floats:
    """The mean of each two by two."""
    mean: Floats = (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
    return mean
