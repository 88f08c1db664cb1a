"""Sound keeps its time, whichever way it goes."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from streamgen.encode.adts import audio_specific_config
from streamgen.encode.audio import (
    PREROLL_S,
    AudioPath,
    AudioSettings,
    CopiedAudio,
    open_audio,
)
from streamgen.errors import ConfigError
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
                _mux(out, stream, path.push(packet))
            _mux(out, stream, path.flush())
    return path


def damaged(packet: Packet) -> Packet:
    noise = av.Packet(bytes([0x55]) * packet.size_bytes)
    return Packet(noise, packet.pts, packet.dts, 0, packet.time_base, True, packet.track)


def _mux(out: Any, stream: Any, packets: Any) -> None:
    for packet in packets:
        assert packet.track == "audio/0"
        packet.data.stream = stream
        packet.data.pts, packet.data.dts = packet.pts, packet.dts
        packet.data.duration, packet.data.time_base = packet.duration, packet.time_base
        out.mux(packet.data)


SOURCES = [
    ("aac", "in.mp4", 48_000, 2),
    ("aac", "in.mp4", 44_100, 2),
    ("aac", "in.ts", 48_000, 2),
    ("libmp3lame", "in.mp3", 44_100, 2),
    ("libmp3lame", "in.mkv", 48_000, 2),
    ("libopus", "in.ogg", 48_000, 2),
    ("libopus", "in.mkv", 48_000, 2),
    ("libopus", "in.mp4", 48_000, 2),
    ("pcm_s16le", "in.wav", 48_000, 2),
    ("pcm_s16le", "in.wav", 8_000, 1),
    ("pcm_s16le", "in.wav", 96_000, 2),
    ("pcm_s16le", "in.avi", 48_000, 2),
    ("pcm_s16le", "in.mov", 48_000, 6),
    ("flac", "in.flac", 44_100, 2),
    ("vorbis", "in.ogg", 48_000, 2),
    ("ac3", "in.mkv", 48_000, 6),
    ("aac", "in.mp4", 48_000, 8),
    ("aac", "in.mp4", 22_050, 1),
]


WAYS = [(*source, "aac") for source in SOURCES] + [
    ("aac", "in.mp4", 44_100, 2, "opus"),
    ("libopus", "in.ogg", 48_000, 2, "opus"),
    ("pcm_s16le", "in.wav", 8_000, 1, "opus"),
    ("ac3", "in.mkv", 48_000, 6, "opus"),
]


@pytest.mark.parametrize(("codec", "name", "rate_hz", "channels", "target"), WAYS)
def test_encoded_sound_stays_in_sync_at_both_ends(
    tmp_path: Path, codec: str, name: str, rate_hz: int, channels: int, target: str
) -> None:
    source = write(tmp_path / name, codec, rate_hz, channels)
    telemetry = Telemetry()
    path = carry(source, tmp_path / "out.mkv", telemetry, target, takes=(target,))
    before, _, end_before = heard_s(source)
    after, _, end_after = heard_s(tmp_path / "out.mkv")
    assert len(before) == len(CLICKS_S)
    assert np.allclose(before, after, atol=0.020)
    assert abs(end_after - end_before) <= 0.020
    assert telemetry.counts("corrected") == {}
    assert path.worst_offset_ms <= 15
    assert path.samples_in / rate_hz == pytest.approx(LENGTH_S, abs=0.05)
    assert path.samples_out / path.track.rate_hz == pytest.approx(LENGTH_S, abs=0.05)


@pytest.mark.parametrize(
    ("codec", "name", "target"),
    [
        ("aac", "in.mp4", "out.mp4"),
        ("aac", "in.mp4", "out.mkv"),
        ("libmp3lame", "in.mkv", "out.mkv"),
        ("libopus", "in.ogg", "out.mp4"),
        ("flac", "in.flac", "out.mkv"),
    ],
)
def test_copied_sound_stays_in_sync_and_is_not_touched(
    tmp_path: Path, codec: str, name: str, target: str
) -> None:
    source = write(tmp_path / name, codec)
    takes = ("aac", "mp3", "opus", "flac")
    path = carry(source, tmp_path / target, Telemetry(), takes=takes)
    before, _, end_before = heard_s(source)
    after, _, end_after = heard_s(tmp_path / target)
    with av.open(str(source)) as one, av.open(str(tmp_path / target)) as other:
        packets = [[p for p in file.demux(audio=0) if p.size] for file in (one, other)]
    # Matroska knows no time before zero: its muxer moves all tracks by the priming.
    moved_s = _first_s(packets[1]) - _first_s(packets[0]) if target.endswith("mkv") else 0.0
    assert np.allclose(before, np.asarray(after) - moved_s, atol=0.020)
    assert abs(end_after - moved_s - end_before) <= 0.020
    assert [bytes(p) for p in packets[0]] == [bytes(p) for p in packets[1]]
    assert path.samples_out / 48_000 == pytest.approx(LENGTH_S, abs=0.05)


def _first_s(packets: list[Any]) -> float:
    return float(packets[0].pts * packets[0].time_base)


def test_sound_that_starts_late_stays_late(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", "pcm_s16le", start_s=1.25)
    carry(source, tmp_path / "out.mp4", Telemetry(), "aac")
    after, _, _ = heard_s(tmp_path / "out.mp4")
    assert np.allclose(np.asarray(CLICKS_S) + 1.25, after, atol=0.020)


def test_a_gap_becomes_silence_and_what_follows_keeps_its_time(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", "pcm_s16le", leave_out=(0.5, 1.2))
    telemetry = Telemetry()
    path = carry(source, tmp_path / "out.mp4", telemetry, "aac")
    after, _, end = heard_s(tmp_path / "out.mp4")
    assert np.allclose(CLICKS_S, after, atol=0.020)
    assert end == pytest.approx(LENGTH_S, abs=0.020)
    assert telemetry.counts("corrected") == {"audio_gap": 1}
    assert path.samples_out > path.samples_in + 0.6 * 48_000


def test_a_damaged_packet_is_lost_alone_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", "aac")
    telemetry = Telemetry()
    carry(source, tmp_path / "out.mkv", telemetry, "aac", lose=(50, 51))
    after, _, _ = heard_s(tmp_path / "out.mkv")
    assert np.allclose(CLICKS_S, after, atol=0.020)
    assert telemetry.counts("lost") == {"audio": 2}
    assert telemetry.counts("corrected") == {"audio_gap": 1}


def test_a_sample_rate_that_changes_inside_the_stream_keeps_the_time(tmp_path: Path) -> None:
    packets = []
    for rate_hz, start_s in ((44_100, 0.0), (48_000, LENGTH_S)):
        source = write(tmp_path / f"{rate_hz}.aac", "aac", rate_hz)
        with av.open(str(source)) as file:
            sizes = [bytes(p) for p in file.demux(audio=0) if p.size]
        for index, data in enumerate(sizes):
            at = round((start_s + index * 1024 / rate_hz) * 1000)
            packets.append(Packet(data, at, at, 21, Fraction(1, 1000), True, "audio/0"))
    decoder = SimpleNamespace(codec_context=av.CodecContext.create("aac", "r"))
    track = AudioTrack("audio/0", "aac", 44_100, 2, Fraction(1, 1000), None, None, None, decoder)
    path = open_audio(track, AudioSettings(), container_takes=lambda _: True, telemetry=Telemetry())
    with av.open(str(tmp_path / "out.mkv"), "w") as out:
        stream = out.add_stream_from_template(path.track.template)
        for packet in packets:
            _mux(out, stream, path.push(packet))
        _mux(out, stream, path.flush())
    after, _, end = heard_s(tmp_path / "out.mkv")
    # Raw AAC does not mark its priming, one frame: every click comes that much later.
    wanted = [at + 1024 / 44_100 for at in CLICKS_S]
    wanted += [LENGTH_S + at + 1024 / 48_000 for at in CLICKS_S]
    assert np.allclose(wanted, after, atol=0.020)
    assert end == pytest.approx(2 * LENGTH_S, abs=0.060)  # nor its padding


def test_a_new_epoch_keeps_decoding_at_its_own_times(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", "aac")
    telemetry = Telemetry()
    out = []
    for track, packets in opened(source):
        path = open_audio(
            track, AudioSettings(codec="aac"), container_takes=lambda _: True, telemetry=telemetry
        )
        for packet in packets:
            later = 48_000 if packet.pts is not None and packet.pts >= 72_000 else 0
            packet = Packet(
                packet.data,
                (packet.pts or 0) + later,
                packet.dts,
                packet.duration,
                packet.time_base,
                True,
                packet.track,
                epoch=1 if later else 0,
            )
            out += path.push(packet)
        out += path.flush()
    assert telemetry.counts("corrected") == {"audio_gap": 1}
    assert out[-1].epoch == 1
    assert out[-1].time_s == pytest.approx(LENGTH_S + 1, abs=0.05)


def test_the_output_is_never_given_a_codec_it_does_not_take(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp3", "libmp3lame")
    for track, _ in opened(source):
        for codec in ("copy", "opus", "none"):
            with pytest.raises(ConfigError):
                open_audio(
                    track,
                    AudioSettings(codec=codec),
                    container_takes=("aac",).__contains__,
                    telemetry=Telemetry(),
                )


@pytest.mark.parametrize("name", ["in.ts", "in.aac"])
@pytest.mark.parametrize("rate_hz", [48_000, 44_100])
def test_aac_with_a_header_in_every_packet_is_copied_without(
    tmp_path: Path, name: str, rate_hz: int
) -> None:
    source = write(tmp_path / name, "aac", rate_hz)
    path = carry(source, tmp_path / "out.mp4", Telemetry())
    assert isinstance(path, CopiedAudio)
    after, _, _ = heard_s(tmp_path / "out.mp4")
    # A transport stream starts a little after zero, and the muxer of MP4 at zero.
    assert np.allclose(np.diff(after), np.diff(CLICKS_S), atol=0.020)
    with av.open(str(source)) as one, av.open(str(tmp_path / "out.mp4")) as other:
        packets = [[bytes(p) for p in file.demux(audio=0) if p.size] for file in (one, other)]
    assert [p[7:] for p in packets[0]] == packets[1]


def test_a_packet_that_is_no_adts_is_lost_alone_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.ts", "aac")
    telemetry = Telemetry()
    carry(source, tmp_path / "out.mp4", telemetry, lose=(20,))
    assert telemetry.counts("lost") == {"audio": 1}


def test_the_description_of_aac_is_the_one_its_encoder_writes() -> None:
    for rate_hz in (48_000, 44_100, 16_000):
        for channels, layout in LAYOUTS.items():
            context: Any = av.CodecContext.create("aac", "w")
            context.sample_rate, context.layout, context.format = rate_hz, layout, "fltp"
            context.flags |= 1 << 22
            context.open()
            assert context.extradata[:2] == audio_specific_config(rate_hz, channels)


def test_an_encoder_says_how_much_priming_it_adds(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", "pcm_s16le")
    for codec in ("aac", "opus"):
        for track, packets in opened(source):
            path = open_audio(
                track,
                AudioSettings(codec=codec),
                container_takes=lambda _: True,
                telemetry=Telemetry(),
            )
            out = [p for packet in packets for p in path.push(packet)] + [*path.flush()]
        assert out[0].pts == -path.track.priming
        last = out[-1]
        assert last.pts is not None
        assert last.pts + last.duration == pytest.approx(LENGTH_S * 48_000, abs=0.020 * 48_000)


def test_copied_sound_brings_what_the_decoder_needs_before_the_first_heard_packet(
    tmp_path: Path,
) -> None:
    # An edit list hides the first second: its packets are there, and never heard.
    source = write(tmp_path / "in.mp4", "aac", start_s=-1.0)
    carry(source, tmp_path / "out.mp4", Telemetry())
    before, begin_before, end_before = heard_s(source)
    after, begin_after, end_after = heard_s(tmp_path / "out.mp4")
    assert np.allclose(before, after, atol=0.001)
    assert (begin_before, end_before) == (begin_after, end_after)
    with av.open(str(tmp_path / "out.mp4")) as file:
        hidden = sum(packet.is_discard for packet in file.demux(audio=0))
    assert 1 <= hidden <= PREROLL_S * 48_000 / 1024 + 1
