"""Jobs and their chunks, asked for together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("sqlalchemy")

from streamgen.control.store import Chunk, Job, Store
from streamgen.control.store.jobs import Standing


class HandClock:
    ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def done(url: str, work: Callable[[Store, HandClock], Awaitable[None]]) -> None:
    async def opened() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            await work(store, clock)

    asyncio.run(opened())


async def submitted(store: Store, name: str, chunks: int, **more: int) -> Job:
    job = Job(name, f"key-{name}", "waiting", more.get("created_ms", 0), more.get("priority", 0))
    pieces = [Chunk(name, number, job.priority) for number in range(chunks)]
    return await store.work.submit(job, pieces)


def test_how_far_jobs_are_is_told_of_whole_chunks_and_of_those_under_way(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        await submitted(store, "a", 4)
        await submitted(store, "b", 1)
        first, second, third = await store.work.claim("me", 3, 60_000)
        await store.work.finish(first, "done", {"frames": 100})
        await store.work.hold(second, 60_000, {"frames": 30})
        await store.work.finish(third, "waiting", {})
        assert await store.jobs.standings() == {"a": Standing(1, 1, 130), "b": Standing()}
        clock.ms += 60_001
        again = await store.work.claim("you", 1, 60_000)
        assert again[0].number == second.number
        assert await store.jobs.standings("a") == {"a": Standing(1, 1, 100)}
        await store.write(Job("a", "key-a", "done", 0, version=1))
        assert await store.jobs.standings() == {"b": Standing()}
        assert (await store.jobs.standings("a"))["a"].done == 1

    done(url, work)


def test_jobs_and_chunks_are_counted_by_state_with_the_time_that_chunks_took(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        assert (await store.jobs.tally()).made_s == 0
        for name, chunks in (("a", 4), ("b", 2), ("c", 3)):
            await submitted(store, name, chunks)
        first, second, third, _ = await store.work.claim("me", 4, 60_000)
        await store.work.finish(first, "done", {"frames": 100, "seconds": 1.25})
        await store.work.finish(second, "done", {"frames": 50})  # of a release before this
        await store.work.hold(third, 60_000, {"frames": 30})
        await store.write(Job("c", "key-c", "failed", 0, version=1))
        await store.work.withdraw("c")
        await store.write(Job("none", "key-none", "cancelled", 0))
        tally = await store.jobs.tally()
        assert tally.jobs == {"waiting": 1, "running": 1, "done": 0, "failed": 1, "cancelled": 1}
        assert tally.chunks == {"waiting": 2, "running": 2, "done": 2, "cancelled": 3}
        assert tally.made_s == 1.25

    done(url, work)


def test_a_job_whose_chunks_are_all_done_is_complete_until_somebody_joins_it(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        await submitted(store, "late", 1, priority=5)
        await submitted(store, "soon", 2)
        await submitted(store, "none", 0)
        for claim in await store.work.claim("me", 2, 60_000):
            assert [job.name for job in await store.jobs.complete(9)] == []
            await store.work.finish(claim, "done", {"frames": 1})
        assert [job.name for job in await store.jobs.complete(9)] == ["soon"]
        (claim,) = await store.work.claim("me", 2, 60_000)
        await store.work.finish(claim, "done", {"frames": 1})
        assert [job.name for job in await store.jobs.complete(9)] == ["soon", "late"]
        assert [job.name for job in await store.jobs.complete(1)] == ["soon"]
        assert await store.leases.acquire("job/soon", "me", 1_000)
        assert [job.name for job in await store.jobs.complete(9)] == ["late"]
        clock.ms += 1_001
        assert [job.name for job in await store.jobs.complete(9)] == ["soon", "late"]
        await store.write(Job("soon", "key-soon", "failed", 0, version=1))
        assert [job.name for job in await store.jobs.complete(9)] == ["late"]

    done(url, work)


def test_the_newest_jobs_come_from_old_to_new_and_by_the_beginning_of_their_key(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        for number in (2, 0, 1):
            await submitted(store, f"j{number}", 1, created_ms=number)
        assert [job.name for job in await store.jobs.newest()] == ["j0", "j1", "j2"]
        assert [job.name for job in await store.jobs.newest(2)] == ["j1", "j2"]
        await store.work.submit(Job("again", "key-j0-1", "waiting", 9), [])
        await store.work.submit(Job("other", "key-j01", "waiting", 9), [])
        assert {job.name for job in await store.jobs.under("key-j0")} == {"j0", "again"}

    done(url, work)


def test_chunks_of_some_jobs_may_be_left_to_others(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        for name in ("a", "b"):
            await submitted(store, name, 1)
        assert [one.job for one in await store.work.claim("me", 9, 60_000, but=["a"])] == ["b"]
        assert [one.job for one in await store.work.claim("you", 9, 60_000)] == ["a"]

    done(url, work)
