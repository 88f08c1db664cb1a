"""What happened, for people: only the newest is kept."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Database
from streamgen.control.store.rows import Event
from streamgen.control.store.tables import events


class News:
    """All events there are. They are put in with `Store.write`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, most: int) -> list[Event]:
        """From old to new. Raises `StoreError`."""
        asked = select(events).order_by(events.c.number.desc()).limit(most)
        async with self._database.reading() as connection:
            found = [Event(**row._mapping) for row in await connection.execute(asked)]
        return found[::-1]

    async def shed(self, most: int) -> int:
        """Throw all but the newest away; how many. Raises `StoreError`."""
        newest = select(events.c.number).order_by(events.c.number.desc())
        first_above = newest.offset(most).limit(1).scalar_subquery()

        async def work(connection: AsyncConnection) -> int:
            gone = delete(events).where(events.c.number <= first_above)
            return (await connection.execute(gone)).rowcount

        return await self._database.attempted(work)
