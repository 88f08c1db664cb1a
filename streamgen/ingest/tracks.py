"""The static facts of libavformat's streams as our tracks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import AttachmentStream, DataStream, Disposition, Stream
from av.video.stream import VideoStream

from streamgen.errors import SourceError
from streamgen.media.color import Transfer, color_of, is_rgb
from streamgen.media.frame import Color
from streamgen.media.tonemap import STANDARD
from streamgen.media.tracks import AudioTrack, DataTrack, VideoTrack

STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
"""Cover art and chapter pictures: video streams that are not the video."""


def best_video(container: InputContainer, name: str) -> VideoStream:
    """The stream to work on: decodable, the default one, the largest. Raises `SourceError`."""
    videos = [s for s in container.streams.video if not s.disposition & STILLS]
    if not videos:
        if container.streams.video:
            raise SourceError(f"{name}: has no video, only cover art")
        what = "sound but no video" if container.streams.audio else "no video"
        raise SourceError(f"{name}: has {what}")
    known = [s for s in videos if s.codec_context is not None]
    if not known:
        raise SourceError(f"{name}: its video codec is unknown or not supported")
    best = max(known, key=_rank)
    if best.codec_context.width < 1 or best.codec_context.height < 1:
        raise SourceError(f"{name}: has no readable picture: damaged, or cut short")
    return best


def _rank(stream: VideoStream) -> tuple[bool, int, int]:
    context = stream.codec_context
    default = bool(stream.disposition & Disposition.default)
    return default, context.width * context.height, -stream.index


def video_track(stream: VideoStream, container: InputContainer, rotation: int) -> VideoTrack:
    """Facts of the chosen video stream, as its decoder will deliver the pictures."""
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return VideoTrack(
        name="video/0",
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        time_base=_time_base(stream),
        rate=Fraction(rate) if rate else None,
        frames=stream.frames,
        duration_s=duration_s(stream, container),
        sar=Fraction(stream.sample_aspect_ratio or 1),
        rotation=rotation,
        color=_delivered_color(stream),
        codec_context=context,
    )


def _delivered_color(stream: VideoStream) -> Color:
    context = stream.codec_context
    pix_fmt = context.pix_fmt or ""
    transfer = context.color_trc
    if transfer in tuple(Transfer):
        return STANDARD
    if is_rgb(pix_fmt):
        return Color(primaries=context.color_primaries, transfer=transfer)
    return color_of(
        context.colorspace,
        context.color_range,
        context.color_primaries,
        transfer,
        height=context.height,
        pix_fmt=pix_fmt,
    )


def audio_track(stream: AudioStream, number: int, container: InputContainer) -> AudioTrack:
    """Facts of one audio stream; `audio/0` is the first of the file."""
    context = stream.codec_context
    return AudioTrack(
        name=f"audio/{number}",
        codec=context.codec.canonical_name,
        rate_hz=context.sample_rate,
        channels=context.channels,
        time_base=_time_base(stream),
        language=_language(stream),
        title=stream.metadata.get("title"),
        duration_s=duration_s(stream, container),
        stream=stream,
    )


def data_tracks(container: InputContainer, video: VideoStream) -> list[DataTrack]:
    """Everything that is neither the video nor decodable sound, so that it can be reported."""
    kinds: dict[str, int] = {}
    tracks = []
    for stream in container.streams:
        if stream.index == video.index or (stream.type == "audio" and stream.codec_context):
            continue
        kind = stream.type if stream.type in ("subtitle", "attachment") else "data"
        number = kinds[kind] = kinds.get(kind, -1) + 1
        tracks.append(
            DataTrack(f"{kind}/{number}", kind, _codec_name(stream), _language(stream), stream)
        )
    return tracks


def _language(stream: Stream) -> str | None:
    return None if stream.language in (None, "und") else stream.language


def _codec_name(stream: Stream) -> str:
    if stream.disposition & STILLS:
        return "cover art"
    context: Any = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    named = isinstance(stream, DataStream | AttachmentStream)
    return (stream.name if named else None) or "unknown"


def duration_s(stream: Stream, container: InputContainer) -> float | None:
    """Length of one stream in seconds; the container's where the stream has none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def first_shown(streams: Sequence[Stream]) -> Fraction | None:
    """Where the earliest of these streams begins, in seconds; priming does not count."""
    starts = [s.start_time * _time_base(s) for s in streams if s.start_time is not None]
    return min(starts, default=None)


def _time_base(stream: Stream) -> Fraction:
    return Fraction(stream.time_base or Fraction(1, 1_000_000))
