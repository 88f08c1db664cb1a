"""What a stage is given in tests: moving pictures, flat and noisy ones, sheets of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Color, Frame, Layout, Range, Sheet, plane_shapes
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.protocols import Value
from streamgen.testing.clips import frame_of


def moving(count: int, width: int = 160, height: int = 120, *, seed: int = 0) -> list[Frame]:
    """Pictures of a bright square that wanders over a coloured gradient, one time step apart."""
    side = max(1, min(width, height) // 4)
    frames = []
    for number in range(count):
        planes = gradient(width, height, seed + 1)
        x = (seed * 7 + number * max(1, width // 24)) % max(1, width - side + 1)
        y = (seed * 3 + number * max(1, height // 24)) % max(1, height - side + 1)
        planes[0][y : y + side, x : x + side] = 220
        frames.append(frame_of(planes, pts=number))
    return frames


def gradient(width: int, height: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """I420 planes from dark to bright in studio range, with colours from corner to corner."""
    planes = []
    for rows, columns in plane_shapes(Layout.I420, width, height):
        y, x = np.mgrid[0:rows, 0:columns]
        slope = (x * (1 + seed % 3) / max(columns, 1) + y / max(rows, 1)) % 1.0
        planes.append((16 + 219 * slope).astype(np.uint8))
    return planes


def flat(
    width: int, height: int, luma: int, *, pts: int = 0, range_: Range = Range.STUDIO
) -> Frame:
    """One grey, black or white."""
    planes = [
        np.full(shape, luma if not number else 128, np.uint8)
        for number, shape in enumerate(plane_shapes(Layout.I420, width, height))
    ]
    return frame_of(planes, pts=pts).retimed(color=Color(range=range_))


def noise(
    width: int, height: int, *, pts: int = 0, seed: int = 0, range_: Range = Range.STUDIO
) -> Frame:
    """Every code value anywhere, also those that the range leaves out."""
    random = np.random.default_rng(seed)
    planes = [
        random.integers(0, 256, shape, np.uint8)
        for shape in plane_shapes(Layout.I420, width, height)
    ]
    return frame_of(planes, pts=pts).retimed(color=Color(range=range_))


def inputs_like(contract: Contract, frame: Frame, seed: int = 0) -> dict[str, Value]:
    """A value for every input of a stage, made from one picture."""
    return {name: _input(port, frame, seed) for name, port in contract.inputs.items()}


def _input(port: Port, frame: Frame, seed: int) -> Value:
    return frame if port.kind == PICTURE else sheet(port, frame, seed)


def sheet(port: Port, like: Frame, seed: int = 0) -> Sheet:
    """A sheet that fits a port: a half mask, two boxes, a grey ramp, random numbers."""
    low, high = port.range or (0.0, 1.0)
    rows, columns = like.height, like.width
    data: NDArray[np.generic]
    match port.kind:
        case "mask":
            data = np.full((rows, columns), low, port.dtype)
            data[: (rows + 1) // 2] = high
        case "boxes":
            data = np.array(_boxes(columns, rows), port.dtype)
        case "rgb":
            ramp = low + (high - low) * np.linspace(0, 1, columns)
            data = np.broadcast_to(ramp[None, :, None], (rows, columns, 3)).astype(port.dtype)
            data = np.ascontiguousarray(data.transpose(2, 0, 1)) if port.planar else data
        case _:
            shape = [size if isinstance(size, int) else 4 for size in port.shape]
            random = np.random.default_rng(seed)
            data = (low + (high - low) * random.random(shape)).astype(port.dtype)
    return Sheet(port.kind, data, like.pts, like.time_base)


def _boxes(width: int, height: int) -> Sequence[tuple[float, float, float, float]]:
    return [
        (0.0, 0.0, width / 2, height / 2),
        (width / 4, height / 4, float(width), float(height)),
    ]
