"""A source, a decoder, an encoder and an outlet that carry a run without any codec."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from streamgen.errors import ModelError, OutputError
from streamgen.media.frame import Color, Frame, Layout, Plane, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack, SourceInfo, VideoTrack
from streamgen.protocols import ModelSpec, Running, Runtime


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
                received_ns=packet.received_ns or self._clock_ns(),
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

    requests = 1

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
        if packet.track in self.left_out:
            raise OutputError(f"a packet of {packet.track} after it was dropped")
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
