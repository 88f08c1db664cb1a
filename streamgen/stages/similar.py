"""`skip_similar`: passes the last picture again while hardly anything changes.

    skip_similar: {threshold: 3, max_reuse: 500ms}

What follows sees the very same pixels and need not be run again: a still scene costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamgen.config import DurationNs, Settings
from streamgen.media.frame import Frame
from streamgen.media.port import PICTURE
from streamgen.protocols import StageContext, Value
from streamgen.stages.grey import Bytes, GreyScaler, difference
from streamgen.stages.planar import readable

FINE, COARSE = 4, 16
"""Pixels for one value: differences are taken on the first, and averaged to the second."""


class SimilarParams(Settings):
    """Parameters of `skip_similar`."""

    threshold: float = Field(default=3.0, ge=0.0, le=255.0)
    """Code values that the place of 16 by 16 pixels which changed most may have changed by."""
    max_reuse: DurationNs = 500_000_000
    """The longest that one picture stays."""


class SkipSimilar:
    """Compares with the picture that was last let through, so that slow changes add up."""

    Params: ClassVar[type[Settings]] = SimilarParams
    state = "ordered"

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._scaler = GreyScaler()
        self._kept: tuple[Frame, list[Bytes]] | None = None

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        """The picture itself, or the planes of an earlier one with its times."""
        frame = readable(inputs[PICTURE], self._context, "skip_similar")
        reduced = self._reduced(frame)
        if self._kept is not None:
            kept, before = self._kept
            if _fits(kept, frame, params) and (
                _change(self._scaler, before, reduced, frame) <= params.threshold
            ):
                self._context.count("reused", "skip_similar")
                return {PICTURE: frame.retimed(planes=kept.planes, ready=kept.ready)}
        self._kept = (frame, reduced)
        return {PICTURE: frame}

    def _reduced(self, frame: Frame) -> list[Bytes]:
        """Luma and both chroma planes, a value for each 4 by 4 pixels."""
        luma, *chroma = (plane.array() for plane in frame.planes)
        half = FINE // 2
        return [
            self._scaler.mean(plane, -(-plane.shape[0] // by), -(-plane.shape[1] // by))
            for plane, by in ((luma, FINE), (chroma[0], half), (chroma[1], half))
        ]

    def reset(self) -> None:
        self._kept = None

    def close(self) -> None:
        self.reset()


def _fits(kept: Frame, frame: Frame, params: SimilarParams) -> bool:
    """Of the same kind, and not too old."""
    same = ("width", "height", "color", "time_base", "epoch")
    age_ns = (frame.pts - kept.pts) * frame.time_base * 1_000_000_000
    return 0 <= age_ns < params.max_reuse and all(
        getattr(kept, name) == getattr(frame, name) for name in same
    )


def _change(scaler: GreyScaler, before: list[Bytes], now: list[Bytes], frame: Frame) -> int:
    """By how many code values the place that changed most has changed."""
    rows, columns = -(-frame.height // COARSE), -(-frame.width // COARSE)
    return max(
        int(np.max(scaler.mean(difference(a, b), rows, columns)))
        for a, b in zip(before, now, strict=True)
    )
