"""`Store`: the cluster's memory, open. One per process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Clock, Database
from streamgen.control.store.jobs import Jobs
from streamgen.control.store.leases import Leases
from streamgen.control.store.migrate import migrate
from streamgen.control.store.news import News
from streamgen.control.store.outbox import Outbox
from streamgen.control.store.rows import Home, Job, Lease, Node, Row, Stream
from streamgen.control.store.tables import TABLES
from streamgen.control.store.work import Work
from streamgen.control.store.writer import GroupCommit
from streamgen.telemetry import Telemetry

R = TypeVar("R", Node, Stream, Home, Job)
PATIENCE_S = 60.0
"""How long writes wait for a database that went away."""
SLICE = 1_000
"""Rows that are read at a time, and thrown away in one transaction."""


class Store:
    """Rows in and out; `leases`, `work`, `jobs`, `outbox` and `news` beside them. On one event
    loop; use with `async with`.

    What `write` has acknowledged is seen by every later read, in every process.
    """

    def __init__(
        self,
        url: str,
        wall_ms: Clock,
        *,
        telemetry: Telemetry | None = None,
        own_clock: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Raises `ConfigError` for a URL that is none. Entering brings the tables up to date.

        `wall_ms` and `own_clock` are as `Database` has them.
        """
        self.database = Database(url, wall_ms, own_clock=own_clock)
        self.leases = Leases(self.database)
        self.work = Work(self.database)
        self.jobs = Jobs(self.database)
        self.outbox = Outbox(self.database)
        self.news = News(self.database)
        self._writer = GroupCommit(self.database, telemetry or Telemetry(), patience_s=patience_s)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Store:
        """Raises `StoreError` where the database cannot be reached, `ConfigError` where it belongs
        to a newer release."""
        async with AsyncExitStack() as failed:
            failed.push_async_callback(self.database.close)
            await migrate(self.database)
            failed.pop_all()
        self._task = asyncio.create_task(self._writer.run(), name="store")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.database.close()

    async def write(self, *rows: Row, fences: Sequence[Lease] = ()) -> None:
        """All or none, durable when it returns; see `GroupCommit.write`."""
        await self._writer.write(rows, fences)

    async def now_ms(self) -> int:
        """The time by the clock that leases expire by. Raises `StoreError`."""
        async with self.database.reading() as connection:
            return await self.database.now_ms(connection)

    async def one(self, kind: type[R], *key: str | int) -> R | None:
        """The row with this primary key."""
        columns = TABLES[kind].primary_key.columns
        same = (column == value for column, value in zip(columns, key, strict=True))
        async with self.database.reading() as connection:
            found = await connection.execute(select(TABLES[kind]).where(*same))
            row = found.one_or_none()
        return None if row is None else kind(**row._mapping)

    async def all(self, kind: type[R]) -> list[R]:
        """Every row of a table, in the order of its key."""
        return [row async for some in self.slices(kind) for row in some]

    async def slices(self, kind: type[R]) -> AsyncGenerator[list[R], None]:
        """The same, some at a time: others on the loop get their turns in between. Close it
        (`aclosing`) where it is not read to its end."""
        table = TABLES[kind]
        asked = select(table).order_by(*table.primary_key.columns)
        async with self.database.reading() as connection:
            found = await connection.stream(asked)
            async for some in found.partitions(SLICE):
                yield [kind(**row._mapping) for row in some]

    async def discard(self, kind: type[Node] | type[Stream] | type[Home], state: str) -> int:
        """Throw away what stands so, a slice at a time so that nobody waits long; returns how many.
        An older version of such a row, written after that, would be taken for a new one."""
        table, gone = TABLES[kind], 0
        which = table.c.state == state

        async def some(connection: AsyncConnection) -> int:
            found = await connection.execute(select(table.c.name).where(which).limit(SLICE))
            names = found.scalars().all()
            for name in names:
                await connection.execute(delete(table).where(table.c.name == name, which))
            return len(names)

        while True:
            done = await self.database.attempted(some)
            gone += done
            if done < SLICE:
                return gone
