"""`--report`, `--metrics` and `--trace` never replace what matters, and say so before the work."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from streamgen.testing import synthetic_clip

from .conftest import STREAMGEN, Run


def refused(told: object, reason: str) -> None:
    assert told.exit_code == 1, told.output  # type: ignore[attr-defined]
    assert reason in told.stderr  # type: ignore[attr-defined]
    assert len(told.stderr.splitlines()) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["--report", "--metrics", "--trace"])
@pytest.mark.parametrize("kind", ["itself", "symbolic", "hard", "url"])
def test_an_input_is_not_overwritten(
    run: Run, clip: Path, tmp_path: Path, option: str, kind: str
) -> None:
    before, place = clip.read_bytes(), tmp_path / "place"
    if kind == "symbolic":
        place.symlink_to(clip)
    elif kind == "hard":
        os.link(clip, place)
    else:
        place = clip
    given = clip.as_uri() if kind == "url" else clip
    refused(run(given, "-o", tmp_path / "out.mp4", option, place), "is an input")
    assert clip.read_bytes() == before
    assert not (tmp_path / "out.mp4").exists()


def test_one_of_several_inputs_is_not_overwritten(run: Run, clip: Path, tmp_path: Path) -> None:
    other = synthetic_clip(tmp_path / "other.mp4", width=64, height=48, frames=2, audio=None)
    before = other.read_bytes()
    refused(run(clip, other, "-o", f"{tmp_path}/out/", "--report", other), "is an input")
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "place"),
    [("out.mp4", "out.mp4"), ("out.mp4", "x/../out.mp4"), ("out/", "out"), ("out/", "out/r.json")],
)
def test_an_output_is_not_overwritten(
    run: Run, clip: Path, tmp_path: Path, output: str, place: str
) -> None:
    (tmp_path / "x").mkdir()
    if place.startswith("out/"):
        (tmp_path / "out").mkdir()
    told = run(clip, "-o", f"{tmp_path}/{output}", "--report", f"{tmp_path}/{place}")
    refused(told, "belongs to the output")
    assert not list(tmp_path.glob("out/*"))


def test_the_pipeline_is_not_overwritten(run: Run, plain: str, clip: Path, tmp_path: Path) -> None:
    before = Path(plain).read_text()
    refused(run(clip, "-o", tmp_path / "out.mp4", "--report", plain), "is the pipeline")
    assert Path(plain).read_text() == before


def test_report_and_metrics_are_two_files(run: Run, clip: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    told = run(clip, "-o", tmp_path / "out.mp4", "--report", both, "--metrics", both)
    refused(told, "cannot both be")
    told = run(clip, "-o", tmp_path / "out.mp4", "--report", both, "--trace", both)
    refused(told, "cannot both be")
    assert not both.exists()


def test_a_trace_shows_what_each_step_did_with_each_frame(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    told = run(clip, "-o", tmp_path / "out.mp4", "--trace", tmp_path / "t.json")
    assert told.exit_code == 0, told.output
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    titles = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    pts: dict[str, list[int]] = {}
    for event in events:
        assert event["ph"] in {"M", "X", "i"}
        if event["ph"] == "X":
            assert event["ts"] >= 0 and event["dur"] >= 0
            pts.setdefault(titles[event["tid"]], []).append(event["args"]["pts"])
    assert {"decode", "scale", "deliver"} < pts.keys()
    assert len(pts["decode"]) == len(pts["scale"]) == 12
    assert set(pts["scale"]) == set(pts["decode"])
    assert any(title.startswith("encode/") for title in pts)


def test_what_is_no_file_is_refused_before_the_work(run: Run, clip: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for place, reason in (("pipe", "is no regular file"), ("folder", "is a folder")):
        refused(run(clip, "-o", tmp_path / "out.mp4", "--report", tmp_path / place), reason)
    assert not (tmp_path / "out.mp4").exists()


def test_an_older_report_is_replaced(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("old")
    told = run(clip, "-o", tmp_path / "out.mp4", "--report", tmp_path / "r.json")
    assert told.exit_code == 0, told.output
    assert json.loads((tmp_path / "r.json").read_text())["frames_out"] == 12


def test_the_report_can_go_to_standard_output_or_nowhere(
    plain: str, clip: Path, tmp_path: Path
) -> None:
    options = ["--report", "/dev/stdout", "--metrics", "/dev/null"]
    command = [*STREAMGEN, "run", plain, str(clip), "-o", str(tmp_path / "out.mp4"), *options]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout[told.stdout.index("{") :])["frames_out"] == 12
    assert Path("/dev/null").is_char_device()
    with (tmp_path / "log").open("w") as log:
        subprocess.run([*command, "--overwrite"], stdout=log, check=True)
    text = (tmp_path / "log").read_text()
    assert "12 frames in" in text and json.loads(text[text.index("{") :])["frames_out"] == 12
