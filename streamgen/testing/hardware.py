"""`fake_hardware`: the decoder, encoders and networks of a `FakeDevice`, over real codecs.

Surfaces are poisoned as soon as nobody holds them. Encoders keep pictures and read them late; a
device has only so many encoder sessions.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streamgen.errors import EncodeError, ModelError, SourceError
from streamgen.media.blitter import Stream
from streamgen.media.frame import CPU, Frame, Layout, Plane, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.pool import HostMemory, Memory, Pool, Slot
from streamgen.media.tracks import VideoTrack
from streamgen.plugins import find
from streamgen.protocols import Hardware, Inputs, ModelSpec, Running
from streamgen.telemetry import Telemetry
from streamgen.testing.device import ROW_BYTES, FakeDevice, FakeEvent, FakeStream, pixels, poison

CODED_ROWS = 16
"""Surfaces have a multiple of so many rows of luma."""

Network = Callable[[Sequence[NDArray[np.uint8]]], Sequence[NDArray[np.uint8]]]
"""Planes y, u, v to planes y, u, v."""


def fake_hardware(
    fake: FakeDevice,
    *,
    codecs: frozenset[str] = frozenset({"h264", "hevc"}),
    keep: int = 3,
    sessions: int = 1_000,
) -> Hardware:
    """`keep` pictures stay in every encoder, of which there can be `sessions`."""
    left = iter(range(sessions))
    return Hardware(
        device=fake.device,
        pool=fake.pool,
        stages=fake.blitter(),
        ladder=fake.blitter(),
        decoder=partial(FakeDecoder, fake, codecs),
        encoder=partial(FakeEncoder, fake, left, keep),
    )


class FakeDecoder:
    """FFmpeg's decoder, whose pictures are on surfaces of the device (`protocols.Decoder`)."""

    def __init__(
        self,
        fake: FakeDevice,
        codecs: frozenset[str],
        track: VideoTrack,
        *,
        pool: Pool,
        telemetry: Telemetry,
    ) -> None:
        if track.codec not in codecs:
            raise SourceError(f"{fake.device} does not decode {track.codec}")
        self._decoder = find("decoder", "ffmpeg")(
            track, pool=pool, telemetry=telemetry, surfaces=FakeSurfaces(fake)
        )

    def decode(self, packet: Packet) -> Sequence[Frame]:
        frames: Sequence[Frame] = self._decoder.decode(packet)
        return frames

    def flush(self) -> Sequence[Frame]:
        frames: Sequence[Frame] = self._decoder.flush()
        return frames


