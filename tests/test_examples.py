"""The example plugins, installed as anybody's, in pipelines that run from a file to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.pipeline import load_pipeline
from tests.conftest import ROOT, Install

EXAMPLES = ROOT / "examples"


@pytest.fixture
def examples(install: Install) -> None:
    install("streamgen-tint", tint="streamgen_tint:Tint")
    install("streamgen-face-mask", face_mask="streamgen_face_mask:FaceMask")


def clip_with_a_face(path: Path) -> Path:
    """A second of a drawn face on grey, without colour."""
    faces = pytest.importorskip("test_face_mask", reason="opencv-python-headless is not installed")
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for number in range(10):
            planes = [plane.array() for plane in faces.drawn(320, 240, (90, 120, 45)).planes]
            shell = av.VideoFrame.from_dlpack(
                tuple(planes), format="yuv420p", width=320, height=240
            )
            shell.pts = number
            container.mux(video.encode(shell))
        container.mux(video.encode(None))
    return path


GRAPH = """\
name: warm
graph:
  warm: {tint: {warmth: 1.0}, from: source}
  faces: {face-mask: {grow: 4}, from: source, every: 200ms, isolation: ISOLATION}
  out:
    mask: {soft: 4}
    from:
      picture: warm
      keep: source
      mask: {node: faces, edge: latest, max_age: 500ms}
output: out
ladder: [{height: source, bitrate: 1M}]
"""


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_faces_stay_as_they_are_while_the_world_is_tinted(
    examples: None, tmp_path: Path, isolation: str
) -> None:
    clip = clip_with_a_face(tmp_path / "clip.mp4")
    pipeline, out = tmp_path / "warm.yaml", tmp_path / "out.mp4"
    pipeline.write_text(GRAPH.replace("ISOLATION", isolation))
    told = CliRunner().invoke(
        app,
        ["run", str(pipeline), str(clip), "-o", str(out), "--report", str(tmp_path / "r.json")],
    )
    assert told.exit_code == 0, told.output
    with av.open(str(out)) as container:
        pictures = [frame.to_ndarray(format="yuv444p") for frame in container.decode(video=0)]
    assert len(pictures) == 10
    for picture in pictures:
        red = picture[2].astype(np.int16)  # the plane of red against luma
        assert abs(int(np.median(red[100:140, 70:110])) - 128) < 8
        assert abs(int(np.median(red[:, 220:])) - 168) < 8
    report = json.loads((tmp_path / "r.json").read_text())
    frames = {stage["name"]: stage["frames"] for stage in report["stages"]}
    assert frames["faces"] == 5  # at ten a second, every other one


def test_the_pipeline_of_the_face_mask_is_valid(examples: None) -> None:
    plan = load_pipeline(str(EXAMPLES / "face-mask" / "faces.yaml")).plan()
    assert [node.name for node in plan.nodes] == ["painted", "faces", "out"]


def test_the_twenty_lines_pass_the_check_they_recommend(examples: None) -> None:
    told = CliRunner().invoke(app, ["plugins", "check", "streamgen-tint"])
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize("folder", ["tint", "face-mask"])
def test_an_example_installs_only_its_module(folder: str) -> None:
    text = (EXAMPLES / folder / "pyproject.toml").read_text()
    module = next((EXAMPLES / folder).glob("streamgen_*.py"))
    assert f'only-include = ["{module.name}"]' in text
    assert f'"{module.stem}:' in text or f"{module.stem}:" in text
