"""Pictures of noise on a bench: of any size, pitch and layout, with poison all around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.pool import Slot, WritableFrame
from streamgen.testing import POISON
from tests.cuda.bench import Bench

Bytes = NDArray[np.uint8]
ITEMSIZES = {"uint8": 1, "uint16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Placed:
    """Planes in one allocation of a bench, one after another."""

    bench: Bench
    address: int
    planes: tuple[Plane, ...]

    def read(self) -> list[NDArray[np.generic]]:
        """The pixels of each plane. Asserts that nothing else was written."""
        memory = self.bench.get(self.address)
        pixels, rest = [], np.ones(memory.size, bool)
        for plane in self.planes:
            rows, columns = plane.shape
            begin, size = plane.ptr - self.address, columns * ITEMSIZES[plane.dtype]
            index = begin + np.arange(rows)[:, None] * plane.pitch + np.arange(size)
            pixels.append(np.ascontiguousarray(memory[index]).view(plane.dtype))
            rest[index] = False
        assert (memory[rest] == POISON).all(), "spare bytes were written"
        return pixels


def place(
    bench: Bench,
    shapes: Sequence[tuple[int, int]],
    dtype: str,
    *,
    pitch: int | None = None,
    extra_rows: int = 0,
    data: Sequence[NDArray[np.generic]] | None = None,
) -> Placed:
    """Planes of these shapes, poison where there is no `data`.

    Packed, or the first with this pitch in bytes and others with as much or, if they are half as
    wide, with half. `extra_rows` lie between the first and the second, as in decoders' surfaces.
    """
    size, begins, pitches = 0, [], []
    for number, (rows, columns) in enumerate(shapes):
        packed = columns * ITEMSIZES[dtype]
        wide = (
            packed
            if pitch is None
            else pitch
            if columns == shapes[0][1] or packed * 2 > pitch
            else pitch // 2
        )
        begins.append(size)
        pitches.append(wide)
        size += wide * (rows + (extra_rows if number == 0 else 0))
    memory = np.full(size, POISON, np.uint8)
    for number, array in enumerate(data or ()):
        for row, values in enumerate(array.astype(dtype, copy=False)):
            at = begins[number] + row * pitches[number]
            memory[at : at + values.nbytes] = values.view(np.uint8)
    address = bench.put(memory)
    planes = tuple(
        Plane(address + begin, shape, wide, dtype, bench.device, None)
        for shape, begin, wide in zip(shapes, begins, pitches, strict=True)
    )
    return Placed(bench, address, planes)


def noise(width: int, height: int, seed: int) -> list[Bytes]:
    """y, u and v, noise and edges."""
    random = np.random.default_rng(seed)
    planes = []
    for rows, columns in plane_shapes(Layout.I420, width, height):
        plane = random.integers(0, 256, (rows, columns), np.uint8)
        plane[: rows // 2, columns // 3 :] = 255 * (seed % 2)
        planes.append(plane)
    return planes


def source(
    bench: Bench,
    layout: Layout,
    width: int,
    height: int,
    *,
    seed: int = 1,
    spare: int = 0,
    extra_rows: int = 0,
) -> tuple[Frame, list[Bytes]]:
    """A picture on the bench, and its planes y, u and v as bytes; rows have `spare` bytes more."""
    planes = noise(width, height, seed)
    expected = planes
    shapes = plane_shapes(layout, width, height)
    dtype = "uint16" if layout is Layout.P010 else "uint8"
    if layout is Layout.P010:
        random = np.random.default_rng(seed)
        ten = [
            (p.astype(np.uint16) << 2 | random.integers(0, 4, p.shape, np.uint16)) for p in planes
        ]
        expected = [np.minimum((p + 2) >> 2, 255).astype(np.uint8) for p in ten]
        planes = [p << 6 for p in ten]  # type: ignore[misc]
    if layout is not Layout.I420:
        pairs = np.stack(planes[1:], axis=2).reshape(shapes[1])
        planes = [planes[0], pairs]
    pitch = shapes[-1][1] if layout is not Layout.I420 else width
    pitch = pitch * ITEMSIZES[dtype] + spare if spare or layout is not Layout.I420 else None
    placed = place(bench, shapes, dtype, pitch=pitch, extra_rows=extra_rows, data=planes)
    frame = Frame(placed.planes, layout, width, height, pts=0, time_base=Fraction(1, 25))
    return frame, expected


def target(
    bench: Bench, layout: Layout, width: int, height: int, *, spare: int = 0
) -> tuple[WritableFrame, Placed]:
    """Poisoned memory for a picture."""
    shapes = plane_shapes(layout, width, height)
    placed = place(bench, shapes, "uint8", pitch=width + spare if spare else None)
    return WritableFrame(placed.planes, layout, width, height, Slot(None)), placed


def separated(pixels: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """y, u and v."""
    if len(pixels) == 3:
        return list(pixels)
    return [pixels[0], pixels[1][:, ::2], pixels[1][:, 1::2]]
