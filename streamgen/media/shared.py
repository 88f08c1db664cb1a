"""`SharedPool`: frame buffers that another process can see, without a copy and without a name.

Every buffer is a memory file of its own (memfd), so a process sees the buffers it was handed and
no others, and nothing is left anywhere when all who had it are gone: no name in a folder, nothing
to clean up after kill -9. The size of `/dev/shm` does not matter, since memory files do not lie in
that mount; they count as memory of the process (and of its container) like any other.

A buffer begins with a page that holds its generation, written here and read by the others: it goes
up whenever a lease ends, so a reference from before is noticed instead of showing another picture.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
import weakref
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ConfigError
from streamgen.media.frame import CPU, Fence, Frame, Layout, Plane, plane_shapes
from streamgen.media.pool import ALIGNMENT, CopyMeter, Slot, WritableFrame

HEADER = 4096
"""Bytes in front of the pixels: one page, so that it can be mapped read only by itself."""
GENERATIONS = 1 << 32
_READ, _WRITE = 1, 2
_SHARED, _POPULATE = 0x01, 0x8000
_FAILED = ctypes.c_void_p(-1).value
_NOT_TO_FORKS = 10
"""`MADV_DONTFORK`: what a plugin forks must not keep the pictures."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def sharing_works() -> bool:
    """Whether this platform has memory files: Linux does."""
    return hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")


class Region:
    """A stretch of a memory file in this process; unmapped when nobody refers to it any more.

    Arrays made with `numpy.asarray` keep it. (The `mmap` module would hold a second descriptor
    per buffer, and cannot take a right to write away.)
    """

    __slots__ = ("__weakref__", "address", "size", "writable")

    def __init__(self, fd: int, offset: int, size: int, *, writable: bool) -> None:
        """Raises `OSError`."""
        rights = _READ | _WRITE if writable else _READ
        address = _libc.mmap(None, size, rights, _SHARED | _POPULATE, fd, offset)
        if address == _FAILED:
            raise OSError(ctypes.get_errno(), "cannot map a shared buffer")
        self.address: int = address
        self.size = size
        self.writable = writable
        weakref.finalize(self, _libc.munmap, address, size).atexit = False
        _libc.madvise(address, size, _NOT_TO_FORKS)

    def allow_writing(self, allowed: bool) -> None:
        """Give or take the right to write; writing without it ends the process (SIGSEGV)."""
        _libc.mprotect(self.address, self.size, _READ | _WRITE if allowed else _READ)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "shape": (self.size,),
            "typestr": "|u1",
            "data": (self.address, not self.writable),
            "version": 3,
        }


