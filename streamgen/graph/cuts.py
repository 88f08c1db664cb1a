"""`CutDetector`: whether a new scene begins at a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame


class CutDetector:
    """Compares reduced luma with that of the picture before. One thread."""

    def __init__(self) -> None:
        self._past: NDArray[np.int16] | None = None

    def cut(self, frame: Frame) -> bool:
        luma = frame.planes[0].array()[::16, ::16].astype(np.int16)
        past, self._past = self._past, luma
        if past is None or past.shape != luma.shape:
            return False
        return float(np.abs(luma - past).mean()) > 40

    def reset(self) -> None:
        self._past = None
