"""`face-mask`: where the faces are, found by OpenCV's cascade of simple features (Viola-Jones).

faces: {face-mask: {grow: 12}, from: source, every: 200ms}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Sheet
from streamgen.media.port import Port
from streamgen.protocols import StageContext, Value

SEARCHED_PX = 360
"""Pictures are searched at this height: the cost grows with the number of pixels."""
CASCADE = "haarcascade_frontalface_alt2.xml"

Box = tuple[int, int, int, int]


class FaceMaskParams(Settings):
    """Parameters of `face-mask`."""

    grow: int = Field(default=12, ge=0, le=500)
    """Pixels of the picture by which the mask is larger than a face, on all sides."""
    smallest: float = Field(default=0.1, ge=0.05, le=1.0)
    """Height of the smallest face over that of the picture: smaller ones cost more."""
    sure: int = Field(default=4, ge=1, le=20)
    """How often a face must be found at almost the same place."""


class FaceMask:
    """A picture in, a mask out: 255 in an ellipse over each face, else 0.

    The mask is as large as the picture was when it was searched; whoever reads it scales it.
    """

    Params: ClassVar[type[Settings]] = FaceMaskParams
    outputs: ClassVar[Mapping[str, Port]] = {"mask": Port(kind="mask")}

    def __init__(self, params: FaceMaskParams, context: StageContext) -> None:
        path = Path(cv2.data.haarcascades) / CASCADE
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ConfigError(f"this OpenCV has no {CASCADE}; face-mask needs a version below 5")

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: FaceMaskParams) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        luma = frame.planes[0].array()
        scale = min(1.0, SEARCHED_PX / frame.height)
        size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        searched = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        mask = np.zeros(searched.shape, np.uint8)
        draw(mask, self._faces(searched, params), round(params.grow * scale))
        return {"mask": Sheet("mask", mask, frame.pts, frame.time_base)}

    def _faces(self, searched: Any, params: FaceMaskParams) -> Iterable[Box]:
        least = max(20, round(params.smallest * searched.shape[0]))
        found = self._cascade.detectMultiScale(
            cv2.equalizeHist(searched), 1.15, params.sure, minSize=(least, least)
        )
        return [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]

    def reset(self) -> None:
        """Nothing to forget: every picture is searched anew."""

    def close(self) -> None:
        """Nothing is held."""


def draw(mask: Any, faces: Iterable[Box], grow_px: int) -> None:
    """Ellipses over the boxes; the cascade's are square, faces are higher than wide."""
    for x, y, width, height in faces:
        center = (x + width // 2, y + height // 2)
        axes = (round(width * 0.46) + grow_px, round(height * 0.58) + grow_px)
        cv2.ellipse(mask, center, axes, 0, 0, 360, 255, cv2.FILLED)
