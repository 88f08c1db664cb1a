"""Group commit: what many ask at once is written in one transaction and answered after it.

While one transaction is on its way to the disk the next ones gather, so nobody waits for a timer,
and the more there is to do the larger the groups become. The technique is DeWitt et al.,
"Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.notices import Notice
from streamgen.control.store.database import Database
from streamgen.control.store.rows import Chunk, Event, Lease, Row
from streamgen.control.store.tables import TABLES, leases
from streamgen.errors import Fenced, StoreError
from streamgen.telemetry import Telemetry

MOST_ROWS = 500
"""In one transaction, if single writes are not larger."""
DEPTH = 1024
"""Writes that may wait; who comes then waits to be let in."""
CLOSED = "the store was closed"
ONCE = (Chunk, Event, Notice)
"""Tables whose rows are made once: the same one again changes nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    rows: tuple[Row, ...]
    fences: tuple[Lease, ...]
    done: asyncio.Future[None]


class GroupCommit:
    """The one writer of a process. `run` is its task; `write` may be called by many others."""

    def __init__(self, database: Database, telemetry: Telemetry, *, patience_s: float) -> None:
        """While the database is away, writes wait for `patience_s` and then fail."""
        self._database = database
        self._telemetry = telemetry
        self._patience_s = patience_s
        self._waiting: deque[Write] = deque()
        self._work, self._room = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._statements: dict[type[Row], Any] = {}

    async def write(self, rows: Sequence[Row], fences: Sequence[Lease] = ()) -> None:
        """All of `rows` or none; returns when they would survive a power cut.

        With `fences` only while all of those leases are the newest of their names. Raises `Fenced`,
        and `StoreError`, after which nothing of it is written, or it is not known whether it was:
        writing the same rows again is always right.
        """
        while len(self._waiting) >= DEPTH and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise StoreError(CLOSED)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(Write(tuple(rows), tuple(fences), done))
        self._work.set()
        await done

    async def run(self) -> None:
        """Commit group after group, until cancelled; then what waits fails."""
        group: list[Write] = []
        try:
            while True:
                await self._work.wait()
                group = self._gather()
                await self._settle([write for write in group if not write.done.cancelled()])
        finally:
            self._closed = True
            self._room.set()
            for write in (*group, *self._waiting):
                _fail(write, StoreError(CLOSED))

    def _gather(self) -> list[Write]:
        """What waits, up to the size of a transaction."""
        group: list[Write] = []
        size = 0
        while self._waiting and size < MOST_ROWS:
            group.append(self._waiting.popleft())
            size += len(group[-1].rows)
        if not self._waiting:
            self._work.clear()
        self._room.set()
        return group

    async def _settle(self, group: list[Write]) -> None:
        try:
            stale = await self._database.attempted(
                lambda connection: self._commit(connection, group), patience_s=self._patience_s
            )
        except StoreError as error:
            if len(group) > 1 and _is_of_a_row(error):
                for write in group:  # only those that are wrong shall fail
                    await self._settle([write])
                return
            for write in group:
                _fail(write, error)
            return
        self._telemetry.count("store_commits", "done")
        for write in group:
            if write in stale:
                self._telemetry.count("store_commits", "fenced")
                _fail(write, Fenced(f"somebody else has taken over {_names(write)}"))
            elif not write.done.done():
                write.done.set_result(None)

    async def _commit(self, connection: AsyncConnection, group: list[Write]) -> list[Write]:
        """Write what may be written; returns the writes whose leases are not the newest."""
        newest = await _newest(connection, {f.name for write in group for f in write.fences})
        stale = [w for w in group if any(newest.get(f.name) != f.token for f in w.fences)]
        rows: dict[type[Row], list[dict[str, object]]] = {}
        for write in group:
            if write not in stale:
                for row in write.rows:
                    rows.setdefault(type(row), []).append(values(row))
        for kind, some in rows.items():
            await connection.execute(self._statement(kind), some)
        return stale

    def _statement(self, kind: type[Row]) -> Any:
        if kind not in self._statements:
            self._statements[kind] = upsert(TABLES[kind], kind, lite=self._database.lite)
        return self._statements[kind]


def upsert(table: Table, kind: type[Row], *, lite: bool) -> Any:
    """Insert, or take the place of what is there unless that is newer. Doing it twice is the same
    as once."""
    insert = inserted(table, lite=lite)
    names = [field.name for field in fields(kind)]
    if kind in ONCE:
        return insert.on_conflict_do_nothing()
    keys = [column.name for column in table.primary_key]
    return insert.on_conflict_do_update(
        index_elements=keys,
        set_={name: insert.excluded[name] for name in names if name not in keys},
        where=insert.excluded["version"] >= table.c["version"],
    )


def inserted(table: Table, *, lite: bool) -> Any:
    """`INSERT` with what both databases can do when the row is there already."""
    return sqlite.insert(table) if lite else postgresql.insert(table)


async def _newest(connection: AsyncConnection, names: set[str]) -> dict[str, str]:
    """The tokens of these leases, none of which changes hands before this transaction is over."""
    if not names:
        return {}
    asked = select(leases.c.name, leases.c.token).where(leases.c.name.in_(sorted(names)))
    found = await connection.execute(asked.order_by(leases.c.name).with_for_update(read=True))
    return {row.name: row.token for row in found}


def values(row: Row) -> dict[str, object]:
    """By column."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _is_of_a_row(error: StoreError) -> bool:
    cause = error.__cause__
    return isinstance(cause, IntegrityError | DataError) or (
        isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", "")[:2] in ("22", "23")
    )


def _fail(write: Write, error: StoreError) -> None:
    if not write.done.done():
        write.done.set_exception(error)


def _names(write: Write) -> str:
    return ", ".join(sorted({fence.name for fence in write.fences}))
