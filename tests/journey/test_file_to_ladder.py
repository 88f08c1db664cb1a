"""A whole clip through decode, ladder and outputs: every picture, its time, the sound, the keys."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamgen.pipeline import Pipeline
from streamgen.report import Report
from streamgen.testing import synthetic_clip

LADDER = [
    {"height": 240, "bitrate": "600k"},
    {"height": 180, "bitrate": "300k"},
    {"height": 120, "bitrate": "150k"},
]


def pipeline(**changes: object) -> Pipeline:
    return Pipeline.model_validate({"name": "test", "ladder": LADDER, **changes})


def times(path: Path) -> list[Fraction]:
    """Presentation times of all decoded pictures in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def keys(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [p.pts * p.time_base for p in container.demux(stream) if p.is_keyframe and p.size]


def clicks(path: Path) -> list[float]:
    """Start of every second's click in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        blocks = [
            (f.pts * f.time_base, f.sample_rate, f.to_ndarray()[0])
            for f in container.decode(stream)
        ]
    rate = blocks[0][1]
    first = float(blocks[0][0])
    sound = np.abs(np.concatenate([block for *_, block in blocks]))
    loud = np.flatnonzero(sound > 0.3 * sound.max())
    starts = loud[np.insert(np.diff(loud) > rate // 2, 0, True)]
    return [first + start / rate for start in starts]


def flashes(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            top = frame.to_ndarray(format="gray")[: max(frame.height // 8, 1)]
            if top.mean() > 220:
                found.append(float(frame.pts * frame.time_base))
        return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return synthetic_clip(folder / "in.mp4", frames=100, b_frames=2, gop=10)


@pytest.fixture(scope="module")
def made(
    clip: Path, carry: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("out")
    report = carry(pipeline(), clip, folder / "x.mp4", hls=[folder / "hls"])
    return folder, report


def test_every_picture_arrives_once_with_its_time(clip: Path, made: tuple[Path, Report]) -> None:
    folder, report = made
    assert times(folder / "x.mp4") == times(clip)
    assert (report.frames_in, report.frames_out, report.dropped) == (100, 100, {})


@pytest.mark.parametrize("rung", ["240p", "180p", "120p"])
def test_every_rung_has_every_picture_at_the_same_time(
    clip: Path, made: tuple[Path, Report], rung: str
) -> None:
    got = times(made[0] / "hls" / rung / "index.m3u8")
    wanted = times(clip)
    assert len(got) == len(wanted)
    assert all(
        abs(a - b - (got[0] - wanted[0])) < Fraction(1, 1000)
        for a, b in zip(got, wanted, strict=True)
    )


def test_key_frames_stand_at_the_same_times_on_all_rungs(made: tuple[Path, Report]) -> None:
    rungs = [keys(made[0] / "hls" / rung / "index.m3u8") for rung in ("240p", "180p", "120p")]
    assert rungs[0] == rungs[1] == rungs[2]
    assert [at - rungs[0][0] for at in rungs[0]] == [0, 2]
    assert [rung.keyframes for rung in made[1].rungs] == [2, 2, 2]


def test_sound_and_picture_meet_within_20_ms_from_start_to_end(made: tuple[Path, Report]) -> None:
    path = made[0] / "x.mp4"
    heard, seen = clicks(path), flashes(path)
    assert len(seen) == 4
    assert len(heard) == 4
    assert all(abs(a - b) < 0.02 for a, b in zip(heard, seen, strict=True))


def test_the_report_says_what_was_made(made: tuple[Path, Report]) -> None:
    report = made[1]
    assert [(r.name, r.width, r.height, r.frames) for r in report.rungs] == [
        ("240p", 320, 240, 100),
        ("180p", 240, 180, 100),
        ("120p", 160, 120, 100),
    ]
    assert report.audio is not None and report.audio.codec == "aac"
    assert report.audio.av_offset_ms < 20
    assert report.copies_per_frame == 0
    assert report.fps > 0 and report.wall_s > 0 and report.cpu_ms_per_frame > 0
    assert report.latency_ms.p50 <= report.latency_ms.p99
    assert {"decode", "scale", "encode/video/240p", "deliver", "latency"} <= set(report.steps)
    assert report.environment.versions["streamgen"]
    assert report.queues["packets"] > 0


def test_variable_frame_times_survive_exactly(tmp_path: Path, carry: Callable[..., Report]) -> None:
    steps = np.random.default_rng(3).integers(300, 4000, 40)
    pts = [int(t) for t in np.cumsum(steps) - steps[0]]
    clip = synthetic_clip(
        tmp_path / "in.mp4", frames=40, pts=pts, time_base=Fraction(1, 30_000), audio=None
    )
    carry(pipeline(), clip, tmp_path / "x.mp4")
    assert times(tmp_path / "x.mp4") == times(clip) == [Fraction(t, 30_000) for t in pts]


def test_sixty_frames_per_second_are_halved_by_a_cap(
    tmp_path: Path, carry: Callable[..., Report]
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", frames=60, rate=60, audio=None)
    report = carry(pipeline(fps_cap=30), clip, tmp_path / "x.mp4")
    assert times(tmp_path / "x.mp4") == [Fraction(n, 30) for n in range(30)]
    assert (report.frames_in, report.frames_out, report.dropped) == (60, 30, {"fps_cap": 30})


def test_a_run_without_sound_is_a_run(tmp_path: Path, carry: Callable[..., Report]) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", frames=10, audio=None)
    report = carry(pipeline(), clip, tmp_path / "x.mkv")
    assert report.audio is None
    assert report.frames_out == 10


def test_a_jump_in_time_continues_the_output_with_a_key_frame(
    tmp_path: Path, carry: Callable[..., Report]
) -> None:
    parts = [synthetic_clip(tmp_path / f"{n}.ts", frames=40, b_frames=2) for n in (1, 2)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    report = carry(pipeline(), joined, tmp_path / "x.mp4")
    got = times(tmp_path / "x.mp4")
    assert report.frames_in == report.frames_out == len(got) == 80
    assert all(a < b for a, b in pairwise(got))
    assert got[40] in keys(tmp_path / "x.mp4")
    assert report.corrected["jump_back"] >= 1
    assert all(
        abs(a - b) < 0.02
        for a, b in zip(clicks(tmp_path / "x.mp4"), flashes(tmp_path / "x.mp4"), strict=True)
    )


def test_a_portrait_phone_video_keeps_its_rotation_and_its_rungs_their_short_side(
    tmp_path: Path, carry: Callable[..., Report]
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=240, height=320, frames=10)
    report = carry(pipeline(), clip, tmp_path / "x.mp4", hls=[tmp_path / "hls"])
    assert [(r.width, r.height) for r in report.rungs] == [(240, 320), (180, 240), (120, 160)]


def test_every_report_balances(tmp_path: Path, carry: Callable[..., Report]) -> None:
    clip = synthetic_clip(tmp_path / "in.ts", frames=60, gop=20, b_frames=2)
    data = bytearray(clip.read_bytes())
    random = np.random.default_rng(5)
    for at in random.integers(len(data) // 4, len(data), 60):
        data[at] ^= 0xFF
    clip.write_bytes(data)
    report = carry(pipeline(), clip, tmp_path / "x.mp4")
    assert report.frames_out == len(times(tmp_path / "x.mp4")) > 30
    assert report.frames_in == report.frames_out + sum(report.dropped.values())
