"""The cluster's memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, text

from streamgen.control.store import Chunk, Event, Home, Job, Node, Store, Stream
from streamgen.control.store.database import Database
from streamgen.control.store.migrate import SCRIPTS
from streamgen.control.store.store import SLICE
from streamgen.control.store.tables import metadata, streams
from streamgen.control.store.writer import values
from streamgen.errors import ConfigError, Fenced, StoreError
from streamgen.telemetry import Telemetry
from tests.control.store.writing import wall_ms


def done(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class HandClock:
    """Milliseconds, moved by hand."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def stream(number: int, **changes: Any) -> Stream:
    return replace(Stream(f"s{number:05}", "live", "session", {"number": number}), **changes)


async def numbers(store: Store) -> list[int]:
    """Of the streams that are there."""
    return [int(one.facts["number"]) for one in await store.all(Stream)]


def first_tables(connection: Connection) -> None:
    """As the first release made them."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


def test_what_was_written_is_read_by_another_process(url: str) -> None:
    async def work() -> None:
        node = Node("a", "worker", "ready", {"cores": 2, "name": "é"}, 3)
        async with Store(url, wall_ms) as store, Store(url, wall_ms) as other:
            await store.write(node, stream(0), stream(1))
            assert await other.one(Node, "a") == node
            assert await other.all(Stream) == [stream(0), stream(1)]
            assert await other.one(Node, "b") is None

    done(work())


def test_the_tables_are_what_the_migrations_make(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store, store.database.reading() as connection:

            def difference(sync: Connection) -> list[Any]:
                return list(compare_metadata(MigrationContext.configure(sync), metadata))

            assert await connection.run_sync(difference) == []

    done(work())


def test_several_processes_may_start_with_an_empty_database_at_once(url: str) -> None:
    async def work() -> None:
        stores = [Store(url, wall_ms) for _ in range(5)]
        await asyncio.gather(*(store.__aenter__() for store in stores))
        await asyncio.gather(
            *(store.write(Stream(f"s{n}", "live")) for n, store in enumerate(stores))
        )
        assert len(await stores[0].all(Stream)) == 5
        for store in stores:
            await store.__aexit__()

    done(work())


def test_a_database_of_the_first_release_is_brought_up_to_date_with_what_is_in_it(url: str) -> None:
    home = Home("me", "held", "edge-a", 3 << 32 | 7, '{"session": "é"}' * 4_000, 9)

    async def work() -> None:
        database = Database(url, wall_ms)
        async with database.writing() as connection:
            await connection.run_sync(first_tables)
            await connection.execute(insert(streams).values(values(Stream("me", "live"))))
        await database.close()
        async with Store(url, wall_ms) as store:
            assert await store.all(Stream) == [Stream("me", "live")]
            await store.write(home, replace(home, epoch=1, version=8))
            assert await store.all(Home) == [home]

    done(work())


def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store, store.database.writing() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ConfigError, match="newer release"):
            await Store(url, wall_ms).__aenter__()

    done(work())


def test_an_older_row_does_not_take_the_place_of_a_newer_one(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            await store.write(Stream("me", "live", version=7))
            await store.write(Stream("me", "ended", version=6))
            assert await store.one(Stream, "me") == Stream("me", "live", version=7)
            await store.write(Stream("me", "ended", version=7))
            assert (await store.all(Stream))[0].state == "ended"

    done(work())


def test_many_writers_share_transactions_and_each_gets_its_own_answer(url: str) -> None:
    async def work() -> None:
        telemetry = Telemetry()
        async with Store(url, wall_ms, telemetry=telemetry) as store:
            await asyncio.gather(*(store.write(stream(n)) for n in range(900)))
            assert await numbers(store) == list(range(900))
        assert telemetry.counts("store_commits")["done"] < 90

    done(work())


def test_a_write_that_is_wrong_fails_alone(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            wrong = stream(5, session=None)
            answers = await asyncio.gather(
                *(store.write(stream(n) if n != 5 else wrong) for n in range(10)),
                return_exceptions=True,
            )
            failed = [n for n, answer in enumerate(answers) if answer is not None]
            assert failed == [5]
            assert isinstance(answers[5], StoreError)
            assert len(await numbers(store)) == 9

    done(work())


def test_a_long_table_comes_some_at_a_time(url: str) -> None:
    async def work() -> None:
        async with Store(url, HandClock(), own_clock=True) as store:
            rows = [Stream(f"s{number:05}", "placed") for number in range(SLICE * 2 + 1)]
            for begin in range(0, len(rows), SLICE):
                await store.write(*rows[begin : begin + SLICE])
            slices = [some async for some in store.slices(Stream)]
            assert [len(some) for some in slices] == [SLICE, SLICE, 1]
            assert [row for some in slices for row in some] == rows == await store.all(Stream)

    done(work())


def test_a_job_that_is_submitted_twice_is_one_job(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            first = Job("j1", "key", "waiting", 1_000)
            pieces = [Chunk("j1", n, facts={"from": n}) for n in range(3)]
            assert await store.work.submit(first, pieces) == first
            again = Job("j2", "key", "waiting", 2_000)
            assert await store.work.submit(again, [Chunk("j2", 0)]) == first
            assert await store.work.submit(first, pieces) == first
            assert len(await store.work.claim("a", 10, 1_000)) == 3
            with pytest.raises(StoreError, match="another job 'j1'"):
                await store.work.submit(Job("j1", "other key", "waiting", 1), [])

    done(work())


def test_each_chunk_is_claimed_once_however_many_ask(url: str) -> None:
    async def work() -> None:
        stores = [Store(url, wall_ms) for _ in range(3)]
        async with stores[0], stores[1], stores[2]:
            chunks = [Chunk("j", n, priority=n % 2) for n in range(100)]
            await stores[0].work.submit(Job("j", "k", "waiting", 0), chunks)
            asked = [stores[n % 3].work.claim(f"owner-{n}", 7, 60_000) for n in range(18)]
            claims = [claim for some in await asyncio.gather(*asked) for claim in some]
            assert sorted(claim.number for claim in claims) == list(range(100))
            assert {claim.attempt for claim in claims} == {1}

    done(work())


def test_the_best_priority_goes_first_and_then_the_order(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            await store.work.submit(Job("late", "a", "waiting", 0), [Chunk("late", 0, priority=5)])
            await store.work.submit(
                Job("soon", "b", "waiting", 0), [Chunk("soon", n, priority=1) for n in (1, 0)]
            )
            got = [(c.job, c.number) for c in await store.work.claim("me", 3, 1_000)]
            assert got == [("soon", 0), ("soon", 1), ("late", 0)]

    done(work())


def test_a_chunk_whose_worker_fell_silent_goes_to_another_and_ends_once(url: str) -> None:
    async def work() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            await store.work.submit(Job("j", "k", "waiting", 0), [Chunk("j", 0)])
            [slow] = await store.work.claim("slow", 1, 1_000)
            slow = await store.work.hold(slow, 2_000)
            clock.ms += 1_500
            assert await store.work.claim("fast", 1, 1_000) == []
            clock.ms += 1_000
            [fast] = await store.work.claim("fast", 1, 1_000)
            assert fast.attempt == 2
            with pytest.raises(Fenced):
                await store.work.finish(slow, "done", {"by": "slow"})
            with pytest.raises(Fenced):
                await store.work.hold(slow, 1_000)
            await store.work.finish(fast, "done", {"by": "fast"})
            await store.work.finish(fast, "done", {"by": "fast"})  # its answer was lost
            with pytest.raises(Fenced):
                await store.work.finish(fast, "failed", {})
            assert await store.work.claim("third", 1, 1_000) == []
            assert (await store.work.chunks("j"))[0]["result"] == {"by": "fast"}

    done(work())


def test_a_chunk_that_is_given_back_is_waiting_again(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            await store.work.submit(Job("j", "k", "waiting", 0), [Chunk("j", 0)])
            [claim] = await store.work.claim("a", 1, 60_000)
            await store.work.finish(claim, "waiting", {})
            [again] = await store.work.claim("b", 1, 60_000)
            assert again.attempt == 2

    done(work())


def test_rows_of_what_is_gone_are_thrown_away(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            await store.write(*(Stream(f"s{n:04}", "gone", version=n) for n in range(1_200)))
            await store.write(Stream("here", "placed"), Node("n", "worker", "gone"))
            assert await store.discard(Stream, "gone") == 1_200
            assert [one.name for one in await store.all(Stream)] == ["here"]
            assert len(await store.all(Node)) == 1
            await store.write(Home("s", "gone", "", 0), Home("t", "held", "edge-a", 1))
            assert await store.discard(Home, "gone") == 1

    done(work())


def test_only_the_newest_events_are_kept_and_each_once(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            some = [Event(n, "moves", "me", 1_000 - n, {"epoch": 3 << 32 | n}) for n in range(10)]
            await store.write(*some[5:])
            await store.write(*some[:7])
            assert await store.news.newest(20) == some
            assert await store.news.newest(3) == some[7:]
            assert await store.news.shed(20) == 0
            assert await store.news.shed(4) == 6
            assert await store.news.newest(20) == some[6:]

    done(work())


def test_a_write_waits_while_others_have_all_connections_and_goes_on_after_that(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those do whose database hangs."""
    monkeypatch.setattr("streamgen.control.store.database.POOL_S", 0.05)

    async def work() -> None:
        async with Store(url, wall_ms) as store, AsyncExitStack() as busy:
            for _ in range(store.database.writing_engine.pool.size()):  # type: ignore[attr-defined]
                await busy.enter_async_context(store.database.writing())
            writing = asyncio.create_task(store.write(Stream("me", "live")))
            with pytest.raises(StoreError):
                await store.leases.acquire("me", "a", 1_000)
            assert not writing.done()
            await busy.aclose()
            await writing
            assert await store.all(Stream) == [Stream("me", "live")]

    done(work())


def test_a_write_of_a_store_that_closes_fails_and_is_not_forgotten(url: str) -> None:
    async def work() -> None:
        async with Store(url, wall_ms) as store:
            writes = [asyncio.create_task(store.write(stream(n))) for n in range(2_000)]
            await asyncio.sleep(0)
        answers = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 20)
        async with Store(url, wall_ms) as again:
            there = set(await numbers(again))
        assert {n for n, answer in enumerate(answers) if answer is None} <= there
        assert all(answer is None or isinstance(answer, StoreError) for answer in answers)

    done(work())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("no url", "not a URL"),
        ("mysql://host/name", "'mysql' is none of sqlite, postgresql"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
    ],
)
def test_a_wrong_url_is_refused(wrong: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Store(wrong, wall_ms)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        Store(f"sqlite:///{tmp_path / 'no' / 'state.db'}", wall_ms)
