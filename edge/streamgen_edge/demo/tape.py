"""`Tape`: a clip made ready for publishing: H.264 and AAC, no B-frames, at most 720 lines.

It is encoded once, before the clock starts, so that publishing it in real time costs nothing
beside a server on the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from streamgen.errors import SourceError

MOST_LINES = 720
MOST_RATE = 30
BITRATE_BPS = 4_000_000
AUDIO_HZ = 48_000
THUMB = (32, 18)
Thumb = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tape:
    """`thumbs` are small greys of all its pictures, which are `1 / rate` apart."""

    path: Path
    width: int
    height: int
    rate: int
    thumbs: list[Thumb]
    sound: bool

    @property
    def length_s(self) -> float:
        return len(self.thumbs) / self.rate


def record(clip: Path, path: Path, most_s: float) -> Tape:
    """Make a tape of the beginning of a clip. Raises `SourceError`."""
    try:
        with av.open(f"file:{clip.resolve()}") as source, av.open(str(path), "w") as sink:
            if not source.streams.video:
                raise SourceError(f"{clip} has no pictures")
            return _Recorder(source, sink, path).run(most_s)
    except av.error.FFmpegError as error:
        raise SourceError(f"cannot read {clip}: {error.strerror}") from error


class _Recorder:
    def __init__(self, source: Any, sink: Any, path: Path) -> None:
        self._source, self._sink, self._path = source, sink, path
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        self._video = video
        self._rate = min(MOST_RATE, max(1, round(video.average_rate or 25)))
        scale = min(1.0, MOST_LINES / min(video.width, video.height))
        self._width, self._height = (
            max(2, round(side * scale / 2) * 2) for side in (video.width, video.height)
        )
        out = sink.add_stream("libx264", rate=self._rate)
        out.width, out.height, out.pix_fmt = self._width, self._height, "yuv420p"
        out.bit_rate = BITRATE_BPS
        out.codec_context.options = {"preset": "veryfast", "tune": "zerolatency"}
        out.codec_context.options |= {"x264-params": f"keyint={self._rate}:scenecut=0"}
        self._out = out
        self._sound = self._voice = None
        if source.streams.audio:
            self._voice = source.streams.audio[0]
            self._sound = sink.add_stream("aac", rate=AUDIO_HZ, layout="stereo")
            self._resampler = av.AudioResampler("fltp", "stereo", AUDIO_HZ, 1024)
        self._thumbs: list[Thumb] = []

    def run(self, most_s: float) -> Tape:
        streams = [one for one in (self._video, self._voice) if one is not None]
        last: VideoFrame | None = None
        start_s: float | None = None
        for frame in self._source.decode(*streams):
            if not isinstance(frame, VideoFrame):
                self._put_sound(frame, most_s)
                continue
            start_s = frame.time if start_s is None else start_s
            at_s = (frame.time or 0.0) - (start_s or 0.0)
            while last is not None and len(self._thumbs) / self._rate < min(at_s, most_s):
                self._put(last)
            last = frame
            if at_s >= most_s:
                break
        if last is None:
            raise SourceError("there are no pictures in it")
        if not self._thumbs or len(self._thumbs) / self._rate < most_s:
            self._put(last)
        for stream in (self._out, self._sound):
            if stream is not None:
                self._sink.mux(stream.encode(None))
        size = (self._width, self._height)
        return Tape(self._path, *size, self._rate, self._thumbs, self._sound is not None)

    def _put(self, frame: VideoFrame) -> None:
        self._thumbs.append(thumb(frame))
        shown = frame.reformat(self._width, self._height, "yuv420p")
        shown.pts, shown.time_base = len(self._thumbs) - 1, Fraction(1, self._rate)
        shown.pict_type = 0  # the encoder decides
        self._sink.mux(self._out.encode(shown))

    def _put_sound(self, frame: Any, most_s: float) -> None:
        if self._sound is None or (frame.time or 0.0) > most_s:
            return
        for one in self._resampler.resample(frame):
            self._sink.mux(self._sound.encode(one))


def thumb(frame: VideoFrame) -> Thumb:
    """A small grey of a picture, without its brightness and contrast."""
    small = frame.reformat(*THUMB, "gray", interpolation="AREA").to_ndarray().astype(np.float32)
    small -= small.mean()
    return small / max(1e-6, float(np.linalg.norm(small)))
