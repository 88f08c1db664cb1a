"""Studio-range BT.709 planes with 4:2:0 chroma: the only picture form the networks see.

Shapes: `y` [..., H, W], `u` and `v` [..., H/2, W/2], all in 8-bit code values (white 235, black 16,
neutral chroma 128). Chroma is the mean of its 2x2 block (centre siting).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Planes = tuple[Array, Array, Array]

KR, KB = 0.2126, 0.0722
KG = 1 - KR - KB
# Rows y, u, v; columns r, g, b in 0..1; result in code values without the offsets 16, 128, 128.
FROM_RGB = np.array(
    [
        [219 * KR, 219 * KG, 219 * KB],
        [-112 * KR / (1 - KB), -112 * KG / (1 - KB), 112.0],
        [112.0, -112 * KG / (1 - KR), -112 * KB / (1 - KR)],
    ]
)
TO_RGB = np.linalg.inv(FROM_RGB)
OFFSET = np.array([16.0, 128.0, 128.0])


def from_rgb(rgb: npt.ArrayLike) -> Planes:
    """RGB [H, W, 3] in 0..1 to float planes; H and W even."""
    full = np.asarray(rgb, np.float64) @ FROM_RGB.T + OFFSET
    height, width = full.shape[:2]
    blocks = full[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    y, u, v = full[..., 0], blocks[..., 0], blocks[..., 1]
    return y.astype(np.float32), u.astype(np.float32), v.astype(np.float32)


def to_rgb(planes: Planes) -> Array:
    """Planes to RGB [H, W, 3], clipped to 0..1; chroma is repeated 2x2."""
    y, u, v = planes
    chroma = [np.repeat(np.repeat(p, 2, 0), 2, 1) for p in (u, v)]
    full = np.stack([y, *chroma], -1).astype(np.float64) - OFFSET
    rgb: Array = np.clip(full @ TO_RGB.T, 0, 1).astype(np.float32)
    return rgb


def as_bytes(plane: Array) -> npt.NDArray[np.uint8]:
    """Round and clip one plane to 8 bits."""
    return np.clip(np.round(plane), 0, 255).astype(np.uint8)
