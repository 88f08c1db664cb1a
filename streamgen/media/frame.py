"""`Frame` and `Sheet`: a picture as planes on a device, and what a model says of a picture.

A frame stays in the codec's own pixels (planar or semi-planar YUV 4:2:0): decoders give it,
encoders want it, and our networks take and return the planes themselves. Planes are lent, never
copied: `numpy.asarray(plane)` and `plane.__dlpack__()` look at the same memory as the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fractions import Fraction
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ConfigError


class Layout(Enum):
    """Pixel layout of a frame; all are 4:2:0."""

    I420 = "yuv420p"
    """Planes y, u, v of uint8."""
    NV12 = "nv12"
    """Planes y and interleaved uv of uint8."""
    P010 = "p010le"
    """As NV12 with 10 bits in the high bits of uint16."""


class Matrix(Enum):
    """YCbCr matrix coefficients (ITU-T H.273, table 4)."""

    BT709 = "bt709"
    BT601 = "bt601"
    BT2020 = "bt2020"


class Range(Enum):
    """Quantisation range (ITU-T H.273): studio 16..235, or full 0..255."""

    STUDIO = "tv"
    FULL = "pc"


@dataclass(frozen=True, slots=True)
class Color:
    """How code values map to colour. `primaries` and `transfer` are H.273 numbers (2: unknown)."""

    matrix: Matrix = Matrix.BT709
    range: Range = Range.STUDIO
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True, slots=True)
class Device:
    """Where memory lies: `cpu`, or `cuda` with the index of the GPU."""

    type: str = "cpu"
    index: int = 0

    def __str__(self) -> str:
        return self.type if self.type == "cpu" else f"{self.type}:{self.index}"


CPU = Device()


class Fence(Protocol):
    """The point in time when a buffer may be touched: a CUDA event, or a request's completion."""

    def done(self) -> bool:
        """True once passed; never blocks."""
        ...

    def wait(self) -> None:
        """Block the calling thread until passed; raises what the work raised."""
        ...

    def on_done(self, call: Callable[[], None]) -> None:
        """Call `call` once passed, from any thread; at once if it is already."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One plane of pixels in someone's memory.

    `owner` keeps the memory alive for as long as the plane, or any array made from it, lives.
    """

    ptr: int
    """Address of the first pixel on `device`."""
    shape: tuple[int, int]
    """Rows and elements per row (interleaved chroma counts both: NV12 uv is H/2 x W)."""
    pitch: int
    """Bytes from one row to the next; at least `shape[1] * itemsize`."""
    dtype: str
    """`uint8` or `uint16`."""
    device: Device
    owner: Any

    @property
    def itemsize(self) -> int:
        return 1 if self.dtype == "uint8" else 2

    @property
    def packed(self) -> bool:
        """Rows follow one another without padding, as runtimes want them."""
        return self.pitch == self.shape[1] * self.itemsize

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.device.type != "cpu":
            # Not an AttributeError: numpy would take that for "no array" and go on.
            raise ConfigError(f"the pixels are on {self.device}, not in host memory")
        return {
            "shape": self.shape,
            "strides": None if self.packed else (self.pitch, self.itemsize),
            "typestr": "|u1" if self.dtype == "uint8" else "<u2",
            "data": (self.ptr, False),
            "version": 3,
        }

    def array(self) -> NDArray[Any]:
        """View on the pixels, no copy; keeps the owner alive. Read only by agreement."""
        return np.asarray(self)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0) if self.device.type == "cpu" else (2, self.device.index)

    @classmethod
    def of(cls, array: NDArray[Any], owner: Any = None) -> Self:
        """Plane over a two-dimensional array in host memory, which it keeps alive."""
        return cls(
            ptr=array.ctypes.data,
            shape=(array.shape[0], array.shape[1]),
            pitch=array.strides[0],
            dtype=array.dtype.name,
            device=CPU,
            owner=array if owner is None else owner,
        )

    def crop(self, rows: int, columns: int) -> Plane:
        """The top left `rows` x `columns` of this plane: a strided view, no copy."""
        return replace(self, shape=(rows, columns))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture. Read only once published; passed by reference between threads."""

    planes: tuple[Plane, ...]
    layout: Layout
    width: int
    height: int
    """Size in pixels of the luma plane as stored (before rotation and pixel aspect)."""
    pts: int
    time_base: Fraction
    duration: int = 0
    """Display time in `time_base` units; 0 where unknown."""
    color: Color = field(default_factory=Color)
    sar: Fraction = Fraction(1)
    """Sample aspect ratio: width over height of one pixel."""
    rotation: int = 0
    """Degrees counter-clockwise to turn the picture for display: 0, 90, 180 or 270."""
    epoch: int = 0
    received_ns: int = 0
    """Clock time at which the packet came in that let the decoder show the picture: its own, or the
    last one it waited for. Start of its latency; no two pictures of a stream share it."""
    keyframe: bool = False
    """Set by the frame clock: every rung must begin a closed GOP here."""
    still: bool = False
    """Nothing came that could be decoded: another picture stands in."""
    ready: Fence | None = None
    """Passed once the pixels are there; None: they are."""

    def __post_init__(self) -> None:
        wanted = 3 if self.layout is Layout.I420 else 2
        if len(self.planes) != wanted:
            raise ConfigError(f"{self.layout.value} has {wanted} planes, got {len(self.planes)}")
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"a frame has at least one pixel, got {self.width}x{self.height}")

    def __repr__(self) -> str:
        return (
            f"Frame({self.width}x{self.height} {self.layout.value} on {self.device}, "
            f"pts={self.pts} @ {self.time_base})"
        )

    @property
    def device(self) -> Device:
        return self.planes[0].device

    @property
    def time_s(self) -> float:
        return float(self.pts * self.time_base)

    def retimed(self, **changes: Any) -> Frame:
        """The same pixels with other tags (pts, keyframe, epoch, ...)."""
        # dataclasses.replace() takes twice as long, and this runs several times per picture.
        same = object.__new__(Frame)
        for name in _FRAME_FIELDS:
            object.__setattr__(
                same, name, changes[name] if name in changes else getattr(self, name)
            )
        return same


_FRAME_FIELDS = tuple(one.name for one in fields(Frame))


def plane_shapes(layout: Layout, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Rows and elements per row of each plane; chroma of odd sizes is rounded up (H.264 6.2)."""
    chroma = ((height + 1) // 2, (width + 1) // 2)
    if layout is Layout.I420:
        return ((height, width), chroma, chroma)
    return ((height, width), (chroma[0], 2 * chroma[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What a model says of a picture: a mask, boxes, or any tensor."""

    kind: str
    """`mask`, `boxes`, `rgb` or `tensor`; shapes and ranges as `streamgen.media.port.Port` says."""
    data: Any
    """An array that speaks DLPack. Read only once published."""
    pts: int
    time_base: Fraction
    device: Device = CPU
    ready: Fence | None = None
