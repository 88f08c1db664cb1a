"""Sound: copied where every outlet takes it as it is, else decoded and encoded again.

Both ways keep the times: priming lies before the first heard sample, padding behind the last, and
sound and picture stay within 20 ms of where the source had them, at both ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal, Protocol

import av
from pydantic import Field

from streamgen.config import Bitrate, Settings
from streamgen.encode.copied import CopiedAudio, copyable
from streamgen.encode.samples import SampleLine, Samples
from streamgen.errors import ConfigError, EncodeError
from streamgen.media.packet import Packet
from streamgen.media.tracks import AudioTrack, EncodedTrack
from streamgen.telemetry import Telemetry

_KEPT_RATES_HZ = {"aac": (32_000, 44_100, 48_000), "opus": (48_000,)}
_FALLBACK_RATE_HZ = 48_000
_ENCODERS = {"aac": "aac", "opus": "libopus"}
# The layouts each codec has a number for; others would need tables that players do not read.
_LAYOUTS = {
    "aac": {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "5.1", 8: "7.1"},
    "opus": {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"},
}
_MIXED_DOWN = "stereo"
_GLOBAL_HEADER = 1 << 22
# Interleaved: PyAV 18.1 counts one plane too many for planar sound of eight channels.
_FORMAT = "flt"


class AudioSettings(Settings):
    """What happens to the sound."""

    codec: Literal["auto", "copy", "aac", "opus", "none"] = "auto"
    """`auto` copies where every output takes the source's codec, and encodes AAC otherwise."""
    bitrate: Bitrate = Field(default=128_000, ge=8_000, le=1_000_000)
    """Of a stereo track; mono gets half, more channels proportionally more."""


class AudioPath(Protocol):
    """One audio track on its way to the outlets. Used by one thread."""

    track: EncodedTrack
    """The first of what it gives."""

    @property
    def tracks(self) -> Sequence[EncodedTrack]:
        """All that it gives; mostly that one."""
        ...

    @property
    def samples_in(self) -> int:
        """Samples per channel that came from the source, at the source's rate."""
        ...

    @property
    def samples_out(self) -> int:
        """Samples per channel that the encoder was given, or that copied packets announce."""
        ...

    @property
    def worst_offset_ms(self) -> float:
        """Largest distance between a sample's time in the source and where it is heard in the
        output: as laid down when encoded, as a player that only counts samples plays it when
        copied."""
        ...

    def push(self, packet: Packet) -> Sequence[Packet]: ...

    def flush(self) -> Sequence[Packet]:
        """What is still inside, when the track has ended."""
        ...


def open_audio(
    track: AudioTrack,
    settings: AudioSettings,
    *,
    container_takes: Callable[[str], bool],
    telemetry: Telemetry,
    name: str = "audio/0",
    default: bool = True,
) -> AudioPath:
    """The way of one track. `container_takes` says of a codec whether every outlet takes it.

    Raises `ConfigError` when the settings ask for what the outlets do not take, `EncodeError` when
    the encoder does not open.
    """
    wanted = settings.codec
    if wanted == "none":
        raise ConfigError("audio is switched off in this pipeline")
    if wanted == "copy" and not (container_takes(track.codec) and copyable(track)):
        raise ConfigError(f"audio: the output does not take {track.codec} as it is")
    if wanted == "copy" or (wanted == "auto" and container_takes(track.codec) and copyable(track)):
        return CopiedAudio(track, telemetry, name, default)
    codec = "aac" if wanted == "auto" else wanted
    if not container_takes(codec):
        raise ConfigError(f"audio: the output does not take {codec}")
    return TranscodedAudio(track, codec, settings.bitrate, telemetry, name, default)


