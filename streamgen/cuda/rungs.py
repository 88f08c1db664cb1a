"""Pictures to the pictures of all rungs, in one pass: `rungs.cu`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamgen.cuda.launch import (
    HALVES,
    LAYOUTS,
    MOST_PICTURES,
    Launch,
    Picture,
    blocks,
    check_alike,
    kind,
    picture,
)
from streamgen.cuda.taps import Taps, taps
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Layout
from streamgen.media.pool import WritableFrame
from streamgen.media.scaler import Size

KERNELS = tuple(f"{one}_to_rungs" for one in (*LAYOUTS, HALVES))
MOST_RUNGS = 8
"""As in `rungs.cu`."""
THREADS = 256
"""As in `rungs.cu`."""
SHARED_BYTES = 48 * 1024
"""What a block has on every GPU without asking for more."""
TILES = ((128, 64), (64, 64), (64, 32), (32, 32), (32, 16), (16, 16), (16, 8))
"""Columns and rows of luma; the larger, the less is read twice."""


class CTaps(ctypes.Structure):
    """`Taps` of `rungs.cu`."""

    _fields_ = (
        ("start", ctypes.c_uint64),
        ("weights", ctypes.c_uint64),
        ("source", ctypes.c_int),
        ("target", ctypes.c_int),
        ("words", ctypes.c_int),
        ("unused", ctypes.c_int),
    )


class Rung(ctypes.Structure):
    """As in `rungs.cu`."""

    _fields_ = (
        ("taps", CTaps * 4),
        ("picture", Picture * MOST_PICTURES),
        ("planar", ctypes.c_int),
        ("unused", ctypes.c_int),
    )


class RungsJob(ctypes.Structure):
    """As in `rungs.cu`."""

    _fields_ = (
        ("picture", Picture * MOST_PICTURES),
        ("rung", Rung * MOST_RUNGS),
        ("rungs", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("tile_columns", ctypes.c_int),
        ("tile_rows", ctypes.c_int),
        ("halo_x", ctypes.c_int),
        ("halo_y", ctypes.c_int),
        ("middle_rows", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of one plane of one rung. `taps` are None where nothing is scaled."""

    source: int
    target: int
    taps: Taps | None

    def _tile_of(self, tile: int) -> NDArray[np.int64]:
        """For each target pixel, the tile in which its centre lies."""
        return (2 * np.arange(self.target) + 1) * self.source // (2 * self.target) // tile

    def halo(self, tile: int) -> int:
        """How far beyond its tile a pixel reads."""
        if self.taps is None:
            return 0
        begin = self._tile_of(tile) * tile
        end = self.taps.start + 4 * self.taps.words
        return int(max((begin - self.taps.start).max(), (end - begin - tile).max(), 0))

    def most(self, tile: int) -> int:
        """Target pixels of one tile."""
        return 0 if self.taps is None else int(np.bincount(self._tile_of(tile)).max())


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a picture is cut, and the shared memory that a block needs for a tile."""

    columns: int
    rows: int
    halo_x: int
    halo_y: int
    middle_rows: int
    shared_bytes: int


class Scaling:
    """From one size to several: filters, and how pictures are cut into tiles.

    `tables` is for its owner to copy to the device, once, and to keep there.
    """

    def __init__(
        self, width: int, height: int, sizes: Sequence[Size], interpolation: str = "bicubic"
    ) -> None:
        """Names of filters as in `streamgen.media.scaler`; sizes are even. Raises `ConfigError`."""
        if not 1 <= len(sizes) <= MOST_RUNGS:
            raise ConfigError(f"1 to {MOST_RUNGS} rungs at a time, got {len(sizes)}")
        if any(side % 2 or side < 2 for size in sizes for side in size):
            raise ConfigError(f"sides of rungs are even, got {list(sizes)}")
        self.width, self.height, self.sizes = width, height, tuple(sizes)
        even = (width + width % 2, height + height % 2)
        self._rungs = [list(_axes(even, size, interpolation)) for size in sizes]
        self.tiling = _tiling(self._rungs)
        parts: list[NDArray[np.int32]] = []
        self._offsets: list[list[int]] = []
        for axes in self._rungs:
            self._offsets.append([])
            for axis in axes:
                self._offsets[-1].append(sum(part.size for part in parts))
                if axis.taps is not None:
                    parts += [axis.taps.start, axis.taps.weights.view(np.int32).reshape(-1)]
        self.tables = np.concatenate([np.zeros(1, np.int32), *parts])
        """Starts and weights of all filters."""

    def launch(
        self,
        sources: Sequence[Frame],
        targets: Sequence[Sequence[WritableFrame]],
        tables: int,
    ) -> Launch:
        """Each picture into one of every size: `targets[rung][picture]`, I420 or NV12 of any pitch.

        `tables` is the address of the tables on the device. Raises `ConfigError`.
        """
        check_alike(sources, "pictures")
        first, tiling = sources[0], self.tiling
        if (first.width, first.height) != (self.width, self.height):
            raise ConfigError(f"made for {self.width}x{self.height}, got {first}")
        job = RungsJob(
            rungs=len(self.sizes),
            width=self.width,
            height=self.height,
            tile_columns=tiling.columns,
            tile_rows=tiling.rows,
            halo_x=tiling.halo_x,
            halo_y=tiling.halo_y,
            middle_rows=tiling.middle_rows,
        )
        for number, source in enumerate(sources):
            job.picture[number] = picture(source.planes)
        for rung, (size, made) in enumerate(zip(self.sizes, targets, strict=True)):
            check_alike(made, "pictures of a rung")
            if len(made) != len(sources) or (made[0].width, made[0].height) != size:
                raise ConfigError(f"a rung of {size} for {len(sources)} pictures got {list(made)}")
            self._describe(job.rung[rung], rung, made, tables)
        return Launch(
            kernel=f"{kind(first)}_to_rungs",
            grid=(
                blocks(self.width, tiling.columns),
                blocks(self.height, tiling.rows) + blocks((self.height + 1) // 2, tiling.rows),
                len(sources),
            ),
            block=(THREADS, 1, 1),
            shared_bytes=tiling.shared_bytes,
            job=job,
        )

    def _describe(
        self, rung: Rung, number: int, made: Sequence[WritableFrame], tables: int
    ) -> None:
        rung.planar = made[0].layout is Layout.I420
        for index, out in enumerate(made):
            rung.picture[index] = picture(out.planes)
        for index, (axis, offset) in enumerate(
            zip(self._rungs[number], self._offsets[number], strict=True)
        ):
            start = tables + 4 * (offset + 1)
            rung.taps[index] = CTaps(
                start=start,
                weights=start + 4 * axis.target,
                source=axis.source,
                target=axis.target,
                words=0 if axis.taps is None else axis.taps.words,
            )


def _axes(source: Size, target: Size, interpolation: str) -> Iterator[Axis]:
    """Luma's columns and rows, chroma's columns and rows."""
    for share in (1, 2):
        for side, wanted in zip(source, target, strict=True):
            filtered = None
            if source != target:
                filtered = taps(side // share, wanted // share, interpolation)
            yield Axis(side // share, wanted // share, filtered)


def _tiling(rungs: Sequence[Sequence[Axis]]) -> Tiling:
    """The largest tile that fits. Raises `ConfigError` where none does."""
    for columns, rows in TILES:
        halo_x = halo_y = luma = chroma = 0
        for x, y, chroma_x, chroma_y in rungs:
            halo_x = max(halo_x, x.halo(columns), chroma_x.halo(columns // 2))
            halo_y = max(halo_y, y.halo(rows), chroma_y.halo(rows))
            luma = max(luma, x.most(columns))
            chroma = max(chroma, chroma_x.most(columns // 2))
        halo_x, halo_y = blocks(halo_x, 4) * 4, blocks(halo_y, 4) * 4
        high = rows + 2 * halo_y
        # An odd number of 8 bytes: neighbouring columns then lie in different banks.
        middle_rows = 4 * (blocks(high, 4) | 1)
        shared = max(
            blocks(high * (columns + 2 * halo_x), 8) * 8 + luma * middle_rows * 2,
            2 * high * (columns // 2 + 2 * halo_x) + 2 * chroma * middle_rows * 2,
        )
        if shared <= SHARED_BYTES:
            return Tiling(columns, rows, halo_x, halo_y, middle_rows, shared)
    raise ConfigError("these sizes are too far apart to be scaled in one pass")