class Buffer:
    """One memory file with its generation page, as its owner sees it."""

    __slots__ = ("__weakref__", "_word", "address", "fd", "generation", "memory", "size")

    def __init__(self, size: int, *, sealed: bool) -> None:
        """`size` is a whole number of pages. `sealed`: nobody else can ever write into it."""
        self.size = size
        self.fd = os.memfd_create("streamgen", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.fd).atexit = False
        os.ftruncate(self.fd, HEADER + size)
        self._word = np.asarray(Region(self.fd, 0, HEADER, writable=True)).view(np.uint32)
        body = Region(self.fd, HEADER, size, writable=True)
        self.address = body.address
        self.memory: NDArray[np.uint8] = np.asarray(body)
        # A reader that shrank the file would end us with SIGBUS.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        future_write = 0x10  # F_SEAL_FUTURE_WRITE: our own mapping stays writable
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals | (future_write if sealed else 0))
        self.generation = 0
        self.next_lease()

    def next_lease(self) -> None:
        """Make every reference so far stale."""
        self.generation = (self.generation + 1) % GENERATIONS
        self._word[0] = self.generation

    def read_only_fd(self) -> int:
        """A new descriptor that cannot be mapped for writing; the caller closes it."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)


class SharedSlot(Slot):
    """Owner of one lent shared buffer; the lease ends when this object is gone."""

    __slots__ = ("buffer", "generation")

    def __init__(self, buffer: Buffer) -> None:
        self.memory = buffer.memory
        self.fences = []
        self.buffer = buffer
        self.generation = buffer.generation


class _Lease(weakref.ref[SharedSlot]):
    """Notices the end of a lease. (`weakref.finalize` takes five times as long.)"""

    __slots__ = ("buffer", "fences")

    buffer: Buffer
    fences: list[Fence]


def slot_of(frame: Frame) -> SharedSlot | None:
    """The shared buffer in which all planes of `frame` lie; None: its memory is private."""
    owner = frame.planes[0].owner
    if not isinstance(owner, SharedSlot):
        return None
    slot: SharedSlot = owner
    for plane in frame.planes:
        if plane.owner is not slot:
            return None
    return slot


def packed_size(layout: Layout, width: int, height: int) -> int:
    """Bytes of one picture whose planes are packed and aligned, as `packed_planes` lays them."""
    return _packing(layout, width, height)[0]


def packed_planes(
    address: int, layout: Layout, width: int, height: int, owner: Any
) -> tuple[Plane, ...]:
    """Planes one behind the other from `address` on."""
    _, dtype, places = _packing(layout, width, height)
    return tuple(
        [plane_at(address + offset, shape, pitch, dtype, owner) for offset, shape, pitch in places]
    )


@lru_cache(maxsize=64)
def _packing(
    layout: Layout, width: int, height: int
) -> tuple[int, str, tuple[tuple[int, tuple[int, int], int], ...]]:
    """Bytes in all, dtype, and of each plane the offset, the shape and the pitch."""
    dtype, itemsize = ("uint16", 2) if layout is Layout.P010 else ("uint8", 1)
    places, size = [], 0
    for shape in plane_shapes(layout, width, height):
        places.append((size, shape, shape[1] * itemsize))
        size += _aligned(shape[0] * shape[1] * itemsize, ALIGNMENT)
    return size, dtype, tuple(places)


_set_ptr, _set_shape, _set_pitch, _set_dtype, _set_device, _set_owner = (
    getattr(Plane, name).__set__ for name in Plane.__slots__
)


def plane_at(ptr: int, shape: tuple[int, int], pitch: int, dtype: str, owner: Any) -> Plane:
    """`Plane(...)` in host memory, in half the time: this runs a dozen times per picture."""
    plane = object.__new__(Plane)
    _set_ptr(plane, ptr)
    _set_shape(plane, shape)
    _set_pitch(plane, pitch)
    _set_dtype(plane, dtype)
    _set_device(plane, CPU)
    _set_owner(plane, owner)
    return plane


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to


class SharedPool:
    """A `Pool` of shared buffers, one free list per size. Bounded by what is in flight.

    `sealed`: only this process ever writes into its buffers, whatever another one tries; a pool
    whose buffers are lent for writing cannot have that.
    """

    KEPT_COPIES = 4
    """Pictures whose shared copy is remembered: several nodes that read one cost one copy."""

    def __init__(self, meter: CopyMeter | None = None, *, sealed: bool = False) -> None:
        """Raises `ConfigError` on a platform without memory files."""
        if not sharing_works():
            raise ConfigError("isolation: process needs Linux")
        self.meter = CopyMeter() if meter is None else meter
        self.sealed = sealed
        self.allocated = 0
        self._free: dict[int, deque[Buffer]] = {}
        self._late: deque[tuple[Buffer, list[Fence]]] = deque()
        self._leases: set[_Lease] = set()
        self._copies: deque[tuple[tuple[Plane, ...], tuple[Plane, ...]]] = deque(
            maxlen=self.KEPT_COPIES
        )
        self._lock = threading.Lock()

    def take(self, layout: Layout, width: int, height: int, *, multiple: int = 1) -> WritableFrame:
        """Lend a buffer for one picture, as `FramePool.take` does."""
        width, height = _aligned(width, multiple), _aligned(height, multiple)
        slot = self.lend(packed_size(layout, width, height))
        planes = packed_planes(slot.buffer.address, layout, width, height, slot)
        return WritableFrame(planes, layout, width, height, slot)

    def lend(self, size: int) -> SharedSlot:
        """Lend a buffer of at least `size` bytes; contents undefined."""
        slot = SharedSlot(self._buffer(-(-size // HEADER) * HEADER or HEADER))
        lease = _Lease(slot, self._ended)
        lease.buffer, lease.fences = slot.buffer, slot.fences
        self._leases.add(lease)
        return slot

    def shared(self, frame: Frame) -> Frame:
        """The frame itself if it lies in shared memory; else a copy of its rows, made once.

        Its fence has passed. A crop or a padded picture is copied packed.
        """
        if slot_of(frame) is not None:
            return frame
        with self._lock:
            for planes, copies in self._copies:
                if planes is frame.planes:
                    return frame.retimed(planes=copies, ready=None)
            out = self.take(frame.layout, frame.width, frame.height)
            size = 0
            for source, target in zip(frame.planes, out.planes, strict=True):
                np.copyto(np.asarray(target), source.array())
                size += source.shape[0] * source.shape[1] * source.itemsize
            self.meter.copied("shared", size, len(out.planes))
            self._copies.append((frame.planes, out.planes))
        return frame.retimed(planes=out.planes, ready=None)

    def forget(self) -> None:
        """Let go of the pictures that are remembered for a second reader."""
        with self._lock:
            self._copies.clear()

    def empty(self) -> None:
        """Close every buffer at rest now; those that are lent go with their readers."""
        self._reclaim()
        for free in self._free.values():
            while free:
                free.pop()
                self.allocated -= 1

    def _buffer(self, size: int) -> Buffer:
        if self._late:
            self._reclaim()
        try:
            return self._free[size].pop()
        except (KeyError, IndexError):
            self._free.setdefault(size, deque())
            # Another size has come: what rests here of the old one is not needed again.
            for other in [one for one in self._free if one != size]:
                self._drop(self._free[other])
            self.allocated += 1
            return Buffer(size, sealed=self.sealed)

    def _drop(self, free: deque[Buffer]) -> None:
        while len(free) > 2:
            try:
                free.popleft()
            except IndexError:
                return
            self.allocated -= 1

    def _ended(self, lease: Any) -> None:
        # Runs wherever the last reference dies, maybe inside lend(): no locks, deques only.
        self._leases.discard(lease)
        self._returned(lease.buffer, lease.fences)

    def _returned(self, buffer: Buffer, fences: list[Fence]) -> None:
        if not fences or all(fence.done() for fence in fences):
            buffer.next_lease()
            self._free[buffer.size].append(buffer)
        else:
            self._late.append((buffer, fences))

    def _reclaim(self) -> None:
        for _ in range(len(self._late)):
            try:
                buffer, fences = self._late.popleft()
            except IndexError:
                return
            self._returned(buffer, fences)

    @property
    def free(self) -> int:
        """Buffers at rest."""
        self._reclaim()
        return sum(len(free) for free in self._free.values())


def memory_left() -> int | None:
    """Bytes that may still be taken: the machine's, or the container's where that is less.

    None where nobody says.
    """
    found = [_available(), _container(Path("/sys/fs/cgroup"))]
    return min((size for size in found if size is not None), default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(sizes[0]) * 1024 if sizes else None


def _container(root: Path) -> int | None:
    """What is left of a control group's limit, version 2 or 1, as a container sees its own."""
    pairs = (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
    for limit, used in pairs:
        try:
            most, present = (root / limit).read_text("ascii"), (root / used).read_text("ascii")
        except OSError:
            continue
        if most.strip().isdigit():
            return max(0, int(most) - int(present))
    return None
