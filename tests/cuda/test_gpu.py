"""A GPU that is not there is a `DeviceError` in one line; and with one, a clip goes through it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgen.graph.lane import Lane
from streamgen.protocols import Hardware
from streamgen.testing import FakeEngines, synthetic_clip
from tests.gpus import open_gpu
from tests.journey.test_device import RUNGS, carried, decoded, inverted, psnr, told

PROGRAM = """
from pathlib import Path
from streamgen.errors import DeviceError
from streamgen.plugins import find
try:
    find("hardware", "cuda")(0, Path({cache!r}), "bicubic")
except DeviceError as error:
    print(error)
"""


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane() as lane:
        yield lane


@pytest.fixture
def hardware() -> Hardware:
    return open_gpu()


def test_a_gpu_that_does_not_start_is_an_error_in_one_line(tmp_path: Path) -> None:
    """In a process of its own, in which CUDA shows nothing."""
    pytest.importorskip("cuda.core", reason="needs cuda-core (the extra gpu)")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(cache=str(tmp_path))],
        capture_output=True,
        text=True,
        timeout=60,
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.startswith("cuda:0: ")
    assert done.stdout.count("\n") == 1


@pytest.mark.gpu
def test_a_clip_goes_through_a_gpu_as_through_the_processor(
    lane: Lane, hardware: Hardware, tmp_path: Path
) -> None:
    """Whatever the GPU has: a rung that it does not encode is one copy to the host."""
    clip = synthetic_clip(tmp_path / "in.mp4", width=328, height=246, frames=60, b_frames=2)
    wanted, _ = carried(lane, clip, FakeEngines(inverted), painted=False)
    basket, report = carried(lane, clip, FakeEngines(inverted), hardware, painted=False)
    on_host = sum("is encoded on the processor" in note for note in report.notes)
    assert report.copies == ({"to host": 3 * 60 * on_host} if on_host else {})
    for rung in RUNGS:
        assert [p.pts for p in basket.of(f"video/{rung}")]
        if on_host == len(RUNGS):
            assert told(basket.of(f"video/{rung}")) == told(wanted.of(f"video/{rung}"))
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38


@pytest.mark.gpu
def test_opening_and_closing_leaves_nothing_on_the_gpu(
    lane: Lane, hardware: Hardware, tmp_path: Path
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", frames=4, audio=None)
    for _ in range(20):
        carried(lane, clip, FakeEngines(inverted), hardware, painted=False)
    settled = hardware.pool.allocated  # type: ignore[attr-defined]
    for _ in range(80):
        carried(lane, clip, FakeEngines(inverted), hardware, painted=False)
    assert hardware.pool.allocated == settled  # type: ignore[attr-defined]
