"""What a leader wants remembered of what happened: the newest of it, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from streamgen.control.coordinator.chronicle import MOST, Entry, Kind
from streamgen.control.coordinator.journal import Journal
from streamgen.control.coordinator.rows import entries
from streamgen.control.store import Event, Lease, Store
from streamgen.errors import Fenced
from tests.control.store.test_store import HandClock, done

AHEAD_MS = 5_000


def entry(number: int) -> Entry:
    return Entry(number, Kind.MOVES, f"s{number}", "node-1", "node-2", "é", 3 << 32 | number)


def trial(url: str, work: Callable[[Store, Lease], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with Store(url, HandClock(), own_clock=True) as store:
            lease = await store.leases.acquire("coordinator", "a", 1_000)
            assert lease is not None
            await work(store, lease)

    done(opened())


@asynccontextmanager
async def running(journal: Journal) -> Any:
    task = asyncio.create_task(journal.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def stored(store: Store) -> list[Entry]:
    """As the next leader reads it."""
    return [one for _, one in entries(await store.news.newest(MOST), AHEAD_MS)]


def test_news_comes_back_as_it_was_and_only_the_newest_of_it(url: str) -> None:
    async def work(store: Store, lease: Lease) -> None:
        journal = Journal(store, lease, AHEAD_MS, [])
        async with running(journal):
            for begin in (0, MOST):  # more than fits, and more than waits
                journal.note([entry(number) for number in range(begin, begin + MOST + 50)])
                await journal.written()
            assert await stored(store) == [entry(n) for n in range(MOST + 50, 2 * MOST + 50)]
            [newest] = await store.news.newest(1)
            assert newest.created_ms == 2 * MOST + 49 + AHEAD_MS
        async with running(Journal(store, lease, AHEAD_MS, [])):  # the first thing is to tidy up
            while len(await store.news.newest(9_999)) > MOST:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    trial(url, work)


def test_what_the_store_may_have_taken_is_written_under_the_next_lease_and_is_there_once(
    url: str,
) -> None:
    async def work(store: Store, lease: Lease) -> None:
        former = Journal(store, lease, AHEAD_MS, [])
        former.note([entry(0), entry(1)])
        untold = former.news
        async with running(former):
            await former.written()
        next_one = await store.leases.acquire("coordinator", "a", 1_000, above=lease.epoch)
        assert next_one is None  # it has not ended
        await store.leases.release(lease)
        next_one = await store.leases.acquire("coordinator", "a", 1_000)
        assert next_one is not None
        journal = Journal(store, next_one, AHEAD_MS, untold)
        journal.note([entry(2)])
        async with running(journal):
            await journal.written()
        assert await stored(store) == [entry(0), entry(1), entry(2)]
        former.note([entry(3)])
        with pytest.raises(Fenced):
            await former.run()

    trial(url, work)


def test_what_a_later_release_tells_of_is_left_out(url: str) -> None:
    async def work(store: Store, lease: Lease) -> None:
        await store.write(Event(1, "new kind", "s", 0), Event(2, "moves", "s", 0, {"more": 1}))
        await store.write(Event(3, "drained", "n", 0))
        assert [one.kind for one in await stored(store)] == [Kind.DRAINED]

    trial(url, work)
