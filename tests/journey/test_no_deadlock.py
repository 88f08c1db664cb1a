"""Sound far from its picture, slow models and pipes: every run ends, and nothing is lost.

Each test has a watchdog; a deadlock fails it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.media.port import PICTURE
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Value
from streamgen.report import Report, measure
from streamgen.session import run
from streamgen.telemetry import Telemetry
from streamgen.testing import synthetic_clip

pytestmark = pytest.mark.timeout(60)
UNMIXED = {"max_interleave_delta": "1"}
SMALL: dict[str, Any] = {"width": 64, "height": 48}


def pipeline() -> Pipeline:
    return Pipeline.model_validate(
        {"name": "t", "ladder": [{"height": "source", "bitrate": "99k"}]}
    )


def lengths(path: Path) -> tuple[int, float, float]:
    """Pictures; first and last moment in seconds at which anything is heard."""
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    heard = []
    with av.open(str(path)) as container:
        for block in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(block.to_ndarray()[0]) > 0.02)
            start = float(block.pts * block.time_base)
            heard += [start + at / block.sample_rate for at in loud[[0, -1]]] if loud.size else []
    return pictures, heard[0], heard[-1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("frames", "rate", "audio_s", "start_s"),
    [
        pytest.param(250, 25, 10.0, 0.0, id="all audio after all video"),
        pytest.param(110, 5, 2.0, 20.0, id="audio 20 s late"),
        pytest.param(50, 25, 32.0, 0.0, id="audio 30 s longer"),
        pytest.param(165, 5, 3.0, 0.0, id="audio 30 s shorter"),
    ],
)
def test_sound_far_from_its_picture_arrives_whole(
    tmp_path: Path,
    carry: Callable[..., Report],
    suffix: str,
    frames: int,
    rate: int,
    audio_s: float,
    start_s: float,
) -> None:
    clip = synthetic_clip(
        tmp_path / "in.mkv",
        frames=frames,
        rate=rate,
        audio_s=audio_s,
        audio_start_s=start_s,
        container_options=UNMIXED,
        **SMALL,
    )
    out = tmp_path / f"x{suffix}"
    report = carry(pipeline(), clip, out)
    pictures, begins, ends = lengths(out)
    assert pictures == report.frames_out == frames
    assert begins == pytest.approx(start_s, abs=0.02)
    assert ends == pytest.approx(start_s + audio_s, abs=0.02)


class Slow:
    """A model of one picture per second."""

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        time.sleep(1.0)
        return {PICTURE: inputs[PICTURE]}

    def reset(self) -> None: ...

    def close(self) -> None: ...


def test_a_model_of_one_frame_per_second_with_late_sound(tmp_path: Path, lane: Lane) -> None:
    clip = synthetic_clip(
        tmp_path / "in.mkv",
        frames=6,
        rate=2,
        audio_s=1.0,
        audio_start_s=2.0,
        container_options=UNMIXED,
        **SMALL,
    )
    outlet = FileOutlet(tmp_path / "x.mp4")
    session = open_session(pipeline(), open_source(str(clip)), [outlet], lane=lane)
    session.graph = Graph.chain([("slow", Slow(), None)], Telemetry())
    with session:
        run(session)
        assert measure(session).frames_out == 6
    assert lengths(tmp_path / "x.mp4")[0] == 6


def test_a_pipe_that_cannot_seek(tmp_path: Path, carry: Callable[..., Report]) -> None:
    clip = synthetic_clip(tmp_path / "in.mkv", frames=50, **SMALL)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        with open(pipe, "wb") as sink:
            sink.write(clip.read_bytes())

    feeder = threading.Thread(target=feed)
    feeder.start()
    report = carry(pipeline(), pipe, tmp_path / "x.mp4")
    feeder.join()
    assert report.frames_out == 50
    assert lengths(tmp_path / "x.mp4")[0] == 50
