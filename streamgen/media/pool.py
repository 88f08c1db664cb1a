"""`FramePool`: reusable frame buffers, and the copy meter that keeps us honest.

`take` lends a slot to write, `publish` turns it into a read-only `Frame`. The slot comes back when
the last reference to the frame (and to every array or `av.VideoFrame` made from it) is gone *and*
the fence of every reader has passed. Never use `with` around a buffer that goes downstream.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ConfigError
from streamgen.media.frame import CPU, Color, Device, Fence, Frame, Layout, Plane, plane_shapes

ALIGNMENT = 64
"""Bytes; a cache line, and what AVX-512 loads like."""


class CopyMeter:
    """Counts copies of whole planes made by us, by reason. The tests compare it with a memcpy
    counter outside the process."""

    def __init__(self) -> None:
        self.planes: dict[str, int] = {}
        self.bytes = 0
        self._lock = threading.Lock()

    def copied(self, reason: str, size_bytes: int, planes: int = 1) -> None:
        with self._lock:
            self.planes[reason] = self.planes.get(reason, 0) + planes
            self.bytes += size_bytes

    @property
    def total(self) -> int:
        return sum(self.planes.values())


class Slot:
    """Owner of one lent buffer. Its memory returns to the pool when this object is gone."""

    __slots__ = ("__weakref__", "fences", "memory")

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.fences: list[Fence] = []


@dataclass(frozen=True, slots=True, eq=False)
class WritableFrame:
    """A lent buffer, to be filled once and published once, by one thread."""

    planes: tuple[Plane, ...]
    layout: Layout
    width: int
    height: int
    slot: Slot

    def publish(
        self,
        like: Frame,
        *,
        ready: Fence | None = None,
        sar: Fraction | None = None,
        color: Color | None = None,
    ) -> Frame:
        """The read-only frame with the times and tags of `like`; `ready` passes when it is full."""
        return Frame(
            planes=self.planes,
            layout=self.layout,
            width=self.width,
            height=self.height,
            pts=like.pts,
            time_base=like.time_base,
            duration=like.duration,
            color=like.color if color is None else color,
            sar=like.sar if sar is None else sar,
            rotation=like.rotation,
            epoch=like.epoch,
            received_ns=like.received_ns,
            keyframe=like.keyframe,
            ready=ready,
        )


class Pool(Protocol):
    """What stages need of a pool; `streamgen.testing` has one that is pitched and poisoned."""

    meter: CopyMeter

    def take(
        self, layout: Layout, width: int, height: int, *, multiple: int = 1
    ) -> WritableFrame: ...


def add_reader(frame: Frame, fence: Fence) -> None:
    """Tell the pool that `fence` guards a reader of `frame` which outlives its references."""
    owner = frame.planes[0].owner
    if isinstance(owner, Slot):
        owner.fences.append(fence)


class Memory(Protocol):
    """One allocation. It is freed when nobody holds this object."""

    ptr: int
    size: int
    """Bytes."""


class HostMemory:
    """What numpy allocates, aligned."""

    __slots__ = ("_raw", "ptr", "size")

    def __init__(self, size: int) -> None:
        self._raw = np.empty(size + ALIGNMENT, np.uint8)
        self.ptr = self._raw.ctypes.data + -self._raw.ctypes.data % ALIGNMENT
        self.size = size


class FramePool:
    """Memory for frames, one free list per size. Bounded by what is in flight.

    The planes of a frame follow one another in one allocation. Where `row_bytes` is more than 1,
    rows begin at multiples of it and no gap lies between planes, as hardware wants it.
    """

    def __init__(
        self,
        device: Device = CPU,
        allocate: Callable[[int], Memory] = HostMemory,
        *,
        row_bytes: int = 1,
    ) -> None:
        """`allocate` gives so many bytes of the device's memory. A host's is numpy's by default."""
        if device.type != "cpu" and allocate is HostMemory:
            raise ConfigError(f"this pool holds host memory, not {device}")
        self.device = device
        self.meter = CopyMeter()
        self._allocate = allocate
        self._row_bytes = row_bytes
        self._free: dict[int, deque[Memory]] = {}
        self._late: deque[tuple[Memory, list[Fence]]] = deque()
        self.allocated = 0

    def take(self, layout: Layout, width: int, height: int, *, multiple: int = 1) -> WritableFrame:
        """Lend a buffer for one picture; contents undefined.

        With a `multiple`, the planes are packed and sized up to the next one in both directions,
        as runtimes want them; crop the published frame with `cropped` where the picture is smaller.
        """
        width = -(-width // multiple) * multiple
        height = -(-height // multiple) * multiple
        row_bytes = self._row_bytes if multiple == 1 else 1
        dtype = "uint16" if layout is Layout.P010 else "uint8"
        itemsize = 2 if dtype == "uint16" else 1
        shapes = plane_shapes(layout, width, height)
        pitches = [-(-columns * itemsize // row_bytes) * row_bytes for _, columns in shapes]
        sizes = [
            -(-rows * pitch // ALIGNMENT) * ALIGNMENT
            for (rows, _), pitch in zip(shapes, pitches, strict=True)
        ]
        slot = Slot(self._memory(sum(sizes)))
        weakref.finalize(slot, self._returned, slot.memory, slot.fences).atexit = False
        address = slot.memory.ptr
        planes = []
        for shape, pitch, size in zip(shapes, pitches, sizes, strict=True):
            planes.append(Plane(address, shape, pitch, dtype, self.device, slot))
            address += size
        return WritableFrame(tuple(planes), layout, width, height, slot)

    def _memory(self, size: int) -> Memory:
        self._reclaim()
        free = self._free.setdefault(size, deque())
        try:
            return free.pop()
        except IndexError:
            self.allocated += 1
            return self._allocate(size)

    def _returned(self, memory: Memory, fences: list[Fence]) -> None:
        # Runs wherever the last reference dies, maybe inside take(): no locks, deques only.
        if all(fence.done() for fence in fences):
            self._at_rest(memory)
        else:
            self._late.append((memory, fences))

    def _at_rest(self, memory: Memory) -> None:
        self._free[memory.size].append(memory)

    def _reclaim(self) -> None:
        for _ in range(len(self._late)):
            try:
                memory, fences = self._late.popleft()
            except IndexError:
                return
            self._returned(memory, fences)

    @property
    def free(self) -> int:
        """Buffers at rest."""
        self._reclaim()
        return sum(len(free) for free in self._free.values())


def cropped(frame: Frame, width: int, height: int) -> Frame:
    """The top left `width` x `height` of a padded frame: strided planes, no copy."""
    if (frame.width, frame.height) == (width, height):
        return frame
    shapes = plane_shapes(frame.layout, width, height)
    planes = tuple(p.crop(*s) for p, s in zip(frame.planes, shapes, strict=True))
    return frame.retimed(planes=planes, width=width, height=height)


def copy_padded(frame: Frame, pool: Pool, meter: CopyMeter, multiple: int) -> Frame:
    """DESIGN's one row copy: packed planes up to `multiple`, edges replicated, for a runtime.

    Runtimes never see strided memory. The pad repeats the last column and row, so that the
    network sees a continued picture, not a black edge; crop its output with `cropped`.
    """
    out = pool.take(frame.layout, frame.width, frame.height, multiple=multiple)
    for source, target in zip(frame.planes, out.planes, strict=True):
        replicate(source.array(), np.asarray(target), step=_components(frame, source))
        meter.copied("unpacked plane", source.shape[0] * source.shape[1] * source.itemsize)
    return out.publish(frame)


def _components(frame: Frame, plane: Plane) -> int:
    return 2 if frame.layout is not Layout.I420 and plane is not frame.planes[0] else 1


def replicate(source: NDArray[Any], target: NDArray[Any], *, step: int = 1) -> None:
    """Copy rows into a larger plane and repeat the last column and row over the rest.

    `step` is the number of interleaved components per pixel.
    """
    rows, columns = source.shape
    target[:rows, :columns] = source
    for column in range(columns, target.shape[1]):
        target[:rows, column] = target[:rows, column - step]
    target[rows:] = target[rows - 1]
