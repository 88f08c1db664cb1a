"""What crosses between the host and the process of a stage: 64 bytes per picture, never pixels.

A message is one datagram: a head, references, and a few bytes of JSON where something changed
(parameters, tags, buffers that this process sees for the first time). Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgen.graph.isolation.tags import Tagged, WireError
from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.port import KINDS
from streamgen.media.shared import plane_at

MOST_BYTES = 160 * 1024
"""Of one message; the kernel's default for a datagram is 208 KiB."""
_HEAD = struct.Struct("<BBHII")
_PICTURE = struct.Struct("<QBBBB3I3H2HHqqqI")
_SHEET = struct.Struct("<QBBBBI4IH6xq16x")
_GEOMETRY = slice(10, 34)
"""Bytes of a picture that say where its planes lie (and whether it is a key frame)."""
REFERENCE_BYTES = _PICTURE.size
_LEASE = struct.Struct("<Q")
_LAYOUTS = tuple(Layout)
_DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "bool"),
)
MOST_DIMENSIONS = 4
_LENT = 255
_KEYFRAME = 1


class Message(IntEnum):
    """Host to stage, then stage to host."""

    BUILD = 1
    """Build the stage: parameters, device, mode."""
    RUN = 2
    """One picture: inputs, and buffers lent for the outputs."""
    PREPARE = 3
    SIZE = 4
    FLUSH = 5
    RESET = 6
    LENT = 7
    """The answer to ASK."""
    CLOSE = 8
    DONE = 20
    """The request of that number is answered: outputs, and every lease that is still held."""
    FAILED = 21
    ASK = 22
    """A buffer of so many bytes is needed for an output."""


Lease = int
"""Number of a buffer in the low 32 bits, its generation above."""


class Received(NamedTuple):
    """A message, taken apart."""

    kind: int
    number: int
    references: Sequence[bytes] = ()
    leases: Sequence[Lease] = ()
    extra: Mapping[str, Any] | None = None


