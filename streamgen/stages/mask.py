"""`mask`: one picture where a mask is low, another where it is high.

mask: {soft: 8}       # from: {picture: painted, keep: source, mask: faces}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import StageError
from streamgen.media.frame import Frame, Layout, Sheet
from streamgen.media.mixing import Mixer
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.grey import GreyScaler
from streamgen.stages.planar import Matching, readable, shown_as
from streamgen.stages.stencil import Stencil


class MaskParams(Settings):
    """Parameters of `mask`."""

    soft: int = Field(default=8, ge=0, le=512)
    """Pixels over which an edge of the mask fades."""
    invert: bool = False
    """Show `keep` where the mask is low instead."""


class Mask:
    """Where the mask is high, `keep` shows; elsewhere `picture`. Sizes follow `picture`.

    The prepared mask is kept for as long as the same sheet comes, so that a detector at its own
    slow rate costs little.
    """

    Params: ClassVar[type[Settings]] = MaskParams
    inputs: ClassVar[Mapping[str, Port]] = {
        PICTURE: Port(),
        "keep": Port(),
        "mask": Port("mask", optional=True),
    }
    """Without a mask (none yet, or too old), `picture` passes."""

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._matching = Matching(context, "mask")
        self._mixer = Mixer()
        self._scaler = GreyScaler()
        self._ready: tuple[Any, tuple[int, int, int, bool], Stencil] | None = None

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        sheet = inputs.get("mask")
        if sheet is None:
            return {PICTURE: inputs[PICTURE]}
        picture = readable(inputs[PICTURE], self._context, "mask")
        stencil = self._stencil(sheet, picture, params)
        if stencil.empty:
            return {PICTURE: picture}
        keep = readable(inputs["keep"], self._context, "mask")
        keep = self._matching.match(keep, picture)
        if stencil.full:
            return {PICTURE: shown_as(keep, picture)}
        out = self._context.pool.take(Layout.I420, picture.width, picture.height)
        stencil.apply(self._mixer, picture, keep, out.planes)
        return {PICTURE: out.publish(picture)}

    def _stencil(self, sheet: Value, picture: Frame, params: MaskParams) -> Stencil:
        if not isinstance(sheet, Sheet):
            raise StageError("expected a mask", stage="mask", pts=picture.pts)
        wanted = (picture.width, picture.height, params.soft, params.invert)
        if self._ready is not None and self._ready[0] is sheet.data and self._ready[1] == wanted:
            return self._ready[2]
        if sheet.ready is not None:
            sheet.ready.wait()
        values = np.asarray(sheet.data)
        if values.ndim != 2 or values.dtype != np.uint8 or not values.size:
            raise StageError(
                f"a mask is uint8 [H, W], got {values.dtype} {list(values.shape)}",
                stage="mask",
                pts=picture.pts,
            )
        if params.invert:
            values = ~values
        stencil = Stencil(self._scaler, values, picture.width, picture.height, params.soft)
        self._ready = (sheet.data, wanted, stencil)
        return stencil

    def reset(self) -> None:
        self._matching.forget()
        self._ready = None

    def close(self) -> None:
        self.reset()
