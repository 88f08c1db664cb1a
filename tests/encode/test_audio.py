"""Sound keeps its time, whichever way it goes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from streamgen.encode.adts import audio_specific_config
from streamgen.encode.audio import AudioSettings, open_audio
from streamgen.errors import ConfigError
from streamgen.media.packet import Packet
from streamgen.media.tracks import AudioTrack
from streamgen.telemetry import Telemetry
from tests.encode.clicks import CLICKS_S, LAYOUTS, LENGTH_S, carry, heard_s, mux, opened, write

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
            mux(out, stream, path.push(packet))
        mux(out, stream, path.flush())
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
