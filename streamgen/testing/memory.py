"""Memory and time that are hard to please: pitched, poisoned and late."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import CPU, Fence, Frame, Layout, Plane, plane_shapes
from streamgen.media.pool import CopyMeter, Slot, WritableFrame

POISON = 0xA5


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)


class ManualFence:
    """A fence that passes when told to, as a CUDA event does some time after the launch."""

    def __init__(self) -> None:
        self._passed = threading.Event()
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def done(self) -> bool:
        return self._passed.is_set()

    def wait(self) -> None:
        self._passed.wait()

    def on_done(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self._passed.is_set():
                self._calls.append(call)
                return
        call()

    def release(self) -> None:
        """Let the fence pass."""
        with self._lock:
            self._passed.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()


class LateFence(ManualFence):
    """A fence that passes by itself after `delay_s`, on a timer thread."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        timer = threading.Timer(delay_s, self.release)
        timer.daemon = True
        timer.start()


def late(frame: Frame, delay_s: float = 0.005) -> tuple[Frame, Fence]:
    """The same frame, whose pixels count as ready only `delay_s` from now."""
    fence = LateFence(delay_s)
    return frame.retimed(ready=fence), fence


class HarshPool:
    """A pool that shows who breaks the rules of memory.

    Pitched: every row has `pad` spare bytes, unless packed planes are asked for by `multiple`.
    Poisoned: spare bytes, fresh and returned memory hold `POISON`, so a reader of what it should
    not read gives a wrong picture. Counts slots that are out: a leak is visible.
    """

    def __init__(self, pad: int = 32) -> None:
        self.meter = CopyMeter()
        self.pad = pad
        self.out = 0
        self.taken = 0
        self._memory: list[NDArray[np.uint8]] = []

    def take(self, layout: Layout, width: int, height: int, *, multiple: int = 1) -> WritableFrame:
        width = -(-width // multiple) * multiple
        height = -(-height // multiple) * multiple
        pad = self.pad if multiple == 1 else 0
        shapes = plane_shapes(layout, width, height)
        itemsize = 2 if layout is Layout.P010 else 1
        arrays = [
            np.full((rows, columns * itemsize + pad), POISON, np.uint8) for rows, columns in shapes
        ]
        slot = _PoisonedSlot(arrays, pad)
        weakref.finalize(slot, self._returned, arrays).atexit = False
        self.out += 1
        self.taken += 1
        dtype = "uint16" if itemsize == 2 else "uint8"
        planes = tuple(
            Plane(array.ctypes.data, shape, array.strides[0], dtype, CPU, slot)
            for array, shape in zip(arrays, shapes, strict=True)
        )
        return WritableFrame(planes, layout, width, height, slot)

    def _returned(self, arrays: list[NDArray[np.uint8]]) -> None:
        for array in arrays:
            array.fill(POISON)
        self.out -= 1

    def spoiled(self, frame: Frame) -> bool:
        """Somebody wrote into the spare bytes behind the rows of this frame."""
        slot = frame.planes[0].owner
        if not isinstance(slot, _PoisonedSlot):
            return False
        # Not by the planes: a picture cropped from a larger one may fill what it does not show.
        return any(
            bool((array[:, array.shape[1] - slot.pad :] != POISON).any()) for array in slot.arrays
        )


class _PoisonedSlot(Slot):
    __slots__ = ("arrays", "pad")

    def __init__(self, arrays: list[NDArray[np.uint8]], pad: int) -> None:
        super().__init__(arrays[0].reshape(-1))
        self.arrays = arrays
        self.pad = pad
