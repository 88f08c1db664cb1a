from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.cli.run import summary
from streamgen.report import Report
from streamgen.testing import synthetic_clip

from .conftest import Run


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_is_made_with_picture_and_sound(run: Run, clip: Path, tmp_path: Path) -> None:
    told = run(clip, "-o", tmp_path / "out.mkv")
    assert told.exit_code == 0, told.output
    assert "12 frames in" in told.stdout and "aac sound" in told.stdout
    assert told.stderr == ""
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
    assert frames(tmp_path / "out.mkv") == 12


def test_a_folder_gets_the_ladder_of_one_input(run: Run, clip: Path, tmp_path: Path) -> None:
    told = run(clip, "-o", f"{tmp_path}/out/")
    assert told.exit_code == 0, told.output
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.m3u8", "source", "32p", "audio"} <= made


def test_a_folder_gets_one_file_for_each_of_several(run: Run, clip: Path, tmp_path: Path) -> None:
    second = synthetic_clip(tmp_path / "second.mkv", width=64, height=48, frames=5, audio=None)
    third = synthetic_clip(tmp_path / "third.avi", width=64, height=48, frames=5, audio=None)
    told = run(clip, second, third, "-o", f"{tmp_path}/out/")
    assert told.exit_code == 0, told.output
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["clip.mp4", "second.mkv", "third.mp4"]
    assert "second.mkv" in told.stdout and "no sound" in told.stdout


