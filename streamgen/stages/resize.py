"""`resize`: the picture in another size.

resize: {height: 720}                              # the width follows
resize: {width: 1080, height: 1080, fit: cover}
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from streamgen.config import Settings
from streamgen.media.frame import Frame
from streamgen.media.port import PICTURE
from streamgen.media.scaler import CascadeScaler
from streamgen.protocols import StageContext, Value
from streamgen.stages.crop import part
from streamgen.stages.planar import readable


class ResizeParams(Settings):
    """Parameters of `resize`, in pixels of the picture as it is stored."""

    width: int | None = Field(default=None, ge=2, le=16384, multiple_of=2)
    """New width; alone, the height follows the picture's shape."""
    height: int | None = Field(default=None, ge=2, le=16384, multiple_of=2)
    """New height; alone, the width follows the picture's shape."""
    fit: Literal["contain", "cover", "stretch"] = "contain"
    """Where both are given and the shape differs: `contain` shows all between black bars, `cover`
    fills and cuts off what stands out, `stretch` distorts."""

    @model_validator(mode="after")
    def _says_something(self) -> ResizeParams:
        if self.width is None and self.height is None:
            raise ValueError("give a width, a height, or both")
        return self


class Resize:
    """Scales with a bicubic filter; the same size passes as it is."""

    Params: ClassVar[type[Settings]] = ResizeParams
    fixed = frozenset({"width", "height", "fit"})

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._params = params
        self._scaler = CascadeScaler("bicubic", context.pool, context.meter)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        wanted = self._params
        if wanted.width is None:
            return _even(Fraction(width * wanted.height, height)), wanted.height
        if wanted.height is None:
            return wanted.width, _even(Fraction(height * wanted.width, width))
        return wanted.width, wanted.height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = readable(inputs[PICTURE], self._context, "resize")
        width, height = self.output_size(frame.width, frame.height)
        if self._params.width is None or self._params.height is None:
            return {PICTURE: self._scaler.stretch(frame, width, height)}
        match self._params.fit:
            case "contain":
                result = self._scaler.fit(frame, width, height, Fraction(1))
            case "cover":
                result = self._scaler.stretch(_covering(frame, width, height), width, height)
            case _:
                result = self._scaler.stretch(frame, width, height)
        # Both sides are given in square pixels.
        return {PICTURE: result if result.sar == 1 else result.retimed(sar=Fraction(1))}

    def reset(self) -> None:
        """Nothing to forget: filters are kept by size."""

    def close(self) -> None:
        """Nothing to free."""


def _even(size: Fraction) -> int:
    return max(2, 2 * round(size / 2))


def _covering(frame: Frame, width: int, height: int) -> Frame:
    """The middle part of a frame that has, on the screen, the shape of the new size."""
    wanted = Fraction(width, height) / frame.sar
    wide, high = frame.width, frame.height
    if Fraction(wide, high) > wanted:
        wide = max(1, round(high * wanted))
    else:
        high = max(1, round(wide / wanted))
    left, top = (frame.width - wide) // 4 * 2, (frame.height - high) // 4 * 2
    return part(frame, left, top, wide, high)
