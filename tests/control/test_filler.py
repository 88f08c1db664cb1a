"""Nodes of a cluster make pieces of jobs in what their streams leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from streamgen.control import filler as filler_module
from streamgen.control.coordinator.events import Running
from streamgen.control.filler import MODULE, Filler, Room, room, taken
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.control.store import Job, Store
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, left_over, packets, pipeline, whole

WITHIN_S = 300.0
NODE = Resources(cpu_ms=8000, memory_mb=4000)


@pytest.mark.parametrize(
    ("streams", "beside"),
    [
        (Resources(), Room(4, 6)),
        (Resources(cpu_ms=100, memory_mb=300), Room(4, 6)),
        (Resources(cpu_ms=4000, memory_mb=600), Room(2, 5)),
        (Resources(cpu_ms=6500, memory_mb=600), Room(1, 5)),
        (Resources(cpu_ms=7300, memory_mb=600), Room(0, 5)),
        (Resources(cpu_ms=1000, memory_mb=3000), Room(1, 1)),
        (Resources(cpu_ms=1000, memory_mb=3500), Room(0, 0)),
        (Resources(cpu_ms=9000, memory_mb=9000), Room(0, 0)),
    ],
)
def test_the_more_streams_take_the_fewer_pieces_there_are(streams: Resources, beside: Room) -> None:
    assert room(NODE, streams) == beside


def test_a_small_machine_makes_one_piece_where_nothing_else_runs() -> None:
    small = Resources(cpu_ms=1000, memory_mb=500)
    assert room(small, Resources()) == Room(1, 1)
    assert room(small, Resources(cpu_ms=10, memory_mb=10)) == Room(0, 0)


def test_streams_take_what_was_promised_to_them() -> None:
    needs = Resources(cpu_ms=900, memory_mb=300), Resources(cpu_ms=100, memory_mb=200)
    work = Work("s", Profile("p", needs), Standing.LIVE_FREE)
    both = [Running(work, 1), Running(work, 2, Cut.ENHANCEMENT)]
    assert taken(both) == Resources(cpu_ms=1000, memory_mb=500)


async def until(holds: Callable[[], object | Awaitable[object]], what: str) -> None:
    ends = time.monotonic() + WITHIN_S
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < ends, what
        await asyncio.sleep(0.05)


def fillers(of: int | None = None) -> list[int]:
    """Processes that fill the time of a node, which is this process or another one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if MODULE.encode() not in (entry / "cmdline").read_bytes():
                continue
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == (of or os.getpid()):
            found.append(int(entry.name))
    return found


def test_a_process_that_cannot_be_started_is_tried_again_and_the_node_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filler_module, "AGAIN_S", (0.05,))
    python = sys.executable

    async def work() -> None:
        filler = Filler(f"sqlite:///{tmp_path / 'state.db'}", "node-1", NODE)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
        running = asyncio.create_task(filler.run())
        try:
            await until(lambda: running.done() or caplog.text.count("nowhere") > 1, "it tries")
            assert not running.done()
            monkeypatch.setattr(sys, "executable", python)
            await until(fillers, "it is started")
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(work())
    assert fillers() == []


def test_what_is_left_before_it_has_begun_ends_and_begins_when_it_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        filler = Filler(f"sqlite:///{tmp_path / 'state.db'}", "node-1", NODE)
        running = asyncio.create_task(filler.run())
        try:
            await asyncio.sleep(0)  # it is being started
            filler.leave()
            await until(lambda: filler.left, "it has ended")
            assert fillers() == []
            for _ in range(3):
                filler.beside(Resources())
                filler.leave()
            filler.beside(Resources())
            assert not filler.left
            await until(fillers, "it is started")
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(work())
    assert fillers() == []
    assert "ended" not in caplog.text, "it was told to"


@pytest.mark.timeout(600)  # beside other work it is given little, and that is what it is for
def test_idle_time_becomes_outputs_and_streams_go_first(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=96, height=64, frames=4000, audio=None)
    whole(pipeline(), clip, tmp_path / "whole.mp4")
    url, output = f"sqlite:///{tmp_path / 'state.db'}", tmp_path / "out.mp4"

    async def work() -> None:
        async with Store(url, lambda: time.time_ns() // 1_000_000) as store:
            order = JobOrder(pipeline=FAST, input=str(clip), output=str(output), ladder=False)
            job = await submit(store, order, now_ms=1)
            filler = Filler(url, "node-1", Resources(cpu_ms=2000, memory_mb=2000))
            running = asyncio.create_task(filler.run())
            try:
                await until(lambda: filler.at_work, "a piece is made")
                filler.beside(Resources(cpu_ms=2000, memory_mb=2000))
                await until(lambda: not filler.at_work, "it is given back")
                assert (await store.jobs.standings())[job.name].claimed == 0
                filler.beside(Resources(cpu_ms=500, memory_mb=500))
                await until(lambda: filler.at_work, "pieces are made again")
                filler.leave()
                assert not filler.left, "it has one to give back"
                await until(lambda: filler.left, "nothing is under way")
                assert (filler.at_work, fillers()) == (0, [])
                assert (await store.jobs.standings())[job.name].claimed == 0
                filler.beside(Resources(cpu_ms=500, memory_mb=500))
                await until(lambda: filler.at_work, "it goes on")
                (pid,) = fillers()
                os.kill(pid, signal.SIGKILL)
                await until(output.exists, "another process goes on")

                async def done() -> bool:
                    now = await store.one(Job, job.name)
                    return now is not None and now.state == "done"

                await until(done, "the job is done")
            finally:
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(work())
    assert packets(output) == packets(tmp_path / "whole.mp4")
    assert left_over(tmp_path) == []
    assert fillers() == []
