"""Copied sound is not touched, and what cannot be kept in time is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.encode.audio import AudioSettings, open_audio
from streamgen.encode.copied import PREROLL_S, CopiedAudio
from streamgen.telemetry import Telemetry
from tests.encode.clicks import CLICKS_S, LENGTH_S, carry, heard_s, mux, opened, write


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


@pytest.mark.parametrize(
    ("codec", "name", "rate_hz"),
    [
        ("aac", "in.mp4", 44_100),
        ("aac", "in.mkv", 44_100),
        ("aac", "in.ts", 44_100),
        ("aac", "in.flv", 44_100),
        ("libmp3lame", "in.mkv", 44_100),
        ("libopus", "in.mkv", 48_000),
        ("ac3", "in.mkv", 44_100),
        ("vorbis", "in.mkv", 44_100),
        ("pcm_s16le", "in.mkv", 44_100),
    ],
)
def test_rounded_times_do_not_add_up_to_an_offset(
    tmp_path: Path, codec: str, name: str, rate_hz: int
) -> None:
    source = write(tmp_path / name, codec, rate_hz)
    for track, packets in opened(source):
        path = open_audio(
            track,
            AudioSettings(codec="copy"),
            container_takes=lambda _: True,
            telemetry=Telemetry(),
        )
        assert sum(len(path.push(packet)) for packet in packets) > 30
        assert path.worst_offset_ms <= 2


def missing(number: int, pts: int) -> int | None:
    return None if 50 <= number < 60 else pts


def overlapping(number: int, pts: int) -> int | None:
    """Each of twenty packets begins a tenth before the end of its predecessor."""
    return pts - 102 * min(20, max(0, number - 50))


@pytest.mark.parametrize("move", [missing, overlapping])
def test_the_offset_is_what_a_player_that_counts_samples_is_off(
    tmp_path: Path, move: Callable[[int, int], int | None]
) -> None:
    source = write(tmp_path / "in.mp4", "aac")
    last_s = CLICKS_S[-1]
    for track, packets in opened(source):
        path = open_audio(
            track, AudioSettings(), container_takes=lambda _: True, telemetry=Telemetry()
        )
        with av.open(str(tmp_path / "out.mp4"), "w") as out:
            stream = out.add_stream_from_template(path.track.template)
            for number, packet in enumerate(packets):
                pts = move(number, packet.pts or 0)
                if pts is not None:
                    mux(out, stream, path.push(replace(packet, pts=pts, dts=pts)))
    wanted_s = last_s + (move(120, 0) or 0) / 48_000
    off_s = abs(counted_s(tmp_path / "out.mp4") - wanted_s)
    assert off_s > 0.04
    assert path.worst_offset_ms == pytest.approx(1000 * off_s, abs=2)


def counted_s(path: Path) -> float:
    """When the last click is heard if samples are only counted."""
    with av.open(str(path)) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    loud = np.flatnonzero(np.abs(heard) > 0.25)
    first = loud[loud > loud[-1] - 480][0]
    return float(first) / 48_000