def test_the_input_that_fails_does_not_stop_the_others(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    report = tmp_path / "r.json"
    inputs = (tmp_path / "broken.mp4", tmp_path / "gone.mp4", clip)
    told = run(*inputs, "-o", f"{tmp_path}/out/", "--report", report)
    assert told.exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    first, second, last = told.stderr.splitlines()
    assert "broken.mp4: " in first
    assert second == f"streamgen: {tmp_path}/gone.mp4: no such file"
    assert last == "streamgen: 2 of 3 inputs failed"
    rows = json.loads(report.read_text())
    assert [("error" in row, row["name"].rpartition("/")[2]) for row in rows] == [
        (True, "broken.mp4"),
        (True, "gone.mp4"),
        (False, "clip.mp4"),
    ]


def test_two_inputs_never_become_one_file(run: Run, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(clip, other / clip.name)
    told = run(clip, other / clip.name, "-o", f"{tmp_path}/out/")
    assert told.exit_code == 2
    assert "would both become" in told.stderr
    told = run(clip, other / clip.name, "-o", tmp_path / "out.mp4")
    assert told.exit_code == 2
    assert "2 inputs cannot become the one file" in told.stderr


def test_what_a_ladder_does_not_carry_is_said(run: Run, clip: Path, tmp_path: Path) -> None:
    titled = tmp_path / "titled.mkv"
    with av.open(str(clip)) as source, av.open(str(titled), "w") as made:
        made.metadata["title"] = "Holiday"
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    told = run(titled, "-o", f"{tmp_path}/out/")
    assert told.exit_code == 0, told.output
    assert "titled.mkv: title and other tags" in told.stdout
    told = run(titled, "-o", tmp_path / "out.mkv")
    assert "title" not in told.stdout.replace("titled", "")
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert made.metadata["title"] == "Holiday"


def test_the_report_says_what_was_done(run: Run, clip: Path, tmp_path: Path) -> None:
    report, metrics = tmp_path / "r.json", tmp_path / "m.txt"
    told = run(clip, "-o", f"{tmp_path}/out/", "--report", report, "--metrics", metrics)
    assert told.exit_code == 0, told.output
    said = json.loads(report.read_text())
    assert said["frames_in"] == said["frames_out"] == 12
    assert [rung["name"] for rung in said["rungs"]] == ["source", "32p"]
    assert said["audio"]["codec"] == "aac"
    assert "streamgen_step_seconds_count" in metrics.read_text()


def test_a_report_that_could_not_be_written_is_refused_before_the_work(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    told = run(clip, "-o", tmp_path / "out.mp4", "--report", tmp_path / "gone" / "r.json")
    assert told.exit_code == 1
    assert not (tmp_path / "out.mp4").exists()


def test_values_of_the_pipeline_can_be_set(run: Run, clip: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    told = run(clip, "-o", tmp_path / "o.mp4", "--set", "audio.codec=none", "--report", report)
    assert told.exit_code == 0, told.output
    assert json.loads(report.read_text())["audio"] is None


def two_tracks(path: Path, clip: Path) -> Path:
    """The clip's sound twice."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as made:
        picture, sound = source.streams.video[0], source.streams.audio[0]
        targets = [made.add_stream_from_template(s) for s in (picture, sound, sound)]
        for packet in source.demux(picture, sound):
            if packet.dts is None:
                continue
            for target in targets[:1] if packet.stream is picture else targets[1:]:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.duration = packet.is_keyframe, packet.duration
                copy.stream = target
                made.mux(copy)
    return path


@pytest.mark.parametrize(("choice", "number"), [("first", 1), ("all", 2), ("none", 0)])
def test_audio_tracks_are_chosen(
    run: Run, clip: Path, tmp_path: Path, choice: str, number: int
) -> None:
    both = two_tracks(tmp_path / "both.mkv", clip)
    told = run(both, "-o", tmp_path / "out.mp4", "--audio", choice)
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert len(made.streams.audio) == number
    assert told.stdout.count("left out") == 2 - number


def test_an_existing_output_is_kept_unless_told_otherwise(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    told = run(clip, "-o", out)
    assert (told.exit_code, out.read_bytes()) == (1, b"mine")
    assert len(told.stderr.splitlines()) == 1
    assert run(clip, "-o", out, "--overwrite").exit_code == 0
    assert frames(out) == 12


def test_resume_skips_only_what_is_the_same(run: Run, clip: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "out.mp4", tmp_path / "out.mkv", f"{tmp_path}/out/"):
        assert run(clip, "-o", output).exit_code == 0
        again = run(clip, "-o", output, "--resume")
        assert again.exit_code == 0 and "made already, skipped" in again.stdout
        other = run(clip, "-o", output, "--resume", "--set", "encoder.preset=veryfast")
        assert other.exit_code == 1 and "exists" in other.stderr
        other = run(
            clip, "-o", output, "--resume", "--overwrite", "--set", "encoder.preset=veryfast"
        )
        assert other.exit_code == 0 and "frames in" in other.stdout


@pytest.mark.parametrize(
    "name",
    ["two\nlines.mp4", "-dash.mp4", "a:b.mp4", "100%.mp4", "[x].mp4", "--set.mp4", "\udcff.mp4"],
)
def test_any_file_name_works(
    plain: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(clip, tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path / "in")
    out = tmp_path / "out" / name
    files = ["--report", str(tmp_path / "r.json"), "--metrics", str(tmp_path / "m.txt")]
    told = CliRunner().invoke(app, ["run", "-o", str(out), *files, "--", plain, name])
    assert told.exit_code == 0, told.output
    assert len(told.stdout.splitlines()) == 1, told.stdout
    assert frames(out) == 12


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_a_file_is_written_in_fragments_when_asked(
    run: Run, clip: Path, tmp_path: Path, name: str
) -> None:
    assert run(clip, "-o", tmp_path / name, "--fragmented").exit_code == 0
    assert b"moof" in (tmp_path / name).read_bytes()
    assert frames(tmp_path / name) == 12
    assert "made already" in run(clip, "-o", tmp_path / name, "--fragmented", "--resume").stdout
    assert "exists" in run(clip, "-o", tmp_path / name, "--resume").stderr


def test_what_cannot_be_fragmented_is_refused_before_the_work(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    second = synthetic_clip(tmp_path / "second.mkv", width=64, height=48, frames=2, audio=None)
    for arguments in (
        (clip, "-o", tmp_path / "new" / "out.mkv"),
        (clip, "-o", f"{tmp_path}/new/"),
        (clip, second, "-o", f"{tmp_path}/new/"),
    ):
        told = run(*arguments, "--fragmented")
        assert told.exit_code == 2
        assert "--fragmented is for MP4 files" in told.stderr
    assert not (tmp_path / "new").exists()


def test_a_file_url_is_the_file(run: Run, clip: Path, tmp_path: Path) -> None:
    before = clip.read_bytes()
    told = run(clip.as_uri(), "-o", clip, "--overwrite")
    assert told.exit_code == 1 and "overwrite the input" in told.stderr
    assert clip.read_bytes() == before
    assert run(clip.as_uri(), "-o", tmp_path / "out.mp4").exit_code == 0
    assert "made already" in run(clip, "-o", tmp_path / "out.mp4", "--resume").stdout
    assert "made already" in run(clip.as_uri(), "-o", tmp_path / "out.mp4", "--resume").stdout


def test_a_pipe_gives_all_that_went_in(run: Run, tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.ts", width=96, height=64, frames=30, audio=None)
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    data = clip.read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
    writer.start()
    told = run(pipe, "-o", tmp_path / "out.mp4")
    writer.join(10)
    assert told.exit_code == 0, told.output
    assert frames(tmp_path / "out.mp4") == 30


def test_the_last_line_tells_what_came_to_harm(run: Run, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    run(clip, "-o", tmp_path / "out.mp4", "--report", path)
    report = Report.model_validate_json(path.read_bytes())
    assert "lost" not in summary(report) and "damaged" not in summary(report)
    harmed = {"dropped": {"decode": 2, "undecodable": 1, "fps_cap": 7}, "corrupt": {"decode": 25}}
    told = summary(report.model_copy(update=harmed))
    assert "fps); 3 pictures lost, 25 damaged, 7 dropped (fps_cap); source " in told
    told = summary(report.model_copy(update={"dropped": {"decode": 1}}))
    assert "fps); 1 picture lost; source " in told


def test_a_track_without_a_sample_is_no_sound(run: Run, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    run(clip, "-o", tmp_path / "out.mp4", "--report", path)
    report = Report.model_validate_json(path.read_bytes())
    assert report.audio is not None and summary(report).endswith("; aac sound")
    silent = report.audio.model_copy(update={"samples": 0})
    assert summary(report.model_copy(update={"audio": silent})).endswith("; no sound")
