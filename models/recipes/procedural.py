"""Style pictures of our own, drawn from a seed: nothing scanned, nothing borrowed.

python procedural.py ink OUT.png        python procedural.py stained-glass OUT.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

Array = npt.NDArray[np.float64]
SIDE_PX = 768


def _cloud(rng: np.random.Generator, sigma_px: float, side_px: int = SIDE_PX) -> Array:
    """Smooth seeded noise, mean 0 and deviation 1, that wraps around."""
    noise = gaussian_filter(rng.standard_normal((side_px, side_px)), sigma_px, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())


def _brushed(rng: np.random.Generator, angle: Array, length_px: int, grain_px: float) -> Array:
    """Noise drawn out along `angle`: each pixel is the mean along its stream line."""
    grain = _cloud(rng, grain_px)
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX].astype(float)
    total = np.zeros_like(grain)
    for direction in (1.0, -1.0):
        y, x = rows.copy(), columns.copy()
        for _ in range(length_px // 2):
            total += map_coordinates(grain, [y, x], order=1, mode="grid-wrap")
            local = map_coordinates(angle, [y, x], order=0, mode="grid-wrap")
            y += 2 * direction * np.sin(local)
            x += 2 * direction * np.cos(local)
    return np.asarray((total - total.mean()) / total.std())


def ink(seed: int = 5) -> Array:
    """Brush and wash in blue-black ink on warm paper, RGB [H, W, 3] in 0..1."""
    rng = np.random.default_rng(seed)
    angle = 1.4 * _cloud(rng, 90)
    paper = np.array([0.97, 0.94, 0.86]) + 0.012 * _cloud(rng, 1.0)[..., None]
    wash = np.clip(0.5 + 0.5 * _cloud(rng, 50) + 0.25 * _brushed(rng, angle, 60, 2.5), 0, 1)
    bold = _brushed(rng, angle, 110, 5.0)
    dry = _brushed(rng, angle, 90, 1.0)
    stroke = 1 / (1 + np.exp(-9 * (bold - 0.75 + 0.25 * dry)))
    fine = 1 / (1 + np.exp(-10 * (_brushed(rng, angle + 0.5, 50, 1.4) - 1.25)))
    picture = paper * (1 - 0.55 * (wash**1.5)[..., None] * (1 - np.array([0.42, 0.50, 0.60])))
    for amount, color in ((fine * 0.8, (0.16, 0.17, 0.22)), (stroke, (0.06, 0.07, 0.11))):
        picture = picture * (1 - amount[..., None]) + amount[..., None] * np.array(color)
    return np.clip(picture, 0, 1)


GLASS = (
    (0.06, 0.20, 0.62), (0.10, 0.42, 0.80), (0.75, 0.07, 0.12), (0.93, 0.62, 0.08),
    (0.98, 0.84, 0.30), (0.08, 0.50, 0.28), (0.45, 0.12, 0.55), (0.90, 0.34, 0.10),
    (0.88, 0.92, 0.86), (0.16, 0.68, 0.66),
)  # fmt: skip


def stained_glass(seed: int = 3, panes: int = 170) -> Array:
    """Leaded panes of coloured glass with the light behind them, RGB [H, W, 3] in 0..1."""
    rng = np.random.default_rng(seed)
    seats = rng.random((panes, 2)) * SIDE_PX
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX].astype(float)
    rows += 7 * _cloud(rng, 25)
    columns += 7 * _cloud(rng, 25)
    nearest = np.full((2, SIDE_PX, SIDE_PX), np.inf)
    pane = np.zeros((SIDE_PX, SIDE_PX), int)
    for index, (y, x) in enumerate(seats):
        gaps = [(np.abs(a - b) + SIDE_PX / 2) % SIDE_PX - SIDE_PX / 2
                for a, b in ((rows, y), (columns, x))]  # fmt: skip
        distance = np.hypot(*gaps)
        closer = distance < nearest[0]
        nearest[1] = np.where(closer, nearest[0], np.minimum(nearest[1], distance))
        nearest[0] = np.where(closer, distance, nearest[0])
        pane = np.where(closer, index, pane)
    colors = np.array(GLASS)[rng.integers(0, len(GLASS), panes)]
    colors = np.clip(colors * rng.uniform(0.75, 1.2, (panes, 1)), 0, 1)
    edge = nearest[1] - nearest[0]
    glow = 0.72 + 0.33 * np.clip(edge / 60, 0, 1) + 0.05 * _cloud(rng, 2) + 0.07 * _cloud(rng, 14)
    picture = colors[pane] * glow[..., None]
    lead = 1 / (1 + np.exp(1.6 * (edge - 8)))
    shine = 0.10 * np.exp(-np.square((edge - 3) / 2.0))
    metal = np.array([0.05, 0.05, 0.06]) + shine[..., None]
    return np.clip(picture * (1 - lead[..., None]) + metal * lead[..., None], 0, 1)


PICTURES = {"ink": ink, "stained-glass": stained_glass}


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PICTURES:
        raise SystemExit(f"usage: python procedural.py {'|'.join(PICTURES)} OUT.png")
    drawn = PICTURES[sys.argv[1]]()
    Image.fromarray(np.round(drawn * 255).astype(np.uint8)).save(Path(sys.argv[2]))
