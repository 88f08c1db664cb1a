"""Jobs made whole and in pieces, and how their outputs are compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streamgen.control.chunks.child import MODULE
from streamgen.control.chunks.chunked import Following, carry_in_pieces
from streamgen.control.offline import Choices, Job, carry
from streamgen.graph.lane import Lane
from streamgen.pipeline import Pipeline, parse_pipeline
from streamgen.report import Report
from streamgen.session import Session
from streamgen.telemetry import Telemetry

LEAST_NS = 2_000_000_000
FAST = {
    "name": "fast",
    "ladder": [{"height": "source", "bitrate": "400k"}],
    "keyframe_interval": "1s",
    "encoder": {"preset": "ultrafast"},
}


@dataclass
class Listener:
    """An audience that keeps what it hears."""

    notes: list[str] = field(default_factory=list)
    pieces: int = 1

    @contextmanager
    def watching(self, job: Job, session: Session, telemetry: Telemetry) -> Iterator[None]:
        yield
        self.notes += session.notes

    @contextmanager
    def following(self, job: Job, run: Following) -> Iterator[None]:
        self.pieces = run.pieces
        yield
        self.notes += run.notes


def pipeline(**changes: Any) -> Pipeline:
    return parse_pipeline(FAST | changes)


def whole(work: Pipeline, clip: Path, output: Path, choices: Choices | None = None) -> Report:
    """Made by one process, uncut."""
    job = Job(str(clip), output, ladder=not output.suffix)
    with Lane() as lane:
        outcome = carry(work, job, choices or Choices(), Listener(), lane)
    assert outcome.report is not None
    return outcome.report


def in_pieces(
    work: Pipeline,
    clip: Path,
    output: Path,
    choices: Choices | None = None,
    listener: Listener | None = None,
) -> Report:
    """Made by two processes."""
    job = Job(str(clip), output, ladder=not output.suffix)
    with Lane() as lane:
        outcome = carry_in_pieces(
            work,
            job,
            choices or Choices(),
            listener or Listener(),
            lane,
            jobs=2,
            least_ns=LEAST_NS,
        )
    assert outcome.report is not None
    return outcome.report


def child_processes(parent: int | None = None) -> list[int]:
    """Processes that make pieces for this one, or for `parent`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if MODULE.encode() in line and int(stat.rpartition(")")[2].split()[1]) == (
            parent or os.getpid()
        ):
            found.append(int(entry.name))
    return found


Times = list[tuple[int | None, int | None, int, bool]]


def packets(path: Path, kind: str = "video") -> Times:
    """Times of every packet of the first track of this kind."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        if not streams:
            return []
        units = container.demux(streams[0])
        return [(u.pts, u.dts, u.duration or 0, u.is_keyframe) for u in units if u.size]


def pictures(path: Path) -> list[NDArray[np.float32]]:
    """Every picture, decoded; damage is an error."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {"err_detect": "explode"}
        decoded = list(container.decode(video=0))
    assert not any(picture.is_corrupt for picture in decoded)
    return [picture.to_ndarray(format="gray").astype(np.float32) for picture in decoded]


def worst_db(one: Path, other: Path) -> float:
    """PSNR of the pair of pictures that are least alike."""
    pairs = list(zip(pictures(one), pictures(other), strict=True))
    errors = [float(np.mean((a - b) ** 2)) for a, b in pairs]
    return float(10 * np.log10(255**2 / max(1e-3, *errors)))


def left_over(folder: Path) -> list[str]:
    """Hidden names in a folder: what a run left behind."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
