"""`Lending`: which pictures the process of a stage has been shown, and which it still holds.

One for each worker: the other side of `leases`. What was lent stays lent until the worker
says that it let go, or is certainly dead; a reference to anything else is an error.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.graph.isolation import wire
from streamgen.graph.isolation.tags import (
    HOST_TAGS,
    MOST_TAGS,
    STAGE_TAGS,
    TagTable,
    WireError,
    bare_tags,
)
from streamgen.graph.isolation.wire import Lease, PictureRef, SheetRef
from streamgen.media.frame import Frame, Plane, Sheet
from streamgen.media.pool import CopyMeter
from streamgen.media.port import PICTURE, Port
from streamgen.media.shared import Buffer, SharedPool, SharedSlot
from streamgen.protocols import Value

MOST_HELD = 64
"""Pictures that one worker may hold at a time; more is a leak."""
MOST_OUTPUT_BYTES = 256 << 20


class Lent:
    """An array's hold on a shared buffer, so that the lease lasts as long as the array."""

    __slots__ = ("slot",)

    def __init__(self, slot: SharedSlot) -> None:
        self.slot = slot

    @property
    def __array_interface__(self) -> dict[str, Any]:
        memory = self.slot.memory
        return {
            "shape": memory.shape,
            "typestr": "|u1",
            "data": (memory.ctypes.data, False),
            "version": 3,
        }


