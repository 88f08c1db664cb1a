"""Graphs with conversions and rates of their own, from a file to a file."""

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
from streamgen.plugins import pipeline_files
from tests.conftest import Install

HERE = "tests.testing.stages"
GRAPH = """\
name: halves
graph:
  swapped: {swap: {}, from: source}
  half: {left-half: {}, from: source, every: 200ms, isolation: ISOLATION}
  out:
    mask: {soft: 0}
    from:
      picture: source
      keep: swapped
      mask: {node: half.boxes, edge: latest, max_age: 500ms}
ladder: [{height: source, bitrate: 2M}]
"""


def orange(path: Path, frames: int) -> Path:
    """A clip of one colour, orange."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=20, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        picture = np.full((96, 128, 3), (230, 120, 20), np.uint8)
        for _ in range(frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_values_are_converted_between_stages_of_every_kind(
    install: Install, tmp_path: Path, isolation: str
) -> None:
    install(swap=f"{HERE}:SwapsChannels", left_half=f"{HERE}:LeftHalf")
    pipeline, out, told = (tmp_path / name for name in ("p.yaml", "out.mp4", "report.json"))
    pipeline.write_text(GRAPH.replace("ISOLATION", isolation))
    shown = CliRunner().invoke(app, ["pipelines", "check", str(pipeline)]).stdout
    assert "converts rgb(source), picture(swapped), mask(half); 1 rung)" in shown
    clip = orange(tmp_path / "clip.mp4", 20)
    run = ["run", str(pipeline), str(clip), "-o", str(out), "--report", str(told)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    with av.open(str(out)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 20
    for picture in pictures:
        left, right = (np.median(half, (0, 1)) for half in (picture[:, 8:56], picture[:, 72:120]))
        assert np.abs(left - (20, 120, 230)).max() < 12, left
        assert np.abs(right - (230, 120, 20)).max() < 12, right
    frames = {stage["name"]: stage["frames"] for stage in json.loads(told.read_text())["stages"]}
    assert (frames["half"], frames["mask(half)"], frames["swapped"]) == (5, 5, 20)


GRAPHS = [name for name in sorted(pipeline_files()) if load_pipeline(name).graph]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_ready_made_graph_runs(name: str, tmp_path: Path) -> None:
    clip, out = orange(tmp_path / "clip.mp4", 6), tmp_path / "out.mp4"
    done = CliRunner().invoke(app, ["run", name, str(clip), "-o", str(out)])
    assert done.exit_code == 0, done.output
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
