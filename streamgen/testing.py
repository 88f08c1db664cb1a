"""Public fakes for tests of streamgen and of its plugins: hard to please, and deterministic.

`HarshPool` is pitched, poisoned and late, as GPU memory is. `KeepingEncoder` keeps frames, as
NVENC does. `PacketSource`, `PassDecoder` and `Basket` carry a run without any codec.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ModelError
from streamgen.media.frame import CPU, Color, Fence, Frame, Layout, Plane, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter, Slot, WritableFrame
from streamgen.media.tracks import EncodedTrack, SourceInfo, VideoTrack
from streamgen.protocols import ModelSpec, Running, Runtime

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
        slot = _PoisonedSlot(arrays)
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
        return any(
            bool((array[:, plane.shape[1] * plane.itemsize :] != POISON).any())
            for array, plane in zip(slot.arrays, frame.planes, strict=True)
        )


class _PoisonedSlot(Slot):
    __slots__ = ("arrays",)

    def __init__(self, arrays: list[NDArray[np.uint8]]) -> None:
        super().__init__(arrays[0].reshape(-1))
        self.arrays = arrays


class KeepingEncoder:
    """Keeps `keep` frames before the first packet comes out, and reads them only then.

    A packet's data is the luma checksum at the time of reading: memory that was reused too early
    shows as a wrong sum.
    """

    def __init__(self, track: EncodedTrack, keep: int = 3) -> None:
        self.track = track
        self.keep = keep
        self._frames: deque[Frame] = deque()

    def encode(self, frame: Frame) -> Sequence[Packet]:
        self._frames.append(frame)
        return [self._packet()] if len(self._frames) > self.keep else []

    def flush(self) -> Sequence[Packet]:
        return [self._packet() for _ in range(len(self._frames))]

    def _packet(self) -> Packet:
        frame = self._frames.popleft()
        if frame.ready is not None:
            frame.ready.wait()
        total = int(frame.planes[0].array().sum(dtype=np.uint64))
        return Packet(
            data=total.to_bytes(8, "little"),
            pts=frame.pts,
            dts=frame.pts,
            duration=frame.duration,
            time_base=frame.time_base,
            keyframe=frame.keyframe,
            track=self.track.name,
            epoch=frame.epoch,
        )


class PassDecoder:
    """Gives one grey picture per packet: a run without a codec. The planes are shared."""

    def __init__(
        self, width: int = 64, height: int = 48, clock_ns: Callable[[], int] = int
    ) -> None:
        shapes = plane_shapes(Layout.I420, width, height)
        self._planes = tuple(Plane.of(np.full(shape, 128, np.uint8)) for shape in shapes)
        self._size = (width, height)
        self._clock_ns = clock_ns

    def decode(self, packet: Packet) -> Sequence[Frame]:
        width, height = self._size
        return [
            Frame(
                planes=self._planes,
                layout=Layout.I420,
                width=width,
                height=height,
                pts=packet.pts or 0,
                time_base=packet.time_base,
                duration=packet.duration,
                epoch=packet.epoch,
                received_ns=self._clock_ns(),
            )
        ]

    def flush(self) -> Sequence[Frame]:
        return []


class PacketSource:
    """A source of given packets."""

    def __init__(self, packets: Sequence[Packet], *, width: int = 64, height: int = 48) -> None:
        self._packets = packets
        self._stopped = threading.Event()
        self.info = SourceInfo("packets", "fake", video_track(width, height))

    def packets(self) -> Iterator[Packet]:
        for packet in self._packets:
            if self._stopped.is_set():
                return
            yield packet

    def cancel(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._stopped.set()


class NoEngines:
    """For runs without a network."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Runtime:
        raise ModelError(f"there is no engine for {model.name} in this test")


class Basket:
    """An outlet that keeps every packet."""

    def __init__(self) -> None:
        self.tracks: list[EncodedTrack] = []
        self.dropped_tracks: list[str] = []
        self.left_out: list[str] = []
        self.packets: list[Packet] = []
        self.finished = False
        self.aborted = False

    def takes(self, codec: str) -> bool:
        return True

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        self.tracks = list(tracks)

    def write(self, packet: Packet) -> None:
        self.packets.append(packet)

    def drop(self, track: str) -> None:
        self.left_out.append(track)

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def of(self, track: str) -> list[Packet]:
        """Packets of one track, in the order they came."""
        return [packet for packet in self.packets if packet.track == track]