class Lending:
    """References out, values in. Not thread-safe: the stage's lock is held."""

    def __init__(self, pool: SharedPool) -> None:
        self._pool = pool
        """The node's own, whose buffers are lent for writing."""
        self.params: Any = None
        """The parameters that the worker has."""
        self._known: dict[int, weakref.ref[Buffer]] = {}
        self._tags = TagTable(HOST_TAGS)
        self._held: dict[Lease, SharedSlot] = {}
        self._asked: dict[Lease, int] = {}  # how many requests on their way have it
        self._kept: set[Lease] = set()
        self._taken: list[Lease] = []
        self._planes: dict[Lease, tuple[bytes, tuple[Plane, ...]]] = {}
        self._slots: list[tuple[int, int, bool]] = []
        self._fds: list[int] = []
        self._copied: tuple[dict[str, int], int] = ({}, 0)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def has_news(self) -> bool:
        """The worker must be told something before it understands the references."""
        return bool(self._slots or self._tags.news)

    def taken(self) -> list[Lease]:
        """What was shown and lent since this was asked last: one request's."""
        taken, self._taken = self._taken, []
        return taken

    def news(self, extra: dict[str, Any]) -> list[int]:
        """Add what the worker sees for the first time to `extra`; descriptors go along, and are
        the caller's to close."""
        fds, self._fds = self._fds, []
        if self._slots:
            gone = [number for number, known in self._known.items() if known() is None]
            for number in gone:
                del self._known[number]
            extra["slots"], self._slots = self._slots, []
            extra["forget"] = gone
        if self._tags.news:
            extra["tags"] = self._tags.take_news()
        return fds

    def show(self, port: int, value: Value) -> bytes:
        """A reference to an input, which lies in shared memory."""
        if isinstance(value, Frame):
            slot: Any = value.planes[0].owner
            lease = self._lease(slot, writable=False)
            tags = self._tags.number(value)
            reference = wire.picture(value, lease, slot.buffer.address, port, tags)
            self._planes[lease] = (wire.geometry(reference), value.planes)
            return reference
        slot = slot_of_array(value.data)
        assert slot is not None
        offset = value.data.ctypes.data - slot.buffer.address
        tags = self._tags.number_of(bare_tags(value.time_base))
        lease = self._lease(slot, writable=False)
        return wire.sheet(value.data, value.kind, lease, offset, port, tags, value.pts)

    def lend(self, size: int) -> bytes:
        """A reference to a buffer of at least `size` bytes, to write an output into."""
        if size > MOST_OUTPUT_BYTES:
            raise WireError(f"an output of {size} bytes is too large")
        slot = self._pool.lend(size)
        return wire.lent(self._lease(slot, writable=True), slot.buffer.size)

    def _lease(self, slot: SharedSlot, *, writable: bool) -> Lease:
        buffer = slot.buffer
        number = buffer.fd  # its own as long as it is open; a later one is announced anew
        known = self._known.get(number)
        if known is None or known() is not buffer:
            self._known[number] = weakref.ref(buffer)
            self._slots.append((number, buffer.size, writable))
            self._fds.append(os.dup(buffer.fd) if writable else buffer.read_only_fd())
        lease = slot.generation << 32 | number
        self._held[lease] = slot
        self._asked[lease] = self._asked.get(lease, 0) + 1
        self._taken.append(lease)
        return lease

    def learn(self, extra: Mapping[str, Any]) -> None:
        """Tags that the stage made itself. Raises `WireError`."""
        try:
            for number, tags in extra.get("tags", ()):
                if not STAGE_TAGS <= number < STAGE_TAGS + MOST_TAGS:
                    raise WireError(f"tags with the number {number}")
                self._tags.learn(number, tags)
        except (TypeError, ValueError) as error:
            raise WireError("tags that are none") from error

    def value(self, reference: bytes, name: str, port: Port, size: tuple[int, int] | None) -> Value:
        """An output, checked against what the stage declares and what it was lent.

        `size` is what a picture must have. Raises `WireError`.
        """
        slot = self._held.get(wire.lease_of(reference))
        if slot is None:
            raise WireError(f"gave as '{name}' a buffer that it does not hold")
        if wire.is_picture(reference):
            if port.kind == PICTURE:
                return self._picture(reference, name, size, slot)
        elif port.kind != PICTURE:
            return self._sheet(SheetRef.of(reference), name, port, slot)
        raise WireError(f"gave as '{name}' no {port.kind}")

    def _picture(
        self, reference: bytes, name: str, size: tuple[int, int] | None, slot: SharedSlot
    ) -> Frame:
        said = PictureRef.of(reference)
        if size is not None and (said.width, said.height) != size:
            raise WireError(
                f"gave as '{name}' a picture of {said.width}x{said.height} "
                f"instead of {size[0]}x{size[1]}"
            )
        shown = self._planes.get(said.lease)
        if shown is not None and shown[0] == wire.geometry(reference):
            planes = shown[1]  # the very picture that was shown: it passes as it is
        else:
            planes = said.planes(slot.buffer.address, slot.buffer.size, slot)
        return said.frame(planes, self._tags.of(said.tags))

    def _sheet(self, said: SheetRef, name: str, port: Port, slot: SharedSlot) -> Sheet:
        if said.kind != port.kind or said.dtype != port.dtype:
            raise WireError(f"gave as '{name}' a {said.kind} of {said.dtype} instead of {port}")
        if not _fits(said.shape, port):
            shape = "x".join(str(length) for length in said.shape)
            raise WireError(f"gave as '{name}' an array of {shape} instead of {port}")
        array = said.within(np.asarray(Lent(slot)))
        return Sheet(said.kind, array, said.pts, self._tags.of(said.tags).time_base)

    def settle(self, answered: Sequence[Lease], kept: Sequence[Lease]) -> None:
        """After an answer: end every lease of that request, and of earlier ones, that the worker
        no longer holds. Raises `WireError` where it holds more than it can need."""
        asked, held, planes = self._asked, self._held, self._planes
        for lease in answered:
            times = asked.pop(lease)
            if times > 1:
                asked[lease] = times - 1
            elif not kept:
                held.pop(lease, None)
                planes.pop(lease, None)
        if not kept and not self._kept:
            return
        past, self._kept = self._kept, self._held.keys() & set(kept)
        for lease in past.union(answered) - self._kept - self._asked.keys():
            self._held.pop(lease, None)
            self._planes.pop(lease, None)
        if len(self._kept) > MOST_HELD:
            raise WireError(f"holds {len(self._kept)} pictures and gives none back")

    def withdraw(self, leases: Sequence[Lease]) -> None:
        """The request with these was not sent."""
        for lease in leases:
            times = self._asked.pop(lease) - 1
            if times:
                self._asked[lease] = times
            elif lease not in self._kept:
                del self._held[lease]
                self._planes.pop(lease, None)

    def count(self, extra: Mapping[str, Any], meter: CopyMeter) -> None:
        """Add the copies that the worker says it has made since."""
        if "copied" not in extra:
            return
        planes, size = extra["copied"]
        past, past_size = self._copied
        self._copied = (planes, size)
        grown = size - past_size
        for reason, number in planes.items():
            if number > past.get(reason, 0):
                meter.copied(reason, grown, number - past.get(reason, 0))
                grown = 0


def _fits(shape: tuple[int, ...], port: Port) -> bool:
    match port.kind:
        case "mask":
            return len(shape) == 2 and 0 not in shape
        case "rgb":
            return len(shape) == 3 and shape[0 if port.planar else 2] == 3 and 0 not in shape
        case "boxes":
            return len(shape) == 2 and shape[1] == 4
        case _:
            return not port.shape or (
                len(shape) == len(port.shape)
                and all(
                    isinstance(wanted, str) or wanted == length
                    for wanted, length in zip(port.shape, shape, strict=True)
                )
            )


def slot_of_array(data: Any) -> SharedSlot | None:
    """The shared buffer in which a packed array lies, as isolated stages give them."""
    base = data
    while isinstance(base, np.ndarray):
        base = base.base
    return base.slot if isinstance(base, Lent) and data.flags.c_contiguous else None


def shared_array(array: NDArray[Any], pool: SharedPool) -> NDArray[Any]:
    """The array itself if it lies in shared memory; else a copy of it that does."""
    if slot_of_array(array) is not None:
        return array
    slot = pool.lend(array.nbytes)
    copy = np.asarray(Lent(slot))[: array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    pool.meter.copied("shared", array.nbytes)
    return copy