class FakeSurfaces:
    """Taller than the picture, and given back to the decoder as soon as nobody holds them."""

    def __init__(self, fake: FakeDevice) -> None:
        self._device = fake.device
        self._stream = FakeStream(fake)
        self._free: dict[int, list[Memory]] = {}

    def lend(
        self, picture: av.VideoFrame, layout: Layout
    ) -> tuple[tuple[Plane, ...], Layout, FakeEvent]:
        """The picture as NV12, or P010 if it has 10 bits; moved there when somebody waits."""
        dtype, itemsize = ("uint16", 2) if layout is Layout.P010 else ("uint8", 1)
        rows, columns = picture.height, picture.width
        pitch = -(-(columns + columns % 2) * itemsize // ROW_BYTES) * ROW_BYTES
        coded = -(-rows // CODED_ROWS) * CODED_ROWS
        slot = self._surface(pitch * coded * 3 // 2)
        at, wanted = slot.memory.ptr, Layout.P010 if itemsize == 2 else Layout.NV12
        planes = tuple(
            Plane(ptr, shape, pitch, dtype, self._device, slot)
            for ptr, shape in zip(
                (at, at + pitch * coded), plane_shapes(wanted, columns, rows), strict=True
            )
        )
        written = pixels(planes)

        def work() -> None:  # what was decoded is kept: only the surface is the device's
            shapes = plane_shapes(layout, columns, rows)
            read = [
                Plane(one.buffer_ptr, shape, one.line_size, dtype, CPU, picture).array()
                for one, shape in zip(picture.planes, shapes, strict=True)
            ]
            written[0][:] = read[0]
            if layout is Layout.I420:
                written[1][:, ::2], written[1][:, 1::2] = read[1:]
            else:
                written[1][:] = read[1]

        self._stream.enqueue(work)
        return planes, wanted, self._stream.record()

    def _surface(self, size: int) -> Slot:
        """Given back when its last reader lets go of it: no fence of a reader is asked."""
        free = self._free.setdefault(size, [])
        memory = free.pop() if free else HostMemory(size)
        slot = Slot(memory)
        weakref.finalize(slot, _let_go, memory, free).atexit = False
        return slot


def _let_go(memory: Memory, free: list[Memory]) -> None:
    poison(memory)
    free.append(memory)


class FakeEncoder:
    """The processor's encoder behind the manners of a GPU's (`protocols.Encoder`)."""

    def __init__(
        self, fake: FakeDevice, sessions: Any, keep: int, rung: Any, *settings: Any, **more: Any
    ) -> None:
        if next(sessions, None) is None:
            raise EncodeError(f"{fake.device} has no encoder session left", rung=rung.name)
        self._rung = rung.name
        self._encoder = find("encoder", rung.codec)(rung, *settings, **more)
        self.track = self._encoder.track
        self._keep = keep
        self._kept: deque[Frame] = deque()

    def encode(self, frame: Frame) -> Sequence[Packet]:
        """Raises `EncodeError` for a picture that is not NV12 on the device."""
        if frame.device.type == "cpu" or frame.layout is not Layout.NV12:
            raise EncodeError(f"an encoder on a device got {frame}", rung=self._rung)
        self._kept.append(frame)
        return self._read() if len(self._kept) > self._keep else []

    def flush(self) -> Sequence[Packet]:
        read = [packet for _ in range(len(self._kept)) for packet in self._read()]
        return [*read, *self._encoder.flush()]

    def _read(self) -> Sequence[Packet]:
        frame = self._kept.popleft()
        if frame.ready is not None:
            frame.ready.wait()
        # Hardware is given one address and pitch, and takes it that chroma begins behind luma.
        base, rows = frame.planes[0], frame.height * 3 // 2
        (block,) = pixels([replace(base, shape=(rows, frame.width))])
        luma, chroma = block[: frame.height], block[frame.height :]
        planes = [np.ascontiguousarray(one) for one in (luma, chroma[:, ::2], chroma[:, 1::2])]
        host = tuple(Plane.of(plane) for plane in planes)
        packets: Sequence[Packet] = self._encoder.encode(
            frame.retimed(planes=host, layout=Layout.I420, ready=None)
        )
        return packets


class FakeEngines:
    """Runs a function in place of every network: on a stream of a device, or at once on a host."""

    requests = 2

    def __init__(self, network: Network, stream: Stream | None = None) -> None:
        self.running: dict[str, Running] = {}
        self.read: list[list[NDArray[np.uint8]]] = []
        """What the network was given, picture by picture."""
        self.addresses: dict[str, set[int]] = {}
        """Where it read and wrote, by port: what a CUDA graph is bound to."""
        self.network = network
        self.stream = stream

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> FakeRuntime:
        return FakeRuntime(self, height, width)


class FakeRuntime:
    """One size of a `FakeEngines` (`protocols.Runtime`)."""

    def __init__(self, engines: FakeEngines, rows: int, columns: int) -> None:
        self._engines = engines
        self._shape = (rows, columns)

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> FakeTicket:
        """Raises `ModelError` for planes of another size, or with gaps between their rows."""
        sources = [plane for plane in inputs.values() if isinstance(plane, Plane)]
        planes = [*sources, *out.values()]
        if sources[0].shape != self._shape or not all(plane.packed for plane in planes):
            raise ModelError(f"the network runs on packed planes of {self._shape}")
        engines = self._engines
        for name, plane in (*inputs.items(), *out.items()):
            if isinstance(plane, Plane):
                engines.addresses.setdefault(name, set()).add(plane.ptr)
        read, written = pixels(sources), pixels(list(out.values()))

        def work() -> None:
            given = [np.array(plane, np.uint8) for plane in read]
            engines.read.append(given)
            for made, target in zip(engines.network(given), written, strict=True):
                target[:] = made

        stream = engines.stream
        if not isinstance(stream, FakeStream):
            work()
            return FakeTicket(None)
        stream.enqueue(work)
        fence = stream.record()
        for plane in planes:
            if isinstance(plane.owner, Slot):
                plane.owner.fences.append(fence)
        return FakeTicket(fence)

    def close(self) -> None: ...


class FakeTicket:
    busy_ns = 0

    def __init__(self, fence: FakeEvent | None) -> None:
        self.fence = fence or _Passed()


class _Passed:
    def done(self) -> bool:
        return True

    def wait(self) -> None: ...

    def on_done(self, call: Callable[[], None]) -> None:
        call()
