"""`compare`: before and after in one picture, side by side with a line between them.

compare: {split: 0.5}       # from: {picture: painted, before: source}; move it while it runs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamgen.config import Settings
from streamgen.media.frame import Frame, Layout, Range
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.planar import Matching, readable, shown_as

BEFORE = "before"
_WHITE = {Range.STUDIO: 235, Range.FULL: 255}
_NO_COLOR = 128
_SHADE_PX = 2
"""On both sides of the line, so that it is seen on snow too."""


class CompareParams(Settings):
    """Parameters of `compare`."""

    split: float = Field(default=0.5, ge=0.0, le=1.0)
    """How much of the width shows `before`, from the left: 0 gives `picture`, 1 gives `before`,
    both untouched."""
    line: int = Field(default=2, ge=0, le=64, multiple_of=2)
    """Width of the line between them in pixels; 0: none."""


class Compare:
    """`before` on the left, `picture` on the right; another size is scaled to that of `picture`.

    Every pixel is written once, from the one of the two that shows there.
    """

    Params: ClassVar[type[Settings]] = CompareParams
    inputs: ClassVar[Mapping[str, Port]] = {PICTURE: Port(), BEFORE: Port(optional=True)}
    """Without `before` (a branch that came too late), `picture` passes."""

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._matching = Matching(context, "compare")

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        picture = inputs[PICTURE]
        if BEFORE not in inputs or (params.split == 0.0 and isinstance(picture, Frame)):
            return {PICTURE: picture}
        picture = readable(picture, self._context, "compare")
        before = readable(inputs[BEFORE], self._context, "compare")
        before = self._matching.match(before, picture)
        at = column(params.split, picture.width)
        if at >= picture.width:
            return {PICTURE: shown_as(before, picture)}
        if at == 0:
            return {PICTURE: picture}
        out = self._context.pool.take(Layout.I420, picture.width, picture.height)
        for number, target in enumerate(out.planes):
            here = at if number == 0 else at // 2
            plane = np.asarray(target)
            plane[:, :here] = before.planes[number].array()[:, :here]
            plane[:, here:] = picture.planes[number].array()[:, here:]
            if params.line:
                _draw(plane, here, params.line, picture.color.range, luma=number == 0)
        return {PICTURE: out.publish(picture)}

    def reset(self) -> None:
        self._matching.forget()

    def close(self) -> None:
        self._matching.forget()


def column(split: float, width: int) -> int:
    """The first column of `picture`: even, as two columns share their colour, or the width."""
    return min(int(split * width / 2 + 0.5) * 2, width)


def _draw(plane: NDArray[Any], at: int, line: int, range_: Range, *, luma: bool) -> None:
    """The line, its middle at this column, as far as it is in the picture."""
    half = line // 2 if luma else (line + 2) // 4
    left, right = max(0, at - half), at + half
    if not luma:
        plane[:, left:right] = _NO_COLOR
        return
    for shade in (slice(max(0, left - _SHADE_PX), left), slice(right, right + _SHADE_PX)):
        plane[:, shade] = plane[:, shade] // 8 * 5
    plane[:, left:right] = _WHITE[range_]
