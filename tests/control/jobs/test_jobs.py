from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import cancel, submit
from streamgen.control.jobs.working import Workshop, give_up_place
from streamgen.control.store import Job, Store
from streamgen.errors import ConfigError, Fenced
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, child_processes, left_over, packets, pipeline, whole

T = TypeVar("T")
FRAMES = 500


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "in.mp4"
    return synthetic_clip(path, width=96, height=64, frames=FRAMES, b_frames=2)


@pytest.fixture(scope="module")
def uncut(clip: Path) -> Path:
    path = clip.with_name("whole.mp4")
    whole(pipeline(), clip, path)
    return path


def order(clip: Path, output: Path) -> JobOrder:
    return JobOrder(pipeline=FAST, input=str(clip), output=str(output), ladder=False)


def with_store(tmp_path: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        wall_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", wall_ms) as store:
            return await work(store)

    return asyncio.run(opened())


def workshop(store: Store, owner: str = "one", *, ttl_ms: int = 15_000) -> Workshop:
    return Workshop(store, owner, processes=2, ttl_ms=ttl_ms, wait=False)


def kill_one() -> None:
    """Kill a process as soon as one makes a piece."""
    while not (children := child_processes()):
        time.sleep(0.01)
    os.kill(children[0], signal.SIGKILL)


async def state(store: Store, job: Job) -> Job:
    now = await store.one(Job, job.name)
    assert now is not None
    return now


def test_a_job_becomes_the_output_of_an_uncut_run_whatever_dies(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"

    async def work(store: Store) -> Job:
        job = await submit(store, order(clip, output), now_ms=1)
        assert await submit(store, order(clip, output), now_ms=2) == job
        (dead,) = await store.work.claim("dead", 1, ttl_ms=1)
        working = asyncio.create_task(workshop(store).run())
        await asyncio.to_thread(kill_one)
        await working
        with pytest.raises(Fenced):
            await store.work.finish(dead, "done", {})
        return await state(store, job)

    job = with_store(tmp_path, work)
    assert job.state == "done", job.facts
    assert job.facts["report"]["frames_out"] == FRAMES
    assert packets(output) == packets(uncut)
    assert packets(output, "audio") == packets(uncut, "audio")
    assert left_over(tmp_path) == []


def test_an_output_whose_maker_died_before_saying_so_is_not_made_again(
    clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"

    async def work(store: Store) -> Job:
        job = await submit(store, order(clip, output), now_ms=1)
        await workshop(store).run()
        made = await state(store, job)
        before = output.stat()
        await store.write(replace(made, state="waiting", facts=job.facts, version=9))
        await workshop(store, "two").run()
        after = output.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        return await state(store, job)

    assert with_store(tmp_path, work).state == "done"
    assert left_over(tmp_path) == []


def test_a_cancelled_job_leaves_nothing_and_its_workers_are_told(
    clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"

    async def work(store: Store) -> Job:
        job = await submit(store, order(clip, output), now_ms=1)
        (claim,) = await store.work.claim("one", 1, 60_000)
        give_up_place(await cancel(store, job))
        with pytest.raises(Fenced):
            await store.work.hold(claim, 60_000)
        assert await store.work.claim("two", 9, 60_000) == []
        again = await submit(store, order(clip, output), now_ms=2)
        assert again.name != job.name
        give_up_place(await cancel(store, again))
        return await state(store, job)

    assert with_store(tmp_path, work).state == "cancelled"
    assert not output.exists()
    assert left_over(tmp_path) == []


def test_a_job_whose_input_is_changed_fails_and_says_why(clip: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    shutil.copy(clip, source)

    async def work(store: Store) -> Job:
        job = await submit(store, order(source, output), now_ms=1)
        synthetic_clip(source, width=96, height=64, frames=50)
        await workshop(store).run()
        return await state(store, job)

    job = with_store(tmp_path, work)
    assert job.state == "failed"
    assert "was changed while it was worked on" in job.facts["error"]
    assert not output.exists()
    assert left_over(tmp_path) == []


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        address = JobOrder(
            pipeline=FAST, input="http://x/a.mp4", output=str(tmp_path / "a.mp4"), ladder=False
        )
        with pytest.raises(ConfigError, match="jobs are made of files"):
            await submit(store, address, now_ms=1)

    with_store(tmp_path, work)
