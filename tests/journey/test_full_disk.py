"""An offline output on a disk that fills, or that cannot be written, leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.errors import OutputError
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.opening import open_session
from streamgen.report import Report
from streamgen.session import run
from streamgen.testing import synthetic_clip
from tests.disks import read_only, small_disk
from tests.journey.test_file_to_ladder import pipeline

Carry = Callable[..., Report]
SMALL_BYTES = 64 << 10


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return synthetic_clip(tmp_path / "in.mp4", width=320, height=240, frames=75)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", SMALL_BYTES) as place:
        yield place


def written(carry: Carry, clip: Path, place: Path, kind: str) -> None:
    if kind == "hls":
        carry(pipeline(), clip, hls=[place / "out"])
    else:
        carry(pipeline(), clip, place / f"out.{kind}")


@pytest.mark.parametrize("kind", ["mp4", "mkv", "hls"])
def test_a_disk_that_fills_is_told_and_keeps_no_part_of_the_output(
    clip: Path, disk: Path, carry: Carry, kind: str
) -> None:
    with pytest.raises(OutputError, match="no space left on device"):
        written(carry, clip, disk, kind)
    assert os.listdir(disk) == []


@pytest.mark.parametrize("kind", ["mp4", "mkv", "hls"])
def test_a_disk_that_cannot_be_written_is_told_before_anything_is_decoded(
    clip: Path, disk: Path, carry: Carry, kind: str
) -> None:
    read_only(disk)
    with pytest.raises(OutputError, match=r"cannot write .*out.*: read-only file system"):
        written(carry, clip, disk, kind)
    assert os.listdir(disk) == []


def test_what_was_there_before_outlives_a_disk_that_fills(
    clip: Path, disk: Path, carry: Carry, lane: Lane
) -> None:
    short = synthetic_clip(clip.with_name("short.mp4"), width=64, height=48, frames=5, audio=None)
    carry(pipeline(), short, disk / "out.mp4")
    before = (disk / "out.mp4").read_bytes()
    again = FileOutlet(disk / "out.mp4", overwrite=True)
    with (
        open_session(pipeline(), open_source(str(clip)), [again], lane=lane) as session,
        pytest.raises(OutputError, match="no space left on device"),
    ):
        run(session)
    assert os.listdir(disk) == ["out.mp4"] and (disk / "out.mp4").read_bytes() == before
