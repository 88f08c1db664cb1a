"""`Stencil`: a mask made ready to mix by, once for every picture that it serves.

A mask of any size becomes weights for luma and chroma, and for each strip of rows the columns
where it lets anything through: outside them rows are copied, and where it is solid too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.mixing import Bytes, Mixer, Words, weights
from streamgen.stages.grey import GreyScaler, smoothed

ROWS = 32
"""Of a strip, whose columns are limited together."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """One strip of rows: the columns where the mask is not zero, and the weights there."""

    at: tuple[slice, slice]
    words: Words | None
    """None: the mask is full there."""


class Stencil:
    """Weights 0..256 for every plane of an I420 picture of one size."""

    def __init__(
        self, scaler: GreyScaler, mask: Bytes, width: int, height: int, soft_px: int
    ) -> None:
        """`mask` is `[h, w]`, 0..255; its edges fade over about `soft_px` pixels of the picture."""
        soft = _softened(scaler, mask, height, width, soft_px)
        luma, chroma = (
            _fitted(scaler, soft, *shape) for shape in plane_shapes(Layout.I420, width, height)[:2]
        )
        self._spans = (_spans(luma), _spans(chroma))
        self.full = bool(luma.min() == chroma.min() == 255)
        """Lets everything through."""

    @property
    def empty(self) -> bool:
        """Lets nothing through."""
        return not any(self._spans)

    def apply(self, mixer: Mixer, below: Frame, above: Frame, out: tuple[Plane, ...]) -> None:
        """`out` becomes `above` where the mask is high, and `below` elsewhere. All I420."""
        for index, target in enumerate(out):
            a, b = below.planes[index].array(), above.planes[index].array()
            pixels = np.asarray(target)
            pixels[...] = a
            for span in self._spans[min(index, 1)]:
                if span.words is None:
                    pixels[span.at] = b[span.at]
                else:
                    mixer.mix(a[span.at], b[span.at], span.words, pixels[span.at])


def _spans(mask: Bytes) -> tuple[Span, ...]:
    found = []
    for top in range(0, mask.shape[0], ROWS):
        rows = slice(top, min(top + ROWS, mask.shape[0]))
        columns = np.flatnonzero(mask[rows].max(axis=0))
        if columns.size:
            at = (rows, slice(int(columns[0]), int(columns[-1]) + 1))
            found.append(Span(at, None if mask[at].min() == 255 else weights(mask[at])))
    return tuple(found)


def _softened(scaler: GreyScaler, mask: Bytes, rows: int, columns: int, soft_px: int) -> Bytes:
    """The mask with soft edges at a reduced size: averaged down, then smoothed."""
    if soft_px < 2:
        return mask
    # Going down and up fades an edge over two small pixels, each smoothing over two more.
    size = max(2.0, soft_px / 6, min(rows / mask.shape[0], soft_px / 2))
    mask = scaler.mean(mask, _at_least(rows / size), _at_least(columns / size))
    for _ in range(round((soft_px / size - 2) / 2)):
        mask = smoothed(mask)
    return np.take(_EXACT_ENDS, mask)


def _fitted(scaler: GreyScaler, mask: Bytes, rows: int, columns: int) -> Bytes:
    """The mask in this size."""
    fitted = scaler.smooth(mask, rows, columns)
    if mask.shape[0] > rows or mask.shape[1] > columns:
        return np.take(_EXACT_ENDS, fitted)
    return fitted


_EXACT_ENDS = np.clip((np.arange(256.0) - 3) * (255 / 249) + 0.5, 0, 255).astype(np.uint8)
"""The scaler makes 1 or 2 of a wide area of 0: what is nearly an end becomes one."""


def _at_least(size: float) -> int:
    return max(1, round(size))
