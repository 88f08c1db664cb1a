"""Other transactions in the way of a write: of real connections, which hold what it needs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from streamgen.control.store import Store, Stream, database
from streamgen.errors import StoreError
from tests.control.store.private_postgres import PrivatePostgres
from tests.control.store.test_store import done, stream
from tests.control.store.writing import wall_ms

asyncpg = pytest.importorskip("asyncpg")
INSERT = "INSERT INTO streams SELECT $1, 'live', 'other', '{}', 0"


def heard(store: Store) -> list[str]:
    """What the database says against this store's transactions, as it comes: SQLSTATEs, or the
    names of SQLite's codes."""
    said: list[str] = []

    @event.listens_for(store.database.writing_engine.sync_engine, "handle_error")
    def note(context: Any) -> None:
        error = context.original_exception
        said.append(getattr(error, "sqlstate", "") or error.sqlite_errorname)

    return said


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks again and again. `done` ends what never comes to hold."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.005)


@asynccontextmanager
async def others(url: str, number: int) -> AsyncIterator[list[Any]]:
    """So many other connections, each in a transaction, and one that looks."""
    some = [await asyncpg.connect(url) for _ in range(number + 1)]
    try:
        for one in some[:-1]:
            await one.execute("BEGIN")
        yield some
    finally:
        for one in some:
            await one.close()


async def waiting(looks: Any, number: int) -> None:
    """Until so many transactions wait for others."""

    async def found() -> bool:
        asked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(await looks.fetchval(asked) == number)

    await until(found)


async def failed(said: list[str], times: int) -> None:
    """Until the database has said no so often."""

    async def found() -> bool:
        return len(said) >= times

    await until(found)


async def setting(url: str, name: str, value: str) -> None:
    """Of all connections to come."""
    one = await asyncpg.connect(url)
    await one.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {name} = '{value}'")
    await one.close()


async def written(store: Store) -> list[Stream]:
    return await store.all(Stream)


def test_a_write_that_postgresql_cannot_serialize_is_tried_again(postgres: PrivatePostgres) -> None:
    """40001: another transaction has changed the row since ours began."""
    url = postgres.new_database()

    async def work() -> None:
        await setting(url, "default_transaction_isolation", "repeatable read")
        async with Store(url, wall_ms) as store, others(url, 1) as (other, looks):
            said = heard(store)
            await other.execute(INSERT, "s00001")
            write = asyncio.create_task(store.write(stream(0), stream(1), stream(2)))
            await waiting(looks, 1)
            await other.execute("COMMIT")
            await write
            assert said == ["40001"]
            assert await written(store) == [stream(n) for n in range(3)]

    done(work())


def test_a_write_that_ends_a_deadlock_is_tried_again(postgres: PrivatePostgres) -> None:
    """40P01. The store's transaction has row 0 and waits for a second one; meanwhile another takes
    row 2 and asks for row 0. As the second row is let go of, ours asks for row 2."""
    url = postgres.new_database()

    async def work() -> None:
        await setting(url, "deadlock_timeout", "10ms")
        async with Store(url, wall_ms) as store, others(url, 2) as (middle, other, looks):
            said = heard(store)
            await other.execute("SET deadlock_timeout = '10min'")  # it is ours that must give way
            await middle.execute(INSERT, "s00001")
            await other.execute(INSERT, "s00002")
            write = asyncio.create_task(store.write(stream(0), stream(1), stream(2)))
            await waiting(looks, 1)
            asks = asyncio.create_task(other.execute(INSERT, "s00000"))
            await waiting(looks, 2)
            await middle.execute("COMMIT")
            await asks
            await other.execute("COMMIT")
            await write
            assert set(said) == {"40P01"}
            assert await written(store) == [stream(n) for n in range(3)]

    done(work())


def test_a_write_that_waits_for_a_lock_too_long_is_tried_again(postgres: PrivatePostgres) -> None:
    """55P03, where the server has a `lock_timeout`."""
    url = postgres.new_database()

    async def work() -> None:
        await setting(url, "lock_timeout", "20ms")
        async with Store(url, wall_ms) as store, others(url, 1) as (other, _):
            said = heard(store)
            await other.execute(INSERT, "s00001")
            write = asyncio.create_task(store.write(stream(0), stream(1), stream(2)))
            await failed(said, 2)
            await other.execute("COMMIT")
            await write
            assert set(said) == {"55P03"}
            assert await written(store) == [stream(n) for n in range(3)]

    done(work())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite waits 20 ms for others, not 5 s."""
    monkeypatch.setattr(database, "BUSY_MS", 20)


@pytest.mark.usefixtures("impatient")
def test_a_write_to_a_file_that_another_process_has_locked_is_tried_again(tmp_path: Path) -> None:
    """SQLITE_BUSY."""

    async def work() -> None:
        file = tmp_path / "state.db"
        async with Store(f"sqlite:///{file}", wall_ms) as store:
            said = heard(store)
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute(INSERT.replace("$1", "'s00001'"))
                write = asyncio.create_task(store.write(stream(0), stream(1), stream(2)))
                await failed(said, 2)
                assert await written(store) == []
                other.execute("COMMIT")
            await write
            assert set(said) == {"SQLITE_BUSY"}
            assert await written(store) == [stream(n) for n in range(3)]

    done(work())


@pytest.mark.usefixtures("impatient")
def test_who_is_in_the_way_for_ever_is_told_to_who_writes_and_the_next_write_is_another(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        file = tmp_path / "state.db"
        async with Store(f"sqlite:///{file}", wall_ms) as store:
            said = heard(store)
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreError, match="locked"):
                    await store.write(stream(0))
            assert said == ["SQLITE_BUSY"] * database.TRIES
            await store.write(stream(1))
            assert await written(store) == [stream(1)]

    done(work())
