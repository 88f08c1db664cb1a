"""Workers of jobs are killed; `benchmarks/soak/killed_jobs.py` does that for hours."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.jobs.working import TTL_MS, Workshop
from streamgen.control.store import Job, Store
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, child_processes, left_over, packets, pipeline, whole

FRAMES = 260
WITHIN_S = 100
LADDER = FAST | {"ladder": [{"height": 64, "bitrate": "300k"}, {"height": 32, "bitrate": "99k"}]}


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def later_ms() -> int:
    """When what the dead held is free."""
    return wall_ms() + 2 * TTL_MS


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.002)


@pytest.mark.parametrize("over", ["a piece", "a join"])
def test_what_a_worker_has_left_behind_becomes_the_output_of_an_uncut_run(
    over: str, tmp_path: Path
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=96, height=64, frames=FRAMES, b_frames=2)
    whole(pipeline(**LADDER), clip, tmp_path / "whole")
    output, url = tmp_path / "out", f"sqlite:///{tmp_path / 'state.db'}"
    order = JobOrder(pipeline=LADDER, input=str(clip), output=str(output), ladder=True)

    async def submitted() -> Job:
        async with Store(url, wall_ms) as store:
            return await submit(store, order, now_ms=wall_ms())

    job = asyncio.run(submitted())
    line = [sys.executable, "-m", "streamgen.cli", "jobs", "work", "--no-yield", "--store", url]
    with subprocess.Popen([*line, "--processes", "2"], stdout=subprocess.DEVNULL) as worker:
        if over == "a piece":
            until(lambda: child_processes(worker.pid))
        else:
            until(lambda: output.exists() or any(tmp_path.glob(".*-partial-*")))
        children = child_processes(worker.pid)
        worker.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))

    async def worked() -> Job | None:
        async with Store(url, later_ms) as store:
            await Workshop(store, "another", processes=2, wait=False, yields=False).run()
            return await store.one(Job, job.name)

    after = asyncio.run(worked())
    assert after is not None and after.state == "done", after
    for part, kind in (("64p", "video"), ("32p", "video"), ("audio/0", "audio")):
        playlist = f"{part}/index.m3u8"
        assert packets(output / playlist, kind) == packets(tmp_path / "whole" / playlist, kind)
        assert (output / playlist).read_text() == (tmp_path / "whole" / playlist).read_text()
    assert left_over(tmp_path) == []
