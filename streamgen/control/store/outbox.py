"""The outbox: what others have to be told, kept until they have heard it.

Whoever asks gets the oldest notice that is due, and nobody else does until it had its time
(`SELECT ... FOR UPDATE SKIP LOCKED` where the database has it). Of one stream's notices for one
target only the oldest may be claimed, so they arrive in their order, whoever tells them.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.notices import Backlog, ClaimedNotice, Notice
from streamgen.control.store.database import Database
from streamgen.control.store.tables import outbox

PATIENCE_S = 5.0
"""A database that goes away while it has to hear what became of a notice is waited for so long."""


class Outbox:
    """All notices there are. They are put in with `Store.write`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, target: str, ttl_ms: int) -> ClaimedNotice | None:
        """The oldest for this target that is due; due again after `ttl_ms` unless it is settled.
        None: none is. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> ClaimedNotice | None:
            now_ms = await self._database.now_ms(connection)
            due = select(outbox).where(
                outbox.c.target == target, outbox.c.due_ms <= now_ms, _first()
            )
            first = due.order_by(outbox.c.number).limit(1).with_for_update(skip_locked=True)
            row = (await connection.execute(first)).one_or_none()
            if row is None:
                return None
            claimed = {"attempt": row.attempt + 1, "due_ms": now_ms + ttl_ms}
            this = outbox.c.number == row.number
            await connection.execute(update(outbox).where(this).values(claimed))
            notice = Notice(row.target, row.event, row.about, row.created_ms, row.body)
            return ClaimedNotice(notice, row.attempt + 1)

        return await self._database.attempted(work)

    async def settle(self, notice: Notice) -> None:
        """It is heard, or given up: it is forgotten. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(outbox.delete().where(_is(notice)))

        await self._database.attempted(work, patience_s=PATIENCE_S)

    async def postpone(self, claim: ClaimedNotice, wait_ms: int) -> None:
        """It was not heard; it is due again in `wait_ms`, for anybody. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> None:
            due_ms = await self._database.now_ms(connection) + wait_ms
            mine = and_(_is(claim.notice), outbox.c.attempt == claim.attempt)
            await connection.execute(update(outbox).where(mine).values(due_ms=due_ms))

        await self._database.attempted(work, patience_s=PATIENCE_S)

    async def backlog(self, target: str) -> Backlog:
        """Raises `StoreError`."""
        of = outbox.c.target == target
        asked = select(func.count(), func.min(outbox.c.due_ms).filter(_first())).where(of)
        async with self._database.reading() as connection:
            now_ms = await self._database.now_ms(connection)
            left, due_ms = (await connection.execute(asked)).one()
        return Backlog(left, None if due_ms is None else max(0, due_ms - now_ms))

    async def shed(self, target: str, most: int, kept_ms: int) -> int:
        """Throw away what is older than `kept_ms`, and the oldest above `most`; how many. What is
        twice as old goes for all targets: some may be nobody's any more. Raises `StoreError`."""
        ours = outbox.c.target == target
        newest = select(outbox.c.number).where(ours).order_by(outbox.c.number.desc())
        first_above = newest.offset(most).limit(1).scalar_subquery()

        async def work(connection: AsyncConnection) -> int:
            now_ms = await self._database.now_ms(connection)
            old = or_(outbox.c.created_ms < now_ms - kept_ms, outbox.c.number <= first_above)
            forgotten = outbox.c.created_ms < now_ms - 2 * kept_ms
            gone = outbox.delete().where(or_(and_(ours, old), forgotten)).returning(outbox.c.target)
            return sum(one == target for one in (await connection.execute(gone)).scalars())

        return await self._database.attempted(work)


def _first() -> ColumnElement[bool]:
    """Nothing older about the same stream waits for the same target."""
    older = outbox.alias()
    return ~exists().where(
        older.c.target == outbox.c.target,
        older.c.about == outbox.c.about,
        older.c.number < outbox.c.number,
    )


def _is(notice: Notice) -> ColumnElement[bool]:
    return and_(outbox.c.target == notice.target, outbox.c.event == notice.event)
