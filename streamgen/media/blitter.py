"""`Blitter`: reshapes and moves the pictures of one device, in order, without waiting for any."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from streamgen.errors import ConfigError
from streamgen.media.frame import Fence, Frame, Layout
from streamgen.media.pool import Pool, WritableFrame
from streamgen.media.scaler import Size


class Stream(Protocol):
    """Work on a device, done in the order in which it was started. Its calls return at once."""

    def after(self, fence: Fence) -> None:
        """What is started from now on waits, on the device, until `fence` has passed."""
        ...

    def record(self) -> Fence:
        """Passes once all that was started so far is done."""
        ...


class Kernels(Protocol):
    """What a device can do with pixels. Every call starts work on `stream` and returns.

    Sources are pictures on the device in any layout and pitch; targets are untouched memory.
    Nobody but the caller keeps either alive.
    """

    @property
    def stream(self) -> Stream: ...

    def planar(self, source: Frame, target: WritableFrame) -> None:
        """The same picture as packed I420, its last column and row repeated up to the target's
        size; 10 bits become 8."""
        ...

    def sized(self, source: Frame, targets: Sequence[WritableFrame]) -> None:
        """The picture in every target's size and layout (I420 or NV12), one pass over it."""
        ...

    def boxed(self, source: Frame, target: WritableFrame, inside: Size) -> None:
        """The picture in this even size in the middle of the target, black around it."""
        ...

    def download(self, source: Frame, target: WritableFrame) -> None:
        """One copy into host memory of the same layout, size and pitch."""
        ...


class Blitter:
    """Belongs to one thread at a time, and its stream to it alone. Outlives what it started.

    Work begins once the source's `ready` has passed, on the device, and results say by their own
    `ready` when it is done. A source is held until then: its owner may reuse it as soon as it is
    let go. `host` is memory that the device can copy to without help (pinned).
    """

    def __init__(self, kernels: Kernels, pool: Pool, host: Pool) -> None:
        self.stream = kernels.stream
        self._kernels = kernels
        self._pool = pool
        self._host = host
        self._reading: deque[tuple[Fence, Frame]] = deque()

    def planar(self, frame: Frame, multiple: int) -> Frame:
        """As a network wants it: packed I420, sides a whole `multiple`; itself if it is that."""
        self._begin(frame)
        fits = frame.width % multiple == 0 and frame.height % multiple == 0
        if fits and frame.layout is Layout.I420 and all(plane.packed for plane in frame.planes):
            return frame
        out = self._pool.take(Layout.I420, frame.width, frame.height, multiple=multiple)
        self._kernels.planar(frame, out)
        return self._end(frame, [out])[0]

    def sized(self, frame: Frame, wanted: Sequence[tuple[Size, Layout]]) -> list[Frame]:
        """In each of these sizes and layouts, each in one block; what is that already stays itself,
        if it is NV12."""
        there = ((frame.width, frame.height), Layout.NV12) if in_one_block(frame) else None
        self._begin(frame)
        outs = [self._pool.take(one[1], *one[0]) for one in wanted if one != there]
        if outs:
            self._kernels.sized(frame, outs)
        made = iter(self._end(frame, outs))
        return [frame if one == there else next(made) for one in wanted]

    def boxed(self, frame: Frame, width: int, height: int, inside: Size) -> Frame:
        """In the middle of an NV12 picture of this size, between black bars."""
        out = self._pool.take(Layout.NV12, width, height)
        self._begin(frame)
        self._kernels.boxed(frame, out, inside)
        return self._end(frame, [out])[0]

    def to_host(self, frame: Frame) -> Frame:
        """The picture in host memory: one copy, counted as `to host`. Of pictures from `pool`."""
        out = self._host.take(frame.layout, frame.width, frame.height)
        self._begin(frame)
        self._kernels.download(frame, out)
        size_bytes = sum(plane.shape[0] * plane.shape[1] * plane.itemsize for plane in frame.planes)
        self._pool.meter.copied("to host", size_bytes, len(frame.planes))
        return self._end(frame, [out])[0]

    def _begin(self, frame: Frame) -> None:
        if frame.device.type == "cpu":
            raise ConfigError("a picture in host memory came where all are on a device")
        while self._reading and self._reading[0][0].done():
            self._reading.popleft()
        if frame.ready is not None:
            self.stream.after(frame.ready)

    def _end(self, frame: Frame, outs: Sequence[WritableFrame]) -> list[Frame]:
        fence = self.stream.record()
        self._reading.append((fence, frame))
        for out in outs:
            out.slot.fences.append(fence)  # nobody may get it before this write is done
        return [out.publish(frame, ready=fence) for out in outs]


def in_one_block(frame: Frame) -> bool:
    """Whether chroma begins where luma ends, with the same pitch: encoders in hardware are given
    one address. What decoders give has more rows of luma than are shown."""
    if frame.layout is not Layout.NV12:
        return False
    luma, chroma = frame.planes
    return luma.pitch == chroma.pitch and chroma.ptr == luma.ptr + luma.pitch * luma.shape[0]
