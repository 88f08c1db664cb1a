"""The outbox: what others have to be told, kept until they have heard it."""

from __future__ import annotations

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Database
from streamgen.control.store.rows import DueNotice
from streamgen.control.store.tables import outbox


class Outbox:
    """All notices of the cluster. They are put in with `Store.write`, beside what they tell of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, most: int, ttl_ms: int) -> list[DueNotice]:
        """Notices whose time has come; due again after `ttl_ms` unless they are delivered."""

        async def work(connection: AsyncConnection) -> list[DueNotice]:
            now_ms = await self._database.now_ms(connection)
            picked = select(outbox.c.name).where(outbox.c.due_ms <= now_ms)
            picked = picked.order_by(outbox.c.due_ms).limit(most).with_for_update(skip_locked=True)
            asked = (
                update(outbox)
                .where(outbox.c.name.in_(picked))
                .values(attempt=outbox.c.attempt + 1, due_ms=now_ms + ttl_ms)
                .returning(outbox)
            )
            rows = (await connection.execute(asked)).all()
            return [DueNotice(r.name, r.target, r.event, r.attempt, r.body) for r in rows]

        return await self._database.attempted(work)

    async def delivered(self, notice: DueNotice) -> None:
        """It has arrived; it is forgotten."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(outbox.delete().where(outbox.c.name == notice.name))

        await self._database.attempted(work)

    async def postpone(self, notice: DueNotice, wait_ms: int) -> None:
        """It has not arrived; it is due again in `wait_ms`."""

        async def work(connection: AsyncConnection) -> None:
            due_ms = await self._database.now_ms(connection) + wait_ms
            mine = and_(outbox.c.name == notice.name, outbox.c.attempt == notice.attempt)
            await connection.execute(update(outbox).where(mine).values(due_ms=due_ms))

        await self._database.attempted(work)
