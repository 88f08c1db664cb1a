from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import av
import pytest

from streamgen.control.chunks.folder import disown, owner_of, place_of
from streamgen.control.jobs.making import give_up_place, order_of
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import cancel, submit
from streamgen.control.jobs.working import Workshop
from streamgen.control.store import Chunk, Job, Store
from streamgen.errors import ConfigError, Fenced
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, child_processes, left_over, packets, pipeline, whole

T = TypeVar("T")
FRAMES = 500
WITHIN_S = 300


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
    return Workshop(store, owner, processes=2, ttl_ms=ttl_ms, wait=False, yields=False)


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
        tally = await store.jobs.tally()
        assert (tally.jobs["done"], tally.chunks["done"]) == (1, order_of(job).pieces)
        assert tally.made_s > 0
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


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("why", ["its folders are elsewhere", "it is of a newer version"])
def test_who_cannot_work_on_a_job_leaves_it_to_others(
    clip: Path, tmp_path: Path, why: str, complete: bool
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    shutil.copy(clip, folder / "in.mp4")

    async def work(store: Store) -> Job:
        job = await submit(store, order(folder / "in.mp4", folder / "out.mp4"), now_ms=1)
        for claim in await store.work.claim("other", 99, 60_000) if complete else []:
            await store.work.finish(claim, "done", {})
        if why == "it is of a newer version":
            facts = {**job.facts, "order": {**job.facts["order"], "new": 1}}
            await store.write(replace(job, facts=facts, version=job.version + 1))
        else:
            folder.rename(tmp_path / "away")
        await workshop(store).run()
        assert (await store.jobs.standings())[job.name].claimed == 0
        return await state(store, job)

    job = with_store(tmp_path, work)
    assert job.state not in ("failed", "done"), job.facts


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


def test_older_jobs_go_first(clip: Path, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        outputs = [tmp_path / f"{number}.mp4" for number in range(9)]
        jobs = [await submit(store, order(clip, o), now_ms=1000 + n) for n, o in enumerate(outputs)]
        claims = await store.work.claim("me", 100, 60_000)
        assert list(dict.fromkeys(one.job for one in claims)) == [job.name for job in jobs]

    with_store(tmp_path, work)


def test_what_was_made_of_a_job_that_failed_is_taken_over_by_the_same_job(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"

    async def work(store: Store) -> tuple[Job, Job, Job]:
        first = await submit(store, order(clip, output), now_ms=1)
        output.write_bytes(b"in the way")  # of the last step
        await workshop(store).run()
        output.unlink()
        second = await submit(store, order(clip, output), now_ms=2)
        made = {path: path.stat().st_ino for path in pieces_of(second)}
        assert len(made) == second.facts["order"]["pieces"]
        assert await submit(store, order(clip, output), now_ms=3) == second
        seen = asyncio.create_task(workshop(store).run())
        assert not await began(seen)
        return await state(store, first), second, await state(store, second)

    first, second, after = with_store(tmp_path, work)
    assert first.state == "failed" and "exists already" in first.facts["error"]
    assert second.name != first.name
    assert after.state == "done", after.facts
    assert packets(output) == packets(uncut)
    assert left_over(tmp_path) == []


def pieces_of(job: Job) -> list[Path]:
    return list(Path(job.facts["order"]["place"]).glob("chunk-*.json"))


async def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends, "it never came to that"
        await asyncio.sleep(0.02)


async def began(working: asyncio.Task[None]) -> bool:
    """Whether a process has made pieces before it is over."""
    seen = False
    while not working.done():
        seen = seen or bool(child_processes())
        await asyncio.sleep(0.02)
    await working
    return seen


def test_to_cancel_a_job_once_more_leaves_the_pieces_of_the_next_one(
    clip: Path, tmp_path: Path
) -> None:
    async def work(store: Store) -> None:
        output = tmp_path / "out.mp4"
        first = await submit(store, order(clip, output), now_ms=1)
        await cancel(store, first)  # and died: its folder stands
        second = await submit(store, order(clip, output), now_ms=2)
        give_up_place(await state(store, first))
        await workshop(store).run()
        assert (await state(store, second)).state == "done"

    with_store(tmp_path, work)
    assert left_over(tmp_path) == []


def test_a_folder_belongs_to_a_job_only_once_there_is_one(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies over it is in nobody's way."""
    output = tmp_path / "out.mp4"
    place = place_of(output)

    async def work(store: Store) -> None:
        given = store.work.submit

        async def about_to_die(job: Job, pieces: Sequence[Chunk]) -> Job:
            assert (place / "plan.json").exists() and not owner_of(place)
            return await given(job, pieces)

        monkeypatch.setattr(store.work, "submit", about_to_die)
        job = await submit(store, order(clip, output), now_ms=2)
        assert owner_of(place) == f"job {job.name}"
        disown(place)  # died before the last step
        await workshop(store).run()
        assert (await state(store, job)).state == "done"

    with_store(tmp_path, work)
    assert left_over(tmp_path) == []


def test_a_piece_of_another_job_in_the_same_folder_is_not_taken(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    """As a process writes it that was not told in time that its job is cancelled."""
    output = tmp_path / "out.mp4"
    strange = JobOrder(
        pipeline=FAST | {"keyframe_interval": "2s"},
        input=str(clip),
        output=str(output),
        ladder=False,
    )

    async def work(store: Store) -> None:
        again = await submit(store, strange, now_ms=1)
        place, kept = Path(again.facts["order"]["place"]), tmp_path / "kept"
        task = asyncio.create_task(Workshop(store, "one", processes=1, yields=False).run())
        await until(lambda: pieces_of(again))
        shutil.copytree(place, kept)
        give_up_place(await cancel(store, again))
        task.cancel()
        await asyncio.wait([task])
        job = await submit(store, order(clip, output), now_ms=3)
        for path in kept.glob("chunk-*"):
            shutil.copy(path, place)
        await workshop(store, "two").run()
        assert (await state(store, job)).state == "done"

    with_store(tmp_path, work)
    assert packets(output) == packets(uncut)


def test_a_job_whose_folders_are_not_on_this_machine_is_left_to_others(
    clip: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    output = elsewhere / "out.mp4"

    async def work(store: Store) -> None:
        job = await submit(store, order(clip, output), now_ms=1)
        elsewhere.rename(tmp_path / "unmounted")
        await workshop(store, "without").run()
        assert (await state(store, job)).state == "waiting"
        (tmp_path / "unmounted").rename(elsewhere)
        await workshop(store, "with").run()
        assert (await state(store, job)).state == "done"

    with_store(tmp_path, work)


def test_pieces_above_the_limit_go_back_at_once_and_nothing_begins(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"

    async def work(store: Store) -> None:
        job = await submit(store, order(clip, output), now_ms=1)
        one = Workshop(store, "one", processes=2, yields=False)
        working = asyncio.create_task(one.run())
        await until(lambda: len(child_processes()) == 2)
        one.limit(0, 0)
        await until(lambda: not one.at_work and not child_processes())
        standing = (await store.jobs.standings())[job.name]
        assert standing.claimed == 0
        assert (await state(store, job)).state == "waiting"
        one.limit(2, 2)
        await until(output.exists)
        one.stop()
        await working

    with_store(tmp_path, work)
    assert packets(output) == packets(uncut)
    assert child_processes() == []


def test_what_cannot_be_cut_is_made_whole(clip: Path, tmp_path: Path) -> None:
    """A stream without a container does not say when its pictures are shown."""
    bare, output = tmp_path / "in.h264", tmp_path / "out.mp4"
    with av.open(str(clip)) as source, av.open(str(bare), "w", format="h264") as sink:
        out = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = out
                sink.mux(packet)
    whole(pipeline(), bare, tmp_path / "whole.mp4")

    async def work(store: Store) -> Job:
        job = await submit(store, order(bare, output), now_ms=1)
        assert (job.facts["order"]["pieces"], job.facts["order"]["frames"]) == (1, 0)
        assert await submit(store, order(bare, output), now_ms=2) == job
        await workshop(store).run()
        return await state(store, job)

    job = with_store(tmp_path, work)
    assert job.state == "done", job.facts
    assert job.facts["report"]["notes"][0].startswith("made by one process: its pictures have no")
    assert packets(output) == packets(tmp_path / "whole.mp4")
    assert left_over(tmp_path) == []
