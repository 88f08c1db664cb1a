"""`Stencil`: a mask made ready to mix by, once for every picture that it serves.

A mask of any size becomes weights for luma and chroma, and for each strip of rows the columns
where it lets anything through: outside them rows are copied, and where it is solid too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.mixing import FULL, STRIP, Bytes, Mixer, weights
from streamgen.stages.grey import GreyScaler, smoothed


@dataclass(frozen=True, slots=True)
class Span:
    """One strip of rows: the columns where the weight is not zero, and whether it is full there."""

    rows: slice
    columns: slice
    solid: bool


class Stencil:
    """Weights 0..256 for every plane of an I420 picture of one size."""

    def __init__(
        self, scaler: GreyScaler, mask: Bytes, width: int, height: int, soft_px: int
    ) -> None:
        """`mask` is `[h, w]`, 0..255; its edges fade over about `soft_px` pixels of the picture."""
        shapes = plane_shapes(Layout.I420, width, height)
        luma, chroma = (_fitted(scaler, mask, *shape, soft_px) for shape in shapes[:2])
        self._luma, self._chroma = weights(luma), weights(chroma)
        self._spans = (_spans(luma), _spans(chroma))

    @property
    def empty(self) -> bool:
        """Lets nothing through."""
        return not any(self._spans)

    @property
    def full(self) -> bool:
        """Lets everything through."""
        return bool(self._luma.min() == FULL and self._chroma.min() == FULL)

    def apply(self, mixer: Mixer, below: Frame, above: Frame, out: tuple[Plane, ...]) -> None:
        """`out` becomes `above` where the mask is high, and `below` elsewhere. All I420."""
        for index, target in enumerate(out):
            a, b = below.planes[index].array(), above.planes[index].array()
            words, spans = (self._chroma, self._spans[1]) if index else (self._luma, self._spans[0])
            pixels = np.asarray(target)
            pixels[...] = a
            for span in spans:
                at = (span.rows, span.columns)
                if span.solid:
                    pixels[at] = b[at]
                else:
                    mixer.mix(a[at], b[at], words[at], pixels[at])


def _spans(mask: Bytes) -> tuple[Span, ...]:
    found = []
    for top in range(0, mask.shape[0], STRIP // 4):
        rows = slice(top, min(top + STRIP // 4, mask.shape[0]))
        part = mask[rows]
        columns = np.flatnonzero(part.max(axis=0))
        if columns.size:
            within = slice(int(columns[0]), int(columns[-1]) + 1)
            found.append(Span(rows, within, bool(part[:, within].min() == 255)))
    return tuple(found)


def _fitted(scaler: GreyScaler, mask: Bytes, rows: int, columns: int, soft_px: int) -> Bytes:
    """The mask in this size, its edges softened: averaged down, smoothed, and up again."""
    if soft_px >= 2:
        # Going down and up fades an edge over two small pixels, each smoothing over two more.
        size = max(2.0, soft_px / 6)
        mask = scaler.mean(mask, _at_least(rows / size), _at_least(columns / size))
        for _ in range(round((soft_px / size - 2) / 2)):
            mask = smoothed(mask)
        mask = np.take(_EXACT_ENDS, mask)
    if mask.shape[0] > rows or mask.shape[1] > columns:
        return np.take(_EXACT_ENDS, scaler.smooth(mask, rows, columns))
    return scaler.smooth(mask, rows, columns)


_EXACT_ENDS = np.clip((np.arange(256.0) - 3) * (255 / 249) + 0.5, 0, 255).astype(np.uint8)
"""The scaler makes 1 or 2 of a wide area of 0: what is nearly an end becomes one."""


def _at_least(size: float) -> int:
    return max(1, round(size))
