"""Warp error: how much two consecutive frames differ once motion is taken out.

DIS optical flow on the *input* frames (medium preset), both ways; pixels whose forward and backward
flow disagree by more than 1 px, or that leave the picture, are masked. The figure is the RMSE in
RGB 0..1 over the rest, averaged over frame pairs. The same code gives the input's own error.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Motion:
    """Backward maps of one frame pair and the pixels where they can be trusted."""

    x: Array
    y: Array
    trusted: npt.NDArray[np.bool_]


def motion(before: Array, after: Array) -> Motion:
    """Where each pixel of `after` was in `before`; both RGB [H, W, 3] in 0..1."""
    gray = [cv2.cvtColor((p * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for p in (before, after)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    backward = flow.calc(gray[1], gray[0], None)
    forward = flow.calc(gray[0], gray[1], None)
    height, width = gray[0].shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    returned = cv2.remap(forward, x, y, cv2.INTER_LINEAR)
    trusted = np.linalg.norm(returned + backward, axis=-1) < 1
    trusted &= (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    return Motion(x, y, trusted)


def warp_error(before: Array, after: Array, moved: Motion) -> float:
    """RMSE between `after` and `before` brought to its place, over trusted pixels."""
    warped = cv2.remap(before, moved.x, moved.y, cv2.INTER_LINEAR)
    return float(np.sqrt(np.square(warped - after)[moved.trusted].mean()))
