"""`crossfade`: from one picture over to another, by a live parameter or by the clock.

crossfade: {amount: 0}                    # turn it to 1 while it runs: `over: 500ms`
crossfade: {start: 10s, over: 2s}         # or at a time of the stream
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from streamgen.config import DurationNs, Settings
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.blend import OTHER, Blending


class CrossfadeParams(Settings):
    """Parameters of `crossfade`."""

    amount: float = Field(default=0.0, ge=0.0, le=1.0)
    """How far the fade is: 0 shows `picture`, 1 shows `other`."""
    curve: Literal["linear", "smooth"] = "linear"
    """`smooth` begins and ends gently."""
    start: DurationNs = 0
    """Time of the stream at which a timed fade begins."""
    over: DurationNs | None = None
    """Length of a timed fade; it then goes by itself, and `amount` is not written."""

    @model_validator(mode="after")
    def _one_way(self) -> CrossfadeParams:
        if self.over is None and self.start:
            raise ValueError("a fade that starts by itself needs its length: over")
        if self.over is not None and self.amount:
            raise ValueError("amount and over exclude each other: who fades, you or the clock?")
        return self


class Crossfade:
    """Goes over from `picture` to `other`; both ends give that frame itself."""

    Params: ClassVar[type[Settings]] = CrossfadeParams
    inputs: ClassVar[Mapping[str, Port]] = {PICTURE: Port(), OTHER: Port(optional=True)}
    """Without `other` (a branch that came too late), `picture` passes."""
    state = "ordered"
    """A timed fade goes on where its pictures stand still."""

    def __init__(self, params: Any, context: StageContext) -> None:
        self._blending = Blending(context, "crossfade")

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        picture = inputs[PICTURE]
        return {PICTURE: self._blending.blend(inputs, amount_at(picture, params))}

    def reset(self) -> None:
        self._blending.forget()

    def close(self) -> None:
        self._blending.forget()


def amount_at(value: Value, params: CrossfadeParams) -> float:
    """How far the fade is at the time of this picture, 0..1."""
    done = params.amount
    if params.over is not None:
        past_ns = Fraction(value.pts) * value.time_base * 1_000_000_000 - params.start
        done = 1.0 if past_ns >= params.over else max(0.0, float(past_ns / params.over))
    if params.curve == "smooth":
        done = done * done * (3 - 2 * done)
    return done