def pack(
    kind: Message,
    number: int,
    references: Sequence[bytes] = (),
    leases: Sequence[Lease] = (),
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """One message. Raises `WireError` if it is too long to be sent."""
    if not leases and not extra:  # nearly always; few enough to be short
        return _HEAD.pack(kind, len(references), 0, number, 0) + b"".join(references)
    text = json.dumps(extra).encode() if extra else b""
    head = _HEAD.pack(kind, len(references), len(leases), number, len(text))
    rest = [_LEASE.pack(lease) for lease in leases] if leases else ()
    message = b"".join((head, *references, *rest, text))
    if len(message) > MOST_BYTES:
        raise WireError(f"a message of {len(message)} bytes is too long")
    return message


def unpack(data: bytes) -> Received:
    """Raises `WireError`."""
    try:
        kind, references, leases, number, length = _HEAD.unpack_from(data)
    except struct.error as error:
        raise WireError("a message without a head") from error
    at = _HEAD.size
    end = at + references * REFERENCE_BYTES
    tail = end + leases * _LEASE.size
    if len(data) != tail + length:
        raise WireError(f"a message of {len(data)} bytes instead of {tail + length}")
    found = []
    while at < end:
        found.append(data[at : at + REFERENCE_BYTES])
        at += REFERENCE_BYTES
    if not leases and not length:
        return Received(kind, number, found)
    try:
        extra = json.loads(data[tail:]) if length else None
    except ValueError as error:
        raise WireError("a message that is no JSON") from error
    held = [lease for (lease,) in _LEASE.iter_unpack(data[end:tail])]
    return Received(kind, number, found, held, extra)


def lent(lease: Lease, size: int) -> bytes:
    """A reference to a buffer lent for writing."""
    return _SHEET.pack(lease, 0, _LENT, 0, 0, 0, size, 0, 0, 0, 0, 0)


def lent_of(reference: bytes) -> tuple[int, Lease]:
    """Size of a buffer lent for writing, and which it is."""
    fields = _SHEET.unpack(reference)
    return fields[6], fields[0]


def picture(frame: Frame, lease: Lease, address: int, port: int, tags: int) -> bytes:
    """A reference to a frame whose planes lie in the buffer that begins at `address`."""
    planes = frame.planes
    first, second = planes[0], planes[1]
    third = planes[2] if len(planes) > 2 else None
    return _PICTURE.pack(
        lease,
        port,
        0,
        _LAYOUTS.index(frame.layout),
        _KEYFRAME if frame.keyframe else 0,
        first.ptr - address,
        second.ptr - address,
        0 if third is None else third.ptr - address,
        first.pitch,
        second.pitch,
        0 if third is None else third.pitch,
        frame.width,
        frame.height,
        tags,
        frame.pts,
        frame.duration,
        frame.received_ns,
        frame.epoch & 0xFFFFFFFF,
    )


def sheet(
    array: NDArray[Any], kind: str, lease: Lease, offset: int, port: int, tags: int, pts: int
) -> bytes:
    """A reference to a packed array at `offset` of a buffer. Raises `WireError`."""
    if array.dtype.name not in _DTYPES:
        raise WireError(f"an array of {array.dtype} cannot cross to another process")
    if array.ndim > MOST_DIMENSIONS:
        raise WireError(f"an array has at most {MOST_DIMENSIONS} dimensions, got {array.ndim}")
    shape = (*array.shape, *(0,) * (MOST_DIMENSIONS - array.ndim))
    code = _DTYPES.index(array.dtype.name)
    return _SHEET.pack(lease, port, KINDS.index(kind), array.ndim, code, offset, *shape, tags, pts)


def is_picture(reference: bytes) -> bool:
    return reference[9] == 0


def is_lent(reference: bytes) -> bool:
    return reference[9] == _LENT


def port_of(reference: bytes) -> int:
    return reference[8]


def lease_of(reference: bytes) -> Lease:
    lease: Lease = _LEASE.unpack_from(reference)[0]
    return lease


def geometry(reference: bytes) -> bytes:
    """Where the planes of a picture lie in its buffer; equal where they lie the same."""
    return reference[_GEOMETRY]


class PictureRef(NamedTuple):
    """A reference to a picture, taken apart."""

    lease: int
    port: int
    kind: int
    code: int
    flags: int
    offset_0: int
    offset_1: int
    offset_2: int
    pitch_0: int
    pitch_1: int
    pitch_2: int
    width: int
    height: int
    tags: int
    pts: int
    duration: int
    received_ns: int
    epoch: int

    @classmethod
    def of(cls, reference: bytes) -> PictureRef:
        """Raises `WireError`."""
        try:
            said = cls(*_PICTURE.unpack(reference))
        except struct.error as error:
            raise WireError("a reference to no picture") from error
        if said.kind or said.code >= len(_LAYOUTS) or not (said.width and said.height):
            raise WireError("a reference to no picture")
        return said

    @property
    def layout(self) -> Layout:
        return _LAYOUTS[self.code]

    def planes(self, address: int, size: int, owner: Any) -> tuple[Plane, ...]:
        """The planes in a buffer of `size` bytes. Raises `WireError` if they reach beyond it."""
        shapes, dtype, itemsize = _geometry(self.code, self.width, self.height)
        planes = []
        number = 5
        for shape in shapes:
            offset, pitch = self[number], self[number + 3]
            number += 1
            row = shape[1] * itemsize
            if pitch < row or offset + (shape[0] - 1) * pitch + row > size:
                raise WireError("planes beyond the end of their buffer")
            planes.append(plane_at(address + offset, shape, pitch, dtype, owner))
        return tuple(planes)

    def frame(self, planes: tuple[Plane, ...], tagged: Tagged) -> Frame:
        """The picture with these planes."""
        return Frame(
            planes,
            _LAYOUTS[self.code],
            self.width,
            self.height,
            self.pts,
            tagged.time_base,
            self.duration,
            tagged.color,
            tagged.sar,
            tagged.rotation,
            self.epoch,
            self.received_ns,
            bool(self.flags & _KEYFRAME),
        )


@lru_cache(maxsize=64)
def _geometry(code: int, width: int, height: int) -> tuple[tuple[tuple[int, int], ...], str, int]:
    layout = _LAYOUTS[code]
    dtype, itemsize = ("uint16", 2) if layout is Layout.P010 else ("uint8", 1)
    return plane_shapes(layout, width, height), dtype, itemsize


@dataclass(frozen=True, slots=True)
class SheetRef:
    """A reference to an array, or to a buffer lent for writing (`kind` is then empty)."""

    kind: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    tags: int
    pts: int

    @classmethod
    def of(cls, reference: bytes) -> SheetRef:
        """Raises `WireError`."""
        try:
            fields = _SHEET.unpack(reference)
            kind = "" if fields[2] == _LENT else KINDS[fields[2]]
            dtype = _DTYPES[fields[4]]
        except (struct.error, IndexError) as error:
            raise WireError("a reference to no array") from error
        if fields[3] > MOST_DIMENSIONS:
            raise WireError(f"an array of {fields[3]} dimensions")
        shape = fields[6 : 6 + (fields[3] if kind else 1)]
        return cls(kind, dtype, fields[5], shape, fields[10], fields[11])

    def within(self, memory: NDArray[np.uint8]) -> NDArray[Any]:
        """The array in the buffer `memory`. Raises `WireError` if it reaches beyond it."""
        dtype = np.dtype(self.dtype)
        size = dtype.itemsize
        for length in self.shape:
            size *= length
        if self.offset + size > len(memory):
            raise WireError("an array beyond the end of its buffer")
        return memory[self.offset : self.offset + size].view(dtype).reshape(self.shape)
