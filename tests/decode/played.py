"""Playing a file in tests: the whole way from its packets to shown pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.errors import DecodeError
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame
from streamgen.media.pool import FramePool
from streamgen.media.timeline import Presentation, Timeline
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Telemetry


@dataclass
class Played:
    """What came of a file."""

    frames: list[Frame]
    announced: int
    errors: int
    telemetry: Telemetry
    pool: FramePool
    video: VideoTrack

    @property
    def pts(self) -> list[int]:
        return [f.pts for f in self.frames]

    @property
    def dropped(self) -> int:
        return sum(self.telemetry.counts("dropped").values())


def play(path: Path, *, threads: int = 2, low_delay: bool = False, keep: bool = True) -> Played:
    """The whole way from file to shown pictures, as a session goes it."""
    telemetry, pool = Telemetry(), FramePool()
    source = open_source(str(path))
    video = source.info.video
    rates = {} if video.rate is None else {video.name: video.rate}
    timeline = Timeline(telemetry, start=source.info.start, rates=rates)
    presentation = Presentation(telemetry)
    decoder = FFmpegDecoder(
        video, pool=pool, telemetry=telemetry, threads=threads, low_delay=low_delay
    )
    played = Played([], 0, 0, telemetry, pool, video)

    def show(frames: Sequence[Frame]) -> None:
        shown = [presentation.show(frame) for frame in frames]
        played.frames += [f if keep else f.retimed() for f in shown if f is not None]

    for packet in source.packets():
        mended = timeline.mend(packet)
        if mended.track != "video/0":
            continue
        try:
            show(decoder.decode(mended))
        except DecodeError:
            played.errors += 1
    show(decoder.flush())
    source.close()
    played.announced = timeline.announced
    return played


def raw_clip(
    path: Path,
    pix_fmt: str,
    *,
    codec: str = "ffv1",
    width: int = 64,
    height: int = 48,
    frames: int = 3,
    options: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    fill: dict[int, int] | None = None,
) -> Path:
    """Flat pictures in any pixel format, lossless; `fill` gives the code value of each plane."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number in range(frames):
            picture = av.VideoFrame(width, height, pix_fmt)
            for plane_number, plane in enumerate(picture.planes):
                wide = "10" in pix_fmt or "16" in pix_fmt
                values = np.frombuffer(plane, np.uint16 if wide else np.uint8)
                values[:] = (fill or {}).get(plane_number, 128)
            for name, value in (tags or {}).items():
                setattr(picture, name, value)
            picture.pts = number
            picture.time_base = Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def mean(frame: Frame) -> list[float]:
    return [float(plane.array().mean()) for plane in frame.planes]
