"""Encoders of libavcodec: x264, x265, SVT-AV1.

All rungs take their key frames from `frame.keyframe` alone: scene cuts are off, GOPs are closed,
and the GOP length given to the encoder is only a safety net. Times are carried exactly, so a
variable frame rate stays what it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.codec.context import ThreadType
from av.video.frame import PictureType

from streamgen.encode.crew import Crew
from streamgen.encode.rungs import Encoding, PictureFormat, PlannedRung
from streamgen.errors import ConfigError, EncodeError
from streamgen.media.frame import Color, Frame, Matrix, Range
from streamgen.media.packet import Packet
from streamgen.media.shell import shell
from streamgen.media.tracks import EncodedTrack
from streamgen.protocols import Mode

SAFETY_NET_FRAMES = 10_000
"""Key frame distance given to the encoders; far above any grid of the frame clock."""
PEAK = Fraction(11, 10)
"""VBV rate over the target bitrate."""
BUFFER_S = {Mode.LIVE: 1, Mode.OFFLINE: 2}
"""VBV buffer: within this time the bitrate averages out."""
B_FRAMES = 3
"""Offline, the same on all rungs, so that their first decoding times agree."""

_USUAL_RATE_HZ = Fraction(30)
# AVCodecContext.flags: headers out of band, as MP4 and HLS want them.
_GLOBAL_HEADER = 1 << 22
_MATRIX = {Matrix.BT709: 1, Matrix.BT601: 6, Matrix.BT2020: 9}
_RANGE = {Range.STUDIO: 1, Range.FULL: 2}
_SVT_PRESETS = {
    "ultrafast": 12,
    "superfast": 11,
    "veryfast": 10,
    "faster": 9,
    "fast": 8,
    "medium": 7,
    "slow": 6,
    "slower": 4,
    "veryslow": 3,
    "placebo": 1,
}


class X264:
    """H.264 by libx264 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        options = _rate(rung, mode) | _gop(encoding, mode) | _speed(rung, encoding, mode)
        options["sc_threshold"] = "0"
        # Live, any viewer may be a browser's WebRTC, which takes Constrained Baseline everywhere.
        options["profile"] = rung.profile or ("baseline" if mode is Mode.LIVE else "high")
        self._codec = _Codec("libx264", rung, picture, options, _slices(encoding, mode), threads)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        return self._codec.flush()


class X265:
    """H.265 by libx265 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        options = _rate(rung, mode) | _gop(encoding, mode) | _speed(rung, encoding, mode)
        options["profile"] = rung.profile or "main"
        options["x265-params"] = f"scenecut=0:open-gop=0:info=0:log-level=error:pools={threads}"
        self._codec = _Codec("libx265", rung, picture, options, _slices(encoding, mode), threads)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        return self._codec.flush()


class SvtAv1:
    """AV1 by SVT-AV1 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        # The library prints a banner for every encoder unless told: errors only.
        os.environ.setdefault("SVT_LOG", "1")
        # Its variable bitrate plans by its own key frames: with forced ones it misses the target
        # by 40 %. Constant bitrate keeps it, and exists in low delay only, so offline has it too.
        options = {
            "preset": str(_SVT_PRESETS[rung.preset or encoding.preset]),
            "g": str(SAFETY_NET_FRAMES),
            "svtav1-params": f"rc=2:pred-struct=1:scd=0:irefresh-type=2:lp={min(threads, 6)}",
        }
        if rung.profile is not None:
            raise ConfigError(f"rung {rung.name}: svt-av1 has one profile, leave it out")
        slices = _slices(encoding, mode)
        self._crew = Crew()
        before = scheduling()
        with self._crew.hired():
            self._codec = _Codec("libsvtav1", rung, picture, options, slices, threads)
        leave_real_time(before)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        self._crew.rest()
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        self._crew.rest()
        return self._codec.flush()


def scheduling() -> int:
    """The scheduling policy of the calling thread; 0 where the system has none."""
    return os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else 0


