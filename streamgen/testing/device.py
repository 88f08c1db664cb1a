"""`FakeDevice`: a GPU made of host memory, for tests of whatever keeps pictures on a device.

Hard to please: nothing that is started on it is done before somebody waits for it, memory is
pitched, holds `POISON` until it is written, and again as soon as its owner lets go; numpy and libav
are refused its planes. What forgets a fence, a pitch or a reference makes a wrong picture.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import av
import numpy as np
from numpy.typing import NDArray

from streamgen.media.blitter import Blitter, Kernels
from streamgen.media.frame import CPU, Device, Fence, Frame, Layout, Plane, Range, plane_shapes
from streamgen.media.pool import FramePool, HostMemory, Memory, WritableFrame, replicate
from streamgen.media.scaler import Size
from streamgen.testing.memory import POISON

ROW_BYTES = 256
"""Rows begin at multiples of this, as on NVIDIA's."""

Pixels = NDArray[np.generic]


class FakeDevice:
    """Streams, memory and counters of one device that does not exist."""

    def __init__(
        self, index: int = 0, kernels: Callable[[FakeDevice], Kernels] | None = None
    ) -> None:
        """`kernels` work on host memory, on a stream of their own; default `FakeKernels`."""
        self._kernels = kernels or FakeKernels
        self.device = Device("fake", index)
        self.pool = DevicePool(self.device)
        self.host = DevicePool(CPU)
        """Memory of the host that the device may write; as pitched and as poisoned."""
        self.downloads = 0
        """Copies from the device to the host that were done."""
        self.lock = threading.RLock()
        """Held while work is done: a device does one thing at a time."""

    def blitter(self) -> Blitter:
        """A new one, on a stream of its own."""
        return Blitter(self._kernels(self), self.pool, self.host)


class FakeStream:
    """Work in order, done by whoever waits for an event that lies behind it."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self._work: deque[Callable[[], None]] = deque()
        self._started = 0
        self.finished = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        with self._device.lock:
            self._work.append(work)
            self._started += 1

    def after(self, fence: Fence) -> None:
        self.enqueue(fence.wait)

    def record(self) -> FakeEvent:
        return FakeEvent(self, self._started)

    def catch_up(self, number: int) -> None:
        """Do the first so many pieces of work, those before them included."""
        with self._device.lock:
            while self.finished < number:
                self._work.popleft()()
                self.finished += 1


class FakeEvent:
    """A `Fence` that has not passed until somebody waits for it."""

    def __init__(self, stream: FakeStream, number: int) -> None:
        self._stream = stream
        self._number = number

    def done(self) -> bool:
        return self._stream.finished >= self._number

    def wait(self) -> None:
        self._stream.catch_up(self._number)

    def on_done(self, call: Callable[[], None]) -> None:
        self.wait()
        call()


class DevicePool(FramePool):
    """Pitched memory that is poisoned from the moment it is free."""

    def __init__(self, device: Device) -> None:
        super().__init__(device, _poisoned, row_bytes=ROW_BYTES)

    def _at_rest(self, memory: Memory) -> None:
        poison(memory)
        super()._at_rest(memory)


def _poisoned(size: int) -> Memory:
    memory = HostMemory(size)
    poison(memory)
    return memory


def poison(memory: Memory) -> None:
    plane = Plane(memory.ptr, (1, memory.size), memory.size, "uint8", CPU, memory)
    plane.array()[:] = POISON


def pixels(planes: Sequence[Plane]) -> list[Pixels]:
    """The pixels that lie on a device, for work on it: arrays that keep nobody's memory alive."""
    return [replace(plane, device=CPU, owner=None).array() for plane in planes]


class FakeKernels:
    """What `media.blitter.Kernels` asks for, by numpy and swscale. Work that was started knows
    addresses only: it keeps no picture alive."""

    def __init__(self, device: FakeDevice) -> None:
        self.stream = FakeStream(device)
        self._device = device

    def planar(self, source: Frame, target: WritableFrame) -> None:
        read, layout, written = pixels(source.planes), source.layout, pixels(target.planes)

        def work() -> None:
            for one, other in zip(_separated(read, layout), written, strict=True):
                replicate(one, other)

        self.stream.enqueue(work)

    def sized(self, source: Frame, targets: Sequence[WritableFrame]) -> None:
        read, layout, size = pixels(source.planes), source.layout, (source.width, source.height)
        written = [(target.layout, pixels(target.planes)) for target in targets]

        def work() -> None:
            planes = _separated(read, layout)
            for wanted, out in written:
                _scale(planes, size, out, wanted)

        self.stream.enqueue(work)

    def boxed(self, source: Frame, target: WritableFrame, inside: Size) -> None:
        read, layout, size = pixels(source.planes), source.layout, (source.width, source.height)
        out = pixels(target.planes)
        left = (target.width - inside[0]) // 4 * 2
        top = (target.height - inside[1]) // 4 * 2
        black = 16 if source.color.range is Range.STUDIO else 0

        def work() -> None:
            out[0][:], out[1][:] = black, 128
            middle = [
                out[0][top : top + inside[1], left : left + inside[0]],
                out[1][top // 2 : (top + inside[1]) // 2, left : left + inside[0]],
            ]
            _scale(_separated(read, layout), size, middle, Layout.NV12)

        self.stream.enqueue(work)

    def download(self, source: Frame, target: WritableFrame) -> None:
        read, written = pixels(source.planes), pixels(target.planes)

        def work() -> None:
            for one, other in zip(read, written, strict=True):
                other[:] = one
            self._device.downloads += 1

        self.stream.enqueue(work)


def _separated(planes: Sequence[Pixels], layout: Layout) -> list[NDArray[np.uint8]]:
    """I420 of 8 bits, from any layout."""
    if layout is not Layout.I420:
        planes = [planes[0], planes[1][:, ::2], planes[1][:, 1::2]]
    if layout is Layout.P010:
        planes = [np.minimum((one.astype(np.uint32) + 0x80) >> 8, 255) for one in planes]
    return [np.ascontiguousarray(plane, np.uint8) for plane in planes]


def _scale(
    planes: Sequence[NDArray[np.uint8]], size: Size, out: Sequence[Pixels], layout: Layout
) -> None:
    """I420 planes into arrays of another size and layout."""
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    if even != size:
        padded = [np.empty(shape, np.uint8) for shape in plane_shapes(Layout.I420, *even)]
        for one, other in zip(planes, padded, strict=True):
            replicate(one, other)
        planes = padded
    picture = av.VideoFrame.from_dlpack(
        tuple(planes), format="yuv420p", width=even[0], height=even[1]
    )
    rows, columns = out[0].shape
    scaled = picture.reformat(columns, rows, layout.value, interpolation="BICUBIC", threads=1)
    for plane, shape, target in zip(
        scaled.planes, plane_shapes(layout, columns, rows), out, strict=True
    ):
        made = Plane(plane.buffer_ptr, shape, plane.line_size, "uint8", CPU, plane)
        target[:] = made.array()
