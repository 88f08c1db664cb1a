"""`blend`: two pictures in one, by a constant amount.

blend: {amount: 0.5}        # from: {picture: painted, other: source}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamgen.config import Settings
from streamgen.media.frame import Frame, Layout
from streamgen.media.mixing import FULL, Mixer
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.planar import Matching, readable, shown_as

OTHER = "other"


class BlendParams(Settings):
    """Parameters of `blend`."""

    amount: float = Field(default=0.5, ge=0.0, le=1.0)
    """How much of `other` there is: 0 gives `picture`, 1 gives `other`, both untouched."""


class Blend:
    """Mixes `other` into `picture`; another size is scaled to that of `picture`."""

    Params: ClassVar[type[Settings]] = BlendParams
    inputs: ClassVar[Mapping[str, Port]] = {PICTURE: Port(), OTHER: Port(optional=True)}
    """Without `other` (a branch that came too late), `picture` passes."""

    def __init__(self, params: Any, context: StageContext) -> None:
        self._blending = Blending(context, "blend")

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        return {PICTURE: self._blending.blend(inputs, params.amount)}

    def reset(self) -> None:
        self._blending.forget()

    def close(self) -> None:
        self._blending.forget()


class Blending:
    """What `blend` and `crossfade` do: `picture` towards `other` by an amount of 0..1."""

    def __init__(self, context: StageContext, stage: str) -> None:
        self._context = context
        self._stage = stage
        self._matching = Matching(context, stage)
        self._mixer = Mixer()

    def blend(self, inputs: Mapping[str, Value], amount: float) -> Frame:
        """A pooled picture, or one of the two as it is where the other does not show.

        Raises `StageError`.
        """
        picture = inputs[PICTURE]
        weight = round(amount * FULL) if OTHER in inputs else 0
        if weight == 0 and isinstance(picture, Frame):
            return picture
        picture = readable(picture, self._context, self._stage)
        other = readable(inputs[OTHER], self._context, self._stage)
        other = self._matching.match(other, picture)
        if weight == FULL:
            return shown_as(other, picture)
        out = self._context.pool.take(Layout.I420, picture.width, picture.height)
        for a, b, target in zip(picture.planes, other.planes, out.planes, strict=True):
            self._mixer.mix(a.array(), b.array(), weight, np.asarray(target))
        return out.publish(picture)

    def forget(self) -> None:
        self._matching.forget()