def video_track(width: int, height: int, *, rate: Fraction = Fraction(25)) -> VideoTrack:
    """A plain video track without a codec."""
    return VideoTrack(
        name="video/0",
        codec="none",
        width=width,
        height=height,
        time_base=Fraction(1, 90_000),
        rate=rate,
        frames=0,
        duration_s=None,
        sar=Fraction(1),
        rotation=0,
        color=Color(),
        codec_context=None,
    )


def picture(width: int, height: int, seed: int = 0) -> Frame:
    """A frame of smooth shapes with some texture, the same for the same arguments."""
    random = np.random.default_rng(seed)
    planes = []
    for rows, columns in plane_shapes(Layout.I420, width, height):
        y, x = np.mgrid[0:rows, 0:columns]
        waves = np.sin(x / 9.0 + seed) + np.cos(y / 7.0 - seed) + np.sin((x + y) / 23.0)
        noise = random.integers(-6, 7, (rows, columns))
        planes.append(np.clip(128 + 30 * waves + noise, 16, 235).astype(np.uint8))
    return frame_of(planes)


def frame_of(planes: Sequence[NDArray[np.uint8]], *, pts: int = 0, rate: int = 25) -> Frame:
    """An I420 frame over three arrays, which it keeps alive."""
    return Frame(
        planes=tuple(Plane.of(plane) for plane in planes),
        layout=Layout.I420,
        width=planes[0].shape[1],
        height=planes[0].shape[0],
        pts=pts,
        time_base=Fraction(1, rate),
        duration=1,
    )


def synthetic_clip(
    path: Path,
    *,
    width: int = 320,
    height: int = 240,
    frames: int = 50,
    rate: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 25,
    b_frames: int = 0,
    audio: str | None = "aac",
    audio_s: float | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a real clip: moving shapes and a click once a second, flash and click together.

    `pts` gives times (in `time_base`) for variable frame rates; `audio_s` another audio length.
    """
    with av.open(os.fspath(path), "w", options=container_options or {}) as container:
        video: Any = container.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.gop_size = gop
        video.codec_context.time_base = time_base or Fraction(1, rate)
        if codec == "libx264":
            video.codec_context.options = {
                "preset": "ultrafast",
                "bf": str(b_frames),
                "x264-params": f"keyint={gop}:min-keyint=1:scenecut=0",
                **(options or {}),
            }
        sound: Any = None
        if audio is not None:
            sound = container.add_stream(audio, rate=48_000, layout="mono")
        for number in range(frames):
            shell = _drawn(number, width, height, rate).reformat(format=pix_fmt)
            shell.pts = number if pts is None else pts[number]
            shell.time_base = time_base or Fraction(1, rate)
            container.mux(video.encode(shell))
        container.mux(video.encode(None))
        if sound is not None:
            length_s = frames / rate if audio_s is None else audio_s
            for block in _clicks(length_s, sound.codec_context.frame_size or 1024):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def _drawn(number: int, width: int, height: int, rate: int) -> av.VideoFrame:
    y, x = np.mgrid[0:height, 0:width]
    shift = 3 * number
    luma = 110 + 60 * np.sin((x + shift) / 17.0) * np.cos((y - number) / 13.0)
    if number % rate == 0:
        luma[: max(height // 4, 1)] = 235
    chroma = [
        128 + 40 * np.sin((x[::2, ::2] + k * shift) / (29.0 + k)) * math.cos(number / 20 + k)
        for k in (0, 1)
    ]
    planes = tuple(np.clip(p, 16, 235).astype(np.uint8) for p in (luma, *chroma))
    if width % 2 or height % 2:
        rgb = np.repeat(planes[0][:, :, None], 3, axis=2)
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return av.VideoFrame.from_dlpack(planes, format="yuv420p", width=width, height=height)


def _clicks(length_s: float, block: int) -> Iterator[av.AudioFrame]:
    total = round(length_s * 48_000)
    at = np.arange(total)
    tone = 0.05 * np.sin(at * (2 * np.pi * 220 / 48_000))
    tone += np.where(at % 48_000 < 480, 0.7 * np.sin(at * (2 * np.pi * 1000 / 48_000)), 0.0)
    samples = tone.astype(np.float32)
    for start in range(0, total, block):
        part = np.ascontiguousarray(samples[start : start + block][None])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = start
        frame.time_base = Fraction(1, 48_000)
        yield frame


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
