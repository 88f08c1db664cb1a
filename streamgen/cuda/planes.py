"""Pictures to the planes that networks take: `planes.cu`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from streamgen.cuda.launch import (
    LAYOUTS,
    MOST_PICTURES,
    Launch,
    Picture,
    Planes,
    blocks,
    check_alike,
    kind,
    picture,
)
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame

KERNELS = tuple(f"{one}_to_{other}" for one in LAYOUTS for other in ("bytes", "halves"))
ROWS = 4
"""That a thread moves; as in `planes.cu`."""
BLOCK = (32, 8, 1)


class PlanesJob(ctypes.Structure):
    """As in `planes.cu`."""

    _fields_ = (
        ("source", Picture * MOST_PICTURES),
        ("target", Picture * MOST_PICTURES),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("columns", ctypes.c_int),
        ("rows", ctypes.c_int),
    )


def to_planes(sources: Sequence[Frame], targets: Sequence[Planes]) -> Launch:
    """Each picture into its three planes y, u and v; 10 bits become 8.

    Sources have any layout and pitch, and one size. Targets are `uint8`, or `float16` holding code
    values from 0 to 255; of one shape, which is even and not smaller: the last column and row
    repeat. A batch is planes that follow one another. Raises `ConfigError`.
    """
    check_alike(sources, "pictures")
    first = sources[0]
    luma = targets[0][0]
    rows, columns = luma.shape
    shapes = [(rows, columns), *[(rows // 2, columns // 2)] * 2]
    if len(targets) != len(sources) or any([p.shape for p in t] != shapes for t in targets):
        raise ConfigError(f"{len(sources)} pictures become as many y, u and v of {columns}x{rows}")
    if rows % 2 or columns % 2 or rows < first.height or columns < first.width:
        raise ConfigError(f"{first.width}x{first.height} does not fit into {columns}x{rows}")
    job = PlanesJob(width=first.width, height=first.height, columns=columns, rows=rows)
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        job.source[number] = picture(source.planes)
        job.target[number] = picture(target)
    high = ROWS * BLOCK[1]
    return Launch(
        kernel=f"{kind(first)}_to_{'halves' if luma.dtype == 'float16' else 'bytes'}",
        grid=(
            blocks(columns, 4 * BLOCK[0]),
            blocks(rows, high) + blocks(rows // 2, high),
            len(sources),
        ),
        block=BLOCK,
        shared_bytes=0,
        job=job,
    )
