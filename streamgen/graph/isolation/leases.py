"""`Leases`: the pictures that an isolated stage may look at now, in buffers of the host.

A lease lasts as long as something in this process refers to the picture: an `ordered` stage may
keep the last one. What is given away can be kept too, but not written into any more.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.graph.isolation import wire
from streamgen.graph.isolation.tags import WireError
from streamgen.media.frame import Layout
from streamgen.media.pool import CopyMeter, FramePool, Slot, WritableFrame
from streamgen.media.shared import HEADER, Region, packed_planes, packed_size

_NO_MEMORY: NDArray[np.uint8] = np.empty(0, np.uint8)


class View:
    """One buffer of the host as this process sees it."""

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        self._word = np.asarray(Region(fd, 0, HEADER, writable=False)).view(np.uint32).data
        self.region = Region(fd, HEADER, size, writable=writable)
        self.writable = writable
        self.protected = False

    @property
    def generation(self) -> int:
        return self._word[0]

    def protect(self, protected: bool) -> None:
        """Take the right to write from a picture that was given away, or give it back."""
        if self.writable and self.protected is not protected:
            self.region.allow_writing(not protected)
            self.protected = protected


class Lease(Slot):
    """Owner, in this process, of the pixels of one lent buffer."""

    __slots__ = ("end", "first", "key", "size", "view")

    def __init__(self, key: wire.Lease, view: View) -> None:
        self.memory = _NO_MEMORY
        self.fences = []
        self.key = key
        self.view = view
        self.first = view.region.address
        self.size = view.region.size
        self.end = self.first + self.size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.view.region.__array_interface__

    def holds(self, address: int) -> bool:
        return self.first <= address < self.end


class Leases:
    """The buffers that this process knows, and which of them it may look at now."""

    def __init__(self) -> None:
        self._views: dict[int, View] = {}
        self._held: dict[wire.Lease, weakref.ref[Lease]] = {}

    def admit(self, news: Mapping[str, Any] | None, fds: Sequence[int]) -> None:
        """Map the buffers that came with a message; forget those that are no more."""
        if news is not None:
            for number in news.get("forget", ()):
                self._views.pop(number, None)
            for (number, size, writable), fd in zip(news.get("slots", ()), fds, strict=True):
                self._views[number] = View(fd, size, writable=writable)
        for fd in fds:
            os.close(fd)

    def open(self, key: wire.Lease) -> Lease:
        """Raises `WireError` for a reference whose picture is gone, or was never shown."""
        known = self._held.get(key)
        lease = None if known is None else known()
        if lease is not None:
            return lease
        number, generation = key & 0xFFFFFFFF, key >> 32
        view = self._views.get(number)
        if view is None:
            raise WireError(f"a reference to buffer {number}, which was not handed over")
        if view.generation != generation:
            raise WireError(
                f"a stale reference: lease {generation} of buffer {number} has ended, "
                f"it is at {view.generation}"
            )
        lease = Lease(key, view)
        self._held[key] = weakref.ref(lease)
        return lease

    def of(self, address: int) -> Lease | None:
        """The lease in whose buffer this address lies."""
        for known in self._held.values():
            lease = known()
            if lease is not None and lease.first <= address < lease.end:
                return lease
        return None

    def still_held(self) -> list[wire.Lease]:
        """Leases that something refers to; the others have ended."""
        held = [key for key, known in self._held.items() if known() is not None]
        if not held:
            self._held.clear()
        elif len(held) != len(self._held):
            self._held = {key: self._held[key] for key in held}
        return held

    def protect(self, given: Sequence[wire.Lease]) -> None:
        """Nobody writes into a picture that was given away, not even a stage that kept it."""
        for key in given:
            known = self._held.get(key)
            lease = None if known is None else known()
            if lease is not None:
                lease.view.protect(True)


class LentPool:
    """The stage's pool: buffers lent for this picture first, then memory of its own."""

    def __init__(self, leases: Leases) -> None:
        self.meter = CopyMeter()
        self.lent: list[tuple[int, wire.Lease]] = []
        """Their sizes, and which they are; opened when they are used."""
        self._leases = leases
        self._own = FramePool()

    def take(self, layout: Layout, width: int, height: int, *, multiple: int = 1) -> WritableFrame:
        if multiple > 1:
            width, height = -(-width // multiple) * multiple, -(-height // multiple) * multiple
        lease = self.claim(packed_size(layout, width, height))
        if lease is None:
            return self._own.take(layout, width, height)
        planes = packed_planes(lease.first, layout, width, height, lease)
        return WritableFrame(planes, layout, width, height, lease)

    def claim(self, size: int) -> Lease | None:
        """The smallest lent buffer that is large enough."""
        best = None
        for one in self.lent:
            if one[0] >= size and (best is None or one[0] < best[0]):
                best = one
        if best is None:
            return None
        self.lent.remove(best)
        lease = self._leases.open(best[1])
        lease.view.protect(False)
        return lease
