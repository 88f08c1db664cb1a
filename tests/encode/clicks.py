"""Sound files with clicks, carried through an audio path and heard again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamgen.encode.audio import AudioPath, AudioSettings, open_audio
from streamgen.media.packet import Packet
from streamgen.media.tracks import AudioTrack
from streamgen.telemetry import Telemetry

LENGTH_S = 3.0
CLICKS_S = (0.3, 1.5, 2.8)
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def clicks(rate_hz: int, channels: int, length_s: float = LENGTH_S) -> Any:
    """Quiet, with a 5 ms burst of 1 kHz at each click time."""
    sound = np.zeros((channels, round(length_s * rate_hz)), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz // 200) / rate_hz)
    for at_s in CLICKS_S:
        begin = round(at_s * rate_hz)
        sound[:, begin : begin + burst.size] = burst
    return sound


def write(
    path: Path,
    codec: str,
    rate_hz: int = 48_000,
    channels: int = 2,
    leave_out: tuple[float, float] | None = None,
    start_s: float = 0.0,
    length_s: float = LENGTH_S,
) -> Path:
    """A sound file with clicks; blocks that begin within `leave_out` seconds are missing."""
    sound = clicks(rate_hz, channels, length_s)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=rate_hz, options={"strict": "experimental"})
        stream.codec_context.layout = LAYOUTS[channels]
        size = 960
        for begin in range(0, sound.shape[1], size):
            if leave_out and leave_out[0] <= begin / rate_hz < leave_out[1]:
                continue
            block = np.ascontiguousarray(sound[:, begin : begin + size].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=LAYOUTS[channels])
            frame.sample_rate = rate_hz
            frame.pts = begin + round(start_s * rate_hz)
            frame.time_base = Fraction(1, rate_hz)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def heard_s(path: Path) -> tuple[list[float], float, float]:
    """Times of the clicks as a player hears them, begin and end of the sound; in seconds."""
    found: list[float] = []
    begin = end = 0.0
    resampler = av.AudioResampler("flt", "mono")
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            assert frame.time is not None
            sound = resampler.resample(frame)[0].to_ndarray()[0]
            loud = np.abs(sound) > 0.25
            begin = begin if end else frame.time
            end = frame.time + frame.samples / frame.sample_rate
            for index in np.flatnonzero(loud):
                at = frame.time + index / frame.sample_rate
                if not found or at - found[-1] > 0.1:
                    found.append(at)
    return found, begin, end


def opened(path: Path) -> Iterator[tuple[AudioTrack, Iterator[Packet]]]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        time_base = Fraction(stream.time_base or 1)
        track = AudioTrack(
            name="audio/0",
            codec=stream.codec_context.codec.canonical_name,
            rate_hz=stream.codec_context.sample_rate,
            channels=stream.codec_context.layout.nb_channels,
            time_base=time_base,
            language=None,
            title=None,
            duration_s=None,
            stream=stream,
        )
        yield track, (_packet(p, time_base) for p in file.demux(stream) if p.size)


def _packet(packet: Any, time_base: Fraction) -> Packet:
    return Packet(
        packet,
        packet.pts,
        packet.dts,
        packet.duration or 0,
        time_base,
        True,
        "audio/0",
        discard=packet.is_discard,
    )


def carry(
    source: Path,
    target: Path,
    telemetry: Telemetry,
    codec: Any = "auto",
    takes: tuple[str, ...] = ("aac",),
    lose: tuple[int, ...] = (),
) -> AudioPath:
    """Run one file through the audio path into another file."""
    settings = AudioSettings(codec=codec)
    for track, packets in opened(source):
        path = open_audio(track, settings, container_takes=takes.__contains__, telemetry=telemetry)
        with av.open(str(target), "w") as out:
            stream = out.add_stream_from_template(path.track.template)
            for index, packet in enumerate(packets):
                if index in lose:
                    packet = damaged(packet)
                mux(out, stream, path.push(packet))
            mux(out, stream, path.flush())
    return path


def damaged(packet: Packet) -> Packet:
    noise = av.Packet(bytes([0x55]) * packet.size_bytes)
    return Packet(noise, packet.pts, packet.dts, 0, packet.time_base, True, packet.track)


def mux(out: Any, stream: Any, packets: Any) -> None:
    for packet in packets:
        assert packet.track == "audio/0"
        packet.data.stream = stream
        packet.data.pts, packet.data.dts = packet.pts, packet.dts
        packet.data.duration, packet.data.time_base = packet.duration, packet.time_base
        out.mux(packet.data)
