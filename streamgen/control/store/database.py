"""The connection to SQLite or PostgreSQL, its clock, and which of its errors are worth another try.

On SQLite all that writes goes through one connection, whose transactions begin IMMEDIATE: what two
processes want at once is waited for, and never found out at the commit.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streamgen.errors import ConfigError, StoreError

T = TypeVar("T")
Clock = Callable[[], int]
BUSY_MS = 5_000
"""How long SQLite waits for another process before it says that the file is locked."""
TRIES = 10
"""Of one transaction against others'. A connection that is gone is tried for as long as asked."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.005, 1.0
POOL_S = 30.0
"""How long one waits here for a connection that others of this process have."""
CONFLICTS = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available (Appendix A of its manual)."""
SQLITE_CONFLICTS = frozenset({5, 6})
"""SQLITE_BUSY and SQLITE_LOCKED."""
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Database:
    """An open database, on one event loop. Close it."""

    def __init__(self, url: str, wall_ms: Clock, *, own_clock: bool = False) -> None:
        """`url` as in `sqlite:////var/lib/streamgen/state.db` or `postgresql://user@host/name`.

        `wall_ms` gives milliseconds since 1970. PostgreSQL, which several machines ask, has a clock
        of its own that counts instead, unless `own_clock` says that `wall_ms` is the one for all.
        Raises `ConfigError`.
        """
        self.lite, self.writing_engine, self._reading = _engines(url)
        self._clock = wall_ms if self.lite or own_clock else None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end. Conflicts come out as errors: see `attempted`."""
        async with self.writing_engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot; sees all that was acknowledged before. Raises `StoreError`."""
        try:
            async with self._reading.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise StoreError(f"the store: {_reason(error)}") from error

    async def now_ms(self, connection: AsyncConnection) -> int:
        """The time that leases expire by; one clock for all who ask."""
        if self._clock is not None:
            return self._clock()
        asked = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int((await connection.execute(asked)).scalar_one())

    async def attempted(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, patience_s: float = 0.0
    ) -> T:
        """The answer of `work` in a transaction of its own, tried again after conflicts.

        While the connection is gone it is tried again for `patience_s`. What was done may have been
        committed although the connection broke: `work` must be the same when done twice.
        Raises `StoreError`.
        """
        ends, tries = time.monotonic() + patience_s, 0
        while True:
            try:
                async with self.writing() as connection:
                    return await work(connection)
            except (DBAPIError, PoolTimeout, OSError) as error:
                tries += 1
                if is_conflict(error):
                    more = tries < TRIES
                else:
                    more = is_cut(error) and time.monotonic() < ends
                if not more:
                    raise StoreError(f"the store: {_reason(error)}") from error
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**tries)
            await asyncio.sleep(longest * (0.5 + secrets.randbelow(500) / 1000))

    async def close(self) -> None:
        await self.writing_engine.dispose()
        if self._reading is not self.writing_engine:
            await self._reading.dispose()


def is_conflict(error: BaseException) -> bool:
    """Another transaction was in the way; the same one may do next time."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if getattr(cause, "sqlstate", None) in CONFLICTS:
        return True
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in SQLITE_CONFLICTS


def is_cut(error: BaseException) -> bool:
    """The server is not there, or went away, or does not let anybody in yet, or answers so late
    that all connections wait for it."""
    if isinstance(error, OSError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    if error.connection_invalidated or state[:2] in ("08", "53", "57"):
        return True
    return isinstance(error, InterfaceError | OperationalError) and not hasattr(
        error.orig, "sqlite_errorcode"
    )


def _engines(url: str) -> tuple[bool, AsyncEngine, AsyncEngine]:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "store: not a URL (write sqlite:///file or postgresql://host/name)"
        ) from (error)
    kind = parsed.get_backend_name()
    if kind not in DRIVERS:
        raise ConfigError(f"store: '{kind}' is none of {', '.join(DRIVERS)}")
    parsed = parsed.set(drivername=DRIVERS[kind])
    if kind == "postgresql":
        engine = create_async_engine(parsed, pool_pre_ping=True, **_pool(4))
        return False, engine, engine
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError("store: SQLite needs a file (sqlite:////var/lib/streamgen/state.db)")
    folder = Path(parsed.database).resolve().parent
    if not folder.is_dir():
        raise ConfigError(f"store: there is no folder {folder}")
    writing = create_async_engine(parsed, **_pool(1))
    reading = create_async_engine(parsed, **_pool(2))
    _prepare(writing, "BEGIN IMMEDIATE")
    _prepare(reading, "BEGIN")
    return True, writing, reading


def _pool(size: int) -> dict[str, Any]:
    return {"pool_size": size, "max_overflow": 0, "pool_timeout": POOL_S}


def _prepare(engine: AsyncEngine, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver would begin its own transactions, late
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql(begin)


def _reason(error: BaseException) -> str:
    """The driver's own words: SQLAlchemy's go on with the statement and all its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[-1]
