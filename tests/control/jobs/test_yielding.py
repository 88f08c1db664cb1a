"""Who makes pieces of jobs takes only what everything else on the machine leaves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streamgen.control.chunks.child import Order
from streamgen.control.chunks.chunked import InPieces, plan_pieces
from streamgen.control.chunks.crew import Crew
from streamgen.control.chunks.folder import Planned, Workplace
from streamgen.control.jobs import joining
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.jobs.working import Workshop
from streamgen.control.offline import Choices, Job
from streamgen.control.store import Store
from streamgen.ingest.container import open_source
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, LEAST_NS, child_processes, pipeline

pytestmark = pytest.mark.skipif(
    not hasattr(os, "SCHED_IDLE"), reason="this system has no such policy"
)
POLICY = 41 - 3
"""Of the fields behind the name in /proc/PID/stat; see proc_pid_stat(5)."""


def policies(pid: int) -> dict[int, int]:
    """Of every thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            stat = (task / "stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        found[int(task.name)] = int(stat.rpartition(")")[2].split()[POLICY])
    return found


def weight(pid: int) -> str | None:
    """Niceness of the session of a process; None where sessions are not weighed."""
    try:
        weighed = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
        return Path(f"/proc/{pid}/autogroup").read_text().split()[-1] if weighed else None
    except OSError:
        return None


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("yielding") / "in.mp4"
    return synthetic_clip(path, width=192, height=128, frames=500)


@pytest.mark.parametrize("codec", ["x264", "svt-av1"])
@pytest.mark.parametrize("yields", [True, False])
def test_every_thread_of_a_process_that_yields_comes_behind_all_others(
    yields: bool, codec: str, clip: Path, tmp_path: Path
) -> None:
    work = pipeline(
        stages=[{"style": {"model": "starry"}}],
        ladder=[{"height": "source", "bitrate": "400k", "codec": codec}],
    )
    how = InPieces(work, Job(str(clip), tmp_path / "out.mp4", ladder=False), Choices(), 1, LEAST_NS)
    with Workplace(tmp_path / "out.mp4") as place:
        source = open_source(str(clip))
        planned = plan_pieces(how, "", source)
        source.close()
        assert isinstance(planned, Planned)
        place.save(planned)
        order = Order(work, str(clip), place.path, True, processors=(), identity="", yields=yields)
        crew = Crew(order, planned.chunks[:1], 1)
        running = threading.Thread(target=crew.run)
        running.start()
        seen: dict[int, int] = {}
        while running.is_alive():  # most threads are there while it encodes
            for pid in crew.pids:
                now, weighed = policies(pid), weight(pid)
                if len(now) > len(seen):
                    seen, session = now, weighed
            time.sleep(0.01)
        running.join()
        place.remove()
    assert len(seen) > 8, "of decoder, network and encoder"
    assert set(seen.values()) == {os.SCHED_IDLE if yields else os.SCHED_OTHER}
    assert session in (None, "19" if yields else "0")


def test_pieces_of_jobs_are_made_by_processes_that_yield(clip: Path, tmp_path: Path) -> None:
    seen: dict[int, dict[int, int]] = {}

    async def work() -> None:
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", lambda: 1) as store:
            output = str(tmp_path / "out.mp4")
            order = JobOrder(pipeline=FAST, input=str(clip), output=output, ladder=False)
            await submit(store, order, now_ms=1)
            working = asyncio.create_task(Workshop(store, "one", processes=1, wait=False).run())
            while not working.done():
                seen.update({pid: policies(pid) for pid in child_processes()})
                await asyncio.sleep(0.01)
            await working

    asyncio.run(work())
    assert seen
    last = [policy for threads in seen.values() for policy in threads.values()]
    assert set(last) == {os.SCHED_IDLE}


def test_who_joins_a_job_yields_and_ends_with_its_parent() -> None:
    line = [sys.executable, "-m", joining.MODULE, joining.YIELD]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    while process.poll() is None and set(policies(process.pid).values()) != {os.SCHED_IDLE}:
        time.sleep(0.01)
    assert process.poll() is None
    process.stdin.close()
    process.wait()