class TranscodedAudio:
    """Decoded, brought to one rate and layout, laid on the timeline, encoded."""

    def __init__(
        self,
        track: AudioTrack,
        codec: str,
        bitrate_bps: int,
        telemetry: Telemetry,
        name: str,
        default: bool,
    ) -> None:
        rates = _KEPT_RATES_HZ[codec]
        rate_hz = track.rate_hz if track.rate_hz in rates else _FALLBACK_RATE_HZ
        self._layout = _LAYOUTS[codec].get(track.channels, _MIXED_DOWN)
        self._decoder: Any = track.stream.codec_context
        self._telemetry = telemetry
        self._encoder = SoundEncoder(codec, rate_hz, self._layout, bitrate_bps, name)
        self.track = replace(
            self._encoder.track, language=track.language, title=track.title, default=default
        )
        self._rate_hz = rate_hz
        self._line = SampleLine(rate_hz, self.track.channels, telemetry)
        self._resampler: Any = None
        self._heard: tuple[str, str, int] | None = None
        self._epoch = 0
        self._time_base = track.time_base
        self.samples_in = 0

    @property
    def tracks(self) -> Sequence[EncodedTrack]:
        return (self.track,)

    @property
    def samples_out(self) -> int:
        return self._encoder.samples

    @property
    def worst_offset_ms(self) -> float:
        return 1000 * self._line.worst / self._rate_hz

    def push(self, packet: Packet) -> list[Packet]:
        """Give what the packet completes. A damaged packet is lost, counted `lost{audio}`."""
        out = []
        if packet.epoch != self._epoch:
            out = self._drained()
            self._decoder.flush_buffers()
            self._epoch = packet.epoch
        self._time_base = packet.time_base
        try:
            frames = self._decoder.decode(_for_decoder(packet))
        except av.FFmpegError:
            self._telemetry.count("lost", "audio")
            return out
        return out + self._sounded(frames, packet.time_base)

    def flush(self) -> list[Packet]:
        return self._drained() + self._encoder.flush(self._epoch)

    def _drained(self) -> list[Packet]:
        """Everything decoder and resampler still hold; the encoder goes on."""
        try:
            frames = self._decoder.decode(None)
        except av.FFmpegError:
            frames = []
        return self._sounded(frames, self._time_base) + self._resampled(None)

    def _sounded(self, frames: Sequence[Any], time_base: Fraction) -> list[Packet]:
        out: list[Packet] = []
        for frame in frames:
            self.samples_in += frame.samples
            heard = (frame.format.name, frame.layout.name, frame.sample_rate)
            if heard != self._heard:
                out += self._resampled(None)
                self._heard = heard
                self._resampler = av.AudioResampler(_FORMAT, self._layout, self._rate_hz)
            if frame.pts is not None:
                # In the unit of the samples, or the filter would round every time to a packet's.
                frame.pts = round(frame.pts * time_base * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
            out += self._resampled(frame)
        return out

    def _resampled(self, frame: Any) -> list[Packet]:
        if self._resampler is None:
            return []
        out: list[Packet] = []
        for sound in self._resampler.resample(frame):
            if sound is None:
                continue
            start = (
                None if sound.pts is None else round(sound.pts * sound.time_base * self._rate_hz)
            )
            samples = sound.to_ndarray().reshape(-1, self.track.channels)
            for at, block in self._line.place(start, samples):
                out += self._encoder.encode(at, block, self._epoch)
        if frame is None:
            self._resampler = self._heard = None
        return out


def _for_decoder(packet: Packet) -> Any:
    data = packet.data if isinstance(packet.data, av.Packet) else av.Packet(packet.data)
    data.pts, data.dts, data.time_base = packet.pts, packet.dts, packet.time_base
    return data


class SoundEncoder:
    """One opened audio encoder and the track it makes."""

    def __init__(self, codec: str, rate_hz: int, layout: str, bitrate_bps: int, name: str) -> None:
        self._nowhere = av.open(os.devnull, "w", format="null")
        stream: Any = self._nowhere.add_stream(_ENCODERS[codec], rate=rate_hz)
        self._context = stream.codec_context
        self._context.layout = self._layout = layout
        channels = self._context.layout.nb_channels
        self._context.bit_rate = bitrate_bps * channels // 2
        self._context.time_base = self._base = Fraction(1, rate_hz)
        self._context.flags |= _GLOBAL_HEADER
        try:
            self._nowhere.start_encoding()
        except av.FFmpegError as error:
            raise EncodeError(
                f"{codec} does not open for {layout} sound at {rate_hz} Hz", rung=name
            ) from error
        self.samples = 0
        self.track = EncodedTrack(
            name=name,
            kind="audio",
            codec=codec,
            time_base=self._base,
            template=stream,
            bitrate_bps=bitrate_bps * channels // 2,
            rate_hz=rate_hz,
            channels=channels,
            priming=_priming(codec, stream),
        )

    def encode(self, at: int, block: Samples, epoch: int) -> list[Packet]:
        """Samples of the line from index `at` on; packets lie `priming` before their samples."""
        frame = av.AudioFrame.from_ndarray(
            block.reshape(1, -1), format=_FORMAT, layout=self._layout
        )
        frame.sample_rate = self.track.rate_hz
        frame.pts, frame.time_base = at, self._base
        self.samples += len(block)
        return self._packets(frame, epoch)

    def flush(self, epoch: int) -> list[Packet]:
        return self._packets(None, epoch) if self.samples else []

    def _packets(self, frame: Any, epoch: int) -> list[Packet]:
        try:
            encoded = self._context.encode(frame)
        except av.FFmpegError as error:
            raise EncodeError(
                f"{self.track.codec} failed: {error.strerror}", rung=self.track.name
            ) from error
        return [
            Packet(
                data=packet,
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration or 0,
                time_base=self._base,
                keyframe=True,
                track=self.track.name,
                epoch=epoch,
            )
            for packet in encoded
        ]


def _priming(codec: str, stream: Any) -> int:
    """Samples before the first heard one: from the Opus header (RFC 7845), or AAC's one frame."""
    if codec == "opus":
        return int.from_bytes(stream.codec_context.extradata[10:12], "little")
    return int(stream.codec_context.frame_size)
