"""`Launch`: one start of a kernel, and the addresses that it is given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Layout, Plane
from streamgen.media.pool import WritableFrame

MOST_PICTURES = 8
"""In one launch; as in `pixels.cuh`."""

LAYOUTS = ("i420", "nv12", "p010")
"""First words in the names of kernels, after what they read;"""
HALVES = "halves"
"""and planes of half precision, whose `dtype` is `float16`, as networks may give them."""

Planes = Sequence[Plane]


class Picture(ctypes.Structure):
    """`Picture` of `pixels.cuh`."""

    _fields_ = (
        ("y", ctypes.c_uint64),
        ("u", ctypes.c_uint64),
        ("v", ctypes.c_uint64),
        ("pitch", ctypes.c_int),
        ("chroma_pitch", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a kernel, with all that it is told. It does not keep any memory alive."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    job: ctypes.Structure
    """The only parameter, by value."""


def picture(planes: Planes) -> Picture:
    """Where the planes lie: two of semi-planar pictures, or three."""
    luma, u, v = planes if len(planes) == 3 else (*planes, planes[1])
    if u.pitch != v.pitch:
        raise ConfigError(f"u and v have one pitch, got {u.pitch} and {v.pitch}")
    return Picture(luma.ptr, u.ptr, v.ptr, luma.pitch, u.pitch)


def kind(source: Frame) -> str:
    """The first word in the names of kernels that read it."""
    if source.planes[0].dtype == "float16":
        return HALVES
    return dict(zip((Layout.I420, Layout.NV12, Layout.P010), LAYOUTS, strict=True))[source.layout]


def check_alike(sources: Sequence[Frame | WritableFrame], what: str) -> None:
    """Refuse what one launch cannot take. Raises `ConfigError`."""
    if not 1 <= len(sources) <= MOST_PICTURES:
        raise ConfigError(f"1 to {MOST_PICTURES} {what} at a time, got {len(sources)}")
    known = {(s.width, s.height, s.layout, s.planes[0].dtype) for s in sources}
    if len(known) != 1:
        raise ConfigError(
            f"{what} of one launch have one size and layout, got {sorted(map(str, known))}"
        )


def blocks(size: int, of: int) -> int:
    return -(-size // of)
