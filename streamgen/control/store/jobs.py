"""Jobs as they stand: what is asked of jobs and their chunks together, in one question however many
jobs there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select

from streamgen.control.store.database import Database
from streamgen.control.store.rows import Job
from streamgen.control.store.tables import chunks, jobs, leases

OVER = ("done", "failed", "cancelled")
"""States of a job that nobody works on any more."""
JOINS = "job/"
"""Before the name of a job in the name of the lease of who joins it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the chunks of a job are."""

    done: int = 0
    claimed: int = 0
    """In somebody's hands."""
    frames: int = 0
    """As told so far by those who made and make them."""


class Jobs:
    """All jobs of the cluster, as people ask for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, most: int | None = None) -> list[Job]:
        """From old to new. Raises `StoreError`."""
        asked = select(jobs).order_by(jobs.c.created_ms.desc(), jobs.c.name.desc()).limit(most)
        return (await self._jobs(asked))[::-1]

    async def under(self, key: str) -> list[Job]:
        """Those with this key, and with others that begin with it and a `-`."""
        same = or_(jobs.c.key == key, jobs.c.key.startswith(f"{key}-", autoescape=True))
        return await self._jobs(select(jobs).where(same))

    async def standings(self, name: str | None = None) -> dict[str, Standing]:
        """Of one job, or of all that are not over, by name."""
        which: ColumnElement[bool] = jobs.c.state.not_in(OVER)
        if name is not None:
            which = jobs.c.name == name
        told = chunks.c.result["frames"].as_integer()
        seen = chunks.c.state.in_(("done", "claimed"))
        asked = (
            select(
                chunks.c.job,
                func.count().filter(chunks.c.state == "done"),
                func.count().filter(chunks.c.state == "claimed"),
                func.coalesce(func.sum(case((seen, told), else_=0)), 0),
            )
            .join(jobs, jobs.c.name == chunks.c.job)
            .where(which)
            .group_by(chunks.c.job)
        )
        async with self._database.reading() as connection:
            return {row[0]: Standing(*row[1:]) for row in await connection.execute(asked)}

    async def complete(self, most: int) -> list[Job]:
        """Whose chunks are all done, and which nobody joins, best priority first."""
        ours = chunks.c.job == jobs.c.name
        async with self._database.reading() as connection:
            now_ms = await self._database.now_ms(connection)
            joined = and_(
                leases.c.name == literal(JOINS) + jobs.c.name, leases.c.expires_ms > now_ms
            )
            asked = select(jobs).where(
                jobs.c.state.not_in(OVER),
                exists().where(ours),
                ~exists().where(ours, chunks.c.state != "done"),
                ~exists().where(joined),
            )
            found = await connection.execute(
                asked.order_by(jobs.c.priority, jobs.c.name).limit(most)
            )
            return [Job(**row._mapping) for row in found]

    async def _jobs(self, asked: Select[Any]) -> list[Job]:
        async with self._database.reading() as connection:
            found: Sequence[Any] = (await connection.execute(asked)).all()
        return [Job(**row._mapping) for row in found]
