"""`motion`: a mask of where the picture moves.

motion: {threshold: 6, grow: 24, hold: 200ms}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamgen.config import DurationNs, Settings
from streamgen.media.frame import Frame, Sheet
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.grey import Bytes, GreyScaler, difference, grown, smoothed
from streamgen.stages.planar import readable

REDUCED = 4
"""Pixels of the picture for one of the mask, in each direction."""


class MotionParams(Settings):
    """Parameters of `motion`."""

    threshold: float = Field(default=6.0, ge=0.5, le=255.0)
    """Code values of brightness that a place must change by, from one picture to the next."""
    grow: int = Field(default=24, ge=0, le=512)
    """Pixels around what moves that count as moving too."""
    hold: DurationNs = 200_000_000
    """How long a place counts as moving after it came to rest."""


class Motion:
    """Compares each picture with the one before. The first after a break moves nowhere."""

    Params: ClassVar[type[Settings]] = MotionParams
    outputs: ClassVar[Mapping[str, Port]] = {"mask": Port("mask")}
    """A quarter of the picture's size in each direction, 255 where it moves."""
    state = "ordered"

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._scaler = GreyScaler()
        self._before: Bytes | None = None
        self._until: NDArray[np.int64] = np.empty((0, 0), np.int64)
        """Time until which each place counts as moving, in the time base of the pictures."""

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = readable(inputs[PICTURE], self._context, "motion")
        shape = (-(-frame.height // REDUCED), -(-frame.width // REDUCED))
        now = self._scaler.mean(frame.planes[0].array(), *shape)
        before, self._before = self._before, now
        if before is None or before.shape != now.shape:
            self._until = np.full(shape, np.iinfo(np.int64).min)
            mask = np.zeros(shape, np.uint8)
        else:
            mask = self._moving(before, now, frame, params)
        return {"mask": Sheet("mask", mask, frame.pts, frame.time_base)}

    def _moving(self, before: Bytes, now: Bytes, frame: Frame, params: MotionParams) -> Bytes:
        changed = smoothed(difference(before, now)) >= params.threshold
        moving: Bytes = changed.view(np.uint8) * np.uint8(255)
        moving = grown(moving, -(-params.grow // REDUCED))
        held = round(params.hold / (frame.time_base * 1_000_000_000))
        self._until[moving > 0] = frame.pts + held
        moving[self._until > frame.pts] = 255
        return moving

    def reset(self) -> None:
        self._before = None

    def close(self) -> None:
        self.reset()
