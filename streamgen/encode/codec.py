"""`Codec`: one encoder of libavcodec, its times carried exactly, and what all are set to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.video.frame import PictureType

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


def zero_latency(encoding: Encoding, mode: Mode) -> bool:
    """Whether each picture comes out before the next one goes in."""
    return encoding.tune == "zerolatency" or (encoding.tune is None and mode is Mode.LIVE)


def rate(rung: PlannedRung, mode: Mode) -> dict[str, str]:
    """Limits of the bitrate, as libavcodec's options."""
    peak = round(rung.bitrate_bps * PEAK)
    return {"maxrate": str(peak), "bufsize": str(peak * BUFFER_S[mode])}


class Codec:
    """One opened libavcodec encoder, and the container-less stream that describes it."""

    def __init__(
        self,
        codec: str,
        rung: PlannedRung,
        picture: PictureFormat,
        options: Mapping[str, str],
        slices: bool,
        threads: int,
        *,
        hwaccel: HWAccel | None = None,
        lend: Callable[[Frame], av.VideoFrame] | None = None,
    ) -> None:
        """With `hwaccel`, pictures are NV12 on that device; `lend` makes libav's frames of them.

        Raises `EncodeError`, and `ConfigError` where libavcodec has no such encoder.
        """
        self._rung = rung.name
        self._lend = lend or shell
        # The picture's own unit, however coarse: every PTS stays the whole number it was.
        self.time_base = picture.time_base
        # Opening within a container fills the stream's parameters, which outlets copy as template.
        self._nowhere = av.open(os.devnull, "w", format="null")
        try:
            stream: Any = self._nowhere.add_stream(codec, hwaccel=hwaccel)
        except UnknownCodecError as error:
            raise ConfigError(
                f"rung {rung.name}: this build of PyAV has no encoder {codec}"
            ) from error
        except av.FFmpegError as error:
            raise EncodeError(f"the device of {codec}: {error.strerror}", rung=rung.name) from error
        self._context = stream.codec_context
        self._describe(rung, picture, "yuv420p" if hwaccel is None else "nv12")
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

    def _describe(self, rung: PlannedRung, picture: PictureFormat, pix_fmt: str) -> None:
        context = self._context
        context.width = rung.width
        context.height = rung.height
        context.pix_fmt = pix_fmt
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
        picture = self._lend(frame)
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
