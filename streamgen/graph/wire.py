"""What crosses between the host and the process of a stage: 64 bytes per picture, never pixels.

A message is one datagram: a head, references, and a few bytes of JSON where something changed
(parameters, tags, buffers that this process sees for the first time). Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import CPU, Color, Frame, Layout, Matrix, Plane, Range, plane_shapes
from streamgen.media.port import KINDS

MOST_BYTES = 160 * 1024
"""Of one message; the kernel's default for a datagram is 208 KiB."""
_HEAD = struct.Struct("<BBHII")
_PICTURE = struct.Struct("<IIBBBB3I3H2HHqqqI")
_SHEET = struct.Struct("<IIBBBBI4IH6xq16x")
REFERENCE_BYTES = _PICTURE.size
_LEASE = struct.Struct("<II")
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


class WireError(Exception):
    """A message that does not say what it should. Its text is for the error of the stage."""


Lease = tuple[int, int]
"""Number of a buffer and its generation."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message, taken apart."""

    kind: int
    number: int
    references: tuple[bytes, ...] = ()
    leases: tuple[Lease, ...] = ()
    extra: Mapping[str, Any] | None = None


def pack(
    kind: Message,
    number: int,
    references: Sequence[bytes] = (),
    leases: Sequence[Lease] = (),
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """One message. Raises `WireError` if it is too long to be sent."""
    text = b"" if not extra else json.dumps(extra).encode()
    parts = [
        _HEAD.pack(kind, len(references), len(leases), number, len(text)),
        *references,
        *(_LEASE.pack(*lease) for lease in leases),
        text,
    ]
    message = b"".join(parts)
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
    try:
        extra = json.loads(data[tail:]) if length else None
    except ValueError as error:
        raise WireError("a message that is no JSON") from error
    return Received(
        kind,
        number,
        tuple(data[i : i + REFERENCE_BYTES] for i in range(at, end, REFERENCE_BYTES)),
        tuple(_LEASE.iter_unpack(data[end:tail])),
        extra,
    )


Tags = tuple[int, ...]
"""What pictures of a stream have in common: time base, colour, pixel aspect, rotation."""
_MATRICES = tuple(Matrix)
_RANGES = tuple(Range)


def tags_of(frame: Frame) -> Tags:
    base, sar = frame.time_base, frame.sar
    return (
        *(base.numerator, base.denominator),
        *color_tags(frame.color),
        *(sar.numerator, sar.denominator, frame.rotation),
    )


def color_tags(color: Color) -> Tags:
    """The part of the tags that says how code values map to colour."""
    matrix, span = _MATRICES.index(color.matrix), _RANGES.index(color.range)
    return (matrix, span, color.primaries, color.transfer)


def bare_tags(time_base: Fraction) -> Tags:
    """Tags of a sheet, which has a time base only."""
    return (time_base.numerator, time_base.denominator, 0, 0, 2, 2, 1, 1, 0)


@dataclass(frozen=True, slots=True)
class Tagged:
    """Tags as the values they stand for."""

    time_base: Fraction
    color: Color
    sar: Fraction
    rotation: int

    @classmethod
    def of(cls, tags: Tags) -> Tagged:
        """Raises `WireError`."""
        try:
            base, den, matrix, span, primaries, transfer, sar, sar_den, rotation = map(int, tags)
            color = Color(_MATRICES[matrix], _RANGES[span], primaries, transfer)
            return cls(Fraction(base, den), color, Fraction(sar, sar_den), rotation)
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise WireError(f"tags that mean nothing: {tags!r}") from error


def lent(number: int, generation: int, size: int) -> bytes:
    """A reference to a buffer lent for writing."""
    return _SHEET.pack(number, generation, 0, _LENT, 0, 0, 0, size, 0, 0, 0, 0, 0)


def picture(frame: Frame, lease: Lease, address: int, port: int, tags: int) -> bytes:
    """A reference to a frame whose planes lie in the buffer that begins at `address`."""
    planes = frame.planes
    spare = (0,) * (3 - len(planes))
    flags = _KEYFRAME if frame.keyframe else 0
    return _PICTURE.pack(
        *(*lease, port, 0, _LAYOUTS.index(frame.layout), flags),
        *(plane.ptr - address for plane in planes),
        *spare,
        *(plane.pitch for plane in planes),
        *spare,
        *(frame.width, frame.height, tags),
        *(frame.pts, frame.duration, frame.received_ns, frame.epoch & 0xFFFFFFFF),
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
    return _SHEET.pack(*lease, port, KINDS.index(kind), array.ndim, code, offset, *shape, tags, pts)


def is_picture(reference: bytes) -> bool:
    return reference[9] == 0


def is_lent(reference: bytes) -> bool:
    return reference[9] == _LENT


def port_of(reference: bytes) -> int:
    return reference[8]


def lease_of(reference: bytes) -> Lease:
    number, generation = _LEASE.unpack_from(reference)
    return number, generation


@dataclass(frozen=True, slots=True)
class PictureRef:
    """A reference to a picture, taken apart and checked against its own size."""

    layout: Layout
    keyframe: bool
    offsets: tuple[int, ...]
    pitches: tuple[int, ...]
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
            fields = _PICTURE.unpack(reference)
            layout = _LAYOUTS[fields[4]]
        except (struct.error, IndexError) as error:
            raise WireError("a reference to no picture") from error
        planes = 3 if layout is Layout.I420 else 2
        return cls(
            layout,
            bool(fields[5] & _KEYFRAME),
            fields[6 : 6 + planes],
            fields[9 : 9 + planes],
            *fields[12:],
        )

    def planes(self, address: int, size: int, owner: Any) -> tuple[Plane, ...]:
        """The planes in a buffer of `size` bytes. Raises `WireError` if they reach beyond it."""
        if self.width < 1 or self.height < 1:
            raise WireError(f"a picture of {self.width}x{self.height}")
        dtype, itemsize = ("uint16", 2) if self.layout is Layout.P010 else ("uint8", 1)
        planes = []
        shapes = plane_shapes(self.layout, self.width, self.height)
        for shape, offset, pitch in zip(shapes, self.offsets, self.pitches, strict=True):
            row = shape[1] * itemsize
            if pitch < row or offset + (shape[0] - 1) * pitch + row > size:
                raise WireError("planes beyond the end of their buffer")
            planes.append(Plane(address + offset, shape, pitch, dtype, CPU, owner))
        return tuple(planes)


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
            kind = "" if fields[3] == _LENT else KINDS[fields[3]]
            dtype = _DTYPES[fields[5]]
        except (struct.error, IndexError) as error:
            raise WireError("a reference to no array") from error
        if fields[4] > MOST_DIMENSIONS:
            raise WireError(f"an array of {fields[4]} dimensions")
        shape = fields[7 : 7 + (fields[4] if kind else 1)]
        return cls(kind, dtype, fields[6], shape, fields[11], fields[12])

    def within(self, memory: NDArray[np.uint8]) -> NDArray[Any]:
        """The array in the buffer `memory`. Raises `WireError` if it reaches beyond it."""
        dtype = np.dtype(self.dtype)
        size = dtype.itemsize
        for length in self.shape:
            size *= length
        if self.offset + size > len(memory):
            raise WireError("an array beyond the end of its buffer")
        return memory[self.offset : self.offset + size].view(dtype).reshape(self.shape)


class Channel:
    """One end of a pair that carries whole messages in order, and notices the other's death."""

    MOST_FDS = 32

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        # A bytes object of this size for every message would be mapped and unmapped each time.
        self._room = bytearray(MOST_BYTES)
        self._ancillary = socket.CMSG_SPACE(4 * self.MOST_FDS)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, side, 2 * MOST_BYTES)
        return cls(ends[0]), cls(ends[1])

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send one message, with descriptors where there are any. Raises `OSError`."""
        if fds:
            socket.send_fds(self.socket, [data], list(fds))
        else:
            self.socket.send(data)

    def receive(self) -> bytes:
        """One message; empty when the other side is gone. Descriptors are refused."""
        try:
            size = self.socket.recv_into(self._room)
        except ConnectionResetError:  # it is gone, and did not read our last words
            return b""
        return bytes(memoryview(self._room)[:size])

    def receive_with_fds(self) -> tuple[bytes, list[int]]:
        """One message and the descriptors that came with it, which are the caller's to close."""
        try:
            size, ancillary, _, _ = self.socket.recvmsg_into(
                [self._room], self._ancillary, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return b"", []
        fds: list[int] = []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += memoryview(content[: len(content) // 4 * 4]).cast("i")
        return bytes(memoryview(self._room)[:size]), fds

    def close(self) -> None:
        self.socket.close()