def leave_real_time(policy: int = 0) -> None:
    """Take every thread of this process back from real-time scheduling, to `policy`: the system's
    usual one, or what they had before.

    Run as root, SVT-AV1 gives itself, and the thread that opened it, SCHED_FIFO at the highest
    priority: it then starves whatever else runs on the machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended meanwhile
            if os.sched_getscheduler(int(thread)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))


def _zero_latency(encoding: Encoding, mode: Mode) -> bool:
    return encoding.tune == "zerolatency" or (encoding.tune is None and mode is Mode.LIVE)


def _slices(encoding: Encoding, mode: Mode) -> bool:
    """Threads share one picture (no delay) instead of working on several."""
    return _zero_latency(encoding, mode)


def _rate(rung: PlannedRung, mode: Mode) -> dict[str, str]:
    peak = round(rung.bitrate_bps * PEAK)
    return {"maxrate": str(peak), "bufsize": str(peak * BUFFER_S[mode])}


def _gop(encoding: Encoding, mode: Mode) -> dict[str, str]:
    b_frames = 0 if mode is Mode.LIVE or _zero_latency(encoding, mode) else B_FRAMES
    return {"g": str(SAFETY_NET_FRAMES), "forced-idr": "1", "bf": str(b_frames)}


def _speed(rung: PlannedRung, encoding: Encoding, mode: Mode) -> dict[str, str]:
    tune = "zerolatency" if _zero_latency(encoding, mode) else encoding.tune
    preset: dict[str, str] = {"preset": rung.preset or encoding.preset}
    return preset if tune is None else preset | {"tune": tune}


class _Codec:
    """One opened libavcodec encoder, and the container-less stream that describes it."""

    def __init__(
        self,
        codec: str,
        rung: PlannedRung,
        picture: PictureFormat,
        options: Mapping[str, str],
        slices: bool,
        threads: int,
    ) -> None:
        self._rung = rung.name
        # The picture's own unit, however coarse: every PTS stays the whole number it was.
        self.time_base = picture.time_base
        # Opening within a container fills the stream's parameters, which outlets copy as template.
        self._nowhere = av.open(os.devnull, "w", format="null")
        try:
            stream: Any = self._nowhere.add_stream(codec)
        except UnknownCodecError as error:
            raise ConfigError(
                f"rung {rung.name}: this build of PyAV has no encoder {codec}"
            ) from error
        self._context = stream.codec_context
        self._describe(rung, picture)
        self._context.options = dict(options)
        self._context.thread_count = threads
        self._context.thread_type = ThreadType.SLICE if slices else ThreadType.AUTO
        try:
            self._nowhere.start_encoding()
        except av.FFmpegError as error:
            raise EncodeError(
                f"rung {rung.name}: {codec} does not open for {rung.width}x{rung.height} with "
                + ", ".join(f"{key} {value}" for key, value in options.items()),
                rung=rung.name,
            ) from error
        self.track = _track(rung, picture, stream, self.time_base)
        self._inside: dict[int, tuple[int, int]] = {}
        self._last_pts: int | None = None

    def _describe(self, rung: PlannedRung, picture: PictureFormat) -> None:
        context = self._context
        context.width = rung.width
        context.height = rung.height
        context.pix_fmt = "yuv420p"
        context.time_base = self.time_base
        context.framerate = _believable(picture.rate)
        context.bit_rate = rung.bitrate_bps
        context.sample_aspect_ratio = picture.sar
        color: Color = picture.color
        context.colorspace = _MATRIX[color.matrix]
        context.color_range = _RANGE[color.range]
        context.color_primaries = color.primaries
        context.color_trc = color.transfer
        context.flags |= _GLOBAL_HEADER

    def encode(self, frame: Frame) -> list[Packet]:
        pts = self._units(frame.pts, frame.time_base)
        if self._last_pts is not None and pts <= self._last_pts:
            raise EncodeError(
                f"rung {self._rung}: a picture at {pts} follows one at {self._last_pts}",
                rung=self._rung,
            )
        self._last_pts = pts
        picture = shell(frame)
        picture.pts = pts
        picture.time_base = self.time_base
        duration = self._units(frame.duration, frame.time_base)
        # A picture type left from the decoder would be obeyed, so it is always set.
        picture.pict_type = PictureType.I if frame.keyframe else PictureType.NONE
        self._inside[pts] = (duration, frame.epoch)
        return self._packets(picture)

    def flush(self) -> list[Packet]:
        return self._packets(None)

    def _units(self, value: int, time_base: Fraction) -> int:
        if time_base is self.time_base or time_base == self.time_base:
            return value
        return round(value * time_base / self.time_base)

    def _packets(self, picture: av.VideoFrame | None) -> list[Packet]:
        try:
            encoded = self._context.encode(picture)
        except av.FFmpegError as error:
            raise EncodeError(
                f"rung {self._rung}: the encoder failed: {error.strerror}", rung=self._rung
            ) from error
        return [self._packet(packet) for packet in encoded]

    def _packet(self, packet: Any) -> Packet:
        pts: int = packet.pts
        duration, epoch = self._inside.pop(pts)
        packet.duration = duration
        return Packet(
            data=packet,
            pts=pts,
            dts=packet.dts,
            duration=duration,
            time_base=self.time_base,
            keyframe=packet.is_keyframe,
            track=self.track.name,
            epoch=epoch,
        )


def _believable(rate: Fraction | None) -> Fraction:
    """A frame rate for rate control: without one, x264 takes the unit of time for a picture."""
    return rate if rate is not None and 1 <= rate <= 240 else _USUAL_RATE_HZ


def _track(
    rung: PlannedRung, picture: PictureFormat, stream: Any, time_base: Fraction
) -> EncodedTrack:
    return EncodedTrack(
        name=f"video/{rung.name}",
        kind="video",
        codec=stream.codec_context.codec.canonical_name,
        time_base=time_base,
        template=stream,
        width=rung.width,
        height=rung.height,
        rate=picture.rate,
        sar=picture.sar,
        rotation=picture.rotation,
        color=picture.color,
        bitrate_bps=rung.bitrate_bps,
    )
