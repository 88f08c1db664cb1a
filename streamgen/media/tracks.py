"""What a source offers and what an encoder gives: the static facts of a track."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from streamgen.media.frame import Color


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The video track of a source, before the first picture is decoded."""

    name: str
    codec: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction | None
    """Average frame rate in Hz; None where the container does not say."""
    frames: int
    """Pictures announced by the container; 0 where unknown. A hint for the progress bar only."""
    duration_s: float | None
    sar: Fraction
    rotation: int
    color: Color
    codec_context: Any
    """libavcodec context of the demuxer; the decoder owns it from the first packet on."""


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio track of a source."""

    name: str
    codec: str
    rate_hz: int
    channels: int
    time_base: Fraction
    language: str | None
    title: str | None
    duration_s: float | None
    stream: Any
    """`av.AudioStream`: template when the track is copied, decoder context when it is not."""


@dataclass(frozen=True, slots=True)
class DataTrack:
    """A subtitle or attachment track, carried along or reported as dropped."""

    name: str
    kind: str
    """`subtitle`, `attachment` or `data`."""
    codec: str
    language: str | None
    stream: Any


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """All tracks of a source, in container order, and what surrounds them."""

    name: str
    """Name for people: the file's name or the URL without its secrets."""
    container: str
    video: VideoTrack
    audio: tuple[AudioTrack, ...] = ()
    data: tuple[DataTrack, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    chapters: tuple[dict[str, Any], ...] = ()
    duration_s: float | None = None
    live: bool = False
    start: Fraction | None = None
    """Time of the first presentation on the source's clock, in seconds, where it is known."""


@dataclass(frozen=True, slots=True)
class EncodedTrack:
    """What a muxer must know of packets on their way out; `Packet.track` equals `name`."""

    name: str
    """`video/720p`, `audio/0`, `subtitle/0`."""
    kind: str
    """`video`, `audio`, `subtitle` or `attachment`."""
    codec: str
    time_base: Fraction
    template: Any
    """`av.Stream` whose parameters are complete, for `add_stream_from_template`."""
    width: int = 0
    height: int = 0
    rate: Fraction | None = None
    sar: Fraction = Fraction(1)
    rotation: int = 0
    color: Color | None = None
    bitrate_bps: int = 0
    """Target for video, measured or nominal for audio."""
    rate_hz: int = 0
    channels: int = 0
    language: str | None = None
    title: str | None = None
    default: bool = True
    priming: int = 0
    """Samples of encoder delay at the start of an audio track."""
