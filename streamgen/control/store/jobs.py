"""Jobs as they stand: what is asked of jobs and their chunks together, in one question however many
jobs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select

from streamgen.control.store.database import Database
from streamgen.control.store.rows import Job
from streamgen.control.store.tables import chunks, jobs, leases

OVER = ("done", "failed", "cancelled")
"""States of a job that nobody works on any more."""
OF_JOB = jobs.c.name == chunks.c.job
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


@dataclass(frozen=True, slots=True)
class Tally:
    """All jobs that there ever were, by numbers."""

    jobs: Mapping[str, int]
    """By state; `running` is what was begun, until all is joined."""
    chunks: Mapping[str, int]
    """By state; `running` is what somebody has in hand."""
    made_s: float
    """That processes took for the chunks that are done, each its own time."""


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
            .join(jobs, OF_JOB)
            .where(which)
            .group_by(chunks.c.job)
        )
        async with self._database.reading() as connection:
            return {row[0]: Standing(*row[1:]) for row in await connection.execute(asked)}

    async def tally(self) -> Tally:
        """Looks at every chunk. Raises `StoreError`."""
        states = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        begun = select(func.count(chunks.c.job.distinct())).where(
            chunks.c.state.in_(("done", "claimed")), jobs.c.state.not_in(OVER)
        )
        seconds = func.sum(chunks.c.result["seconds"].as_float())
        pieces = select(chunks.c.state, func.count(), seconds).group_by(chunks.c.state)
        async with self._database.reading() as connection:
            found: dict[str, int] = dict(list(await connection.execute(states)))
            running = (
                await connection.execute(begun.select_from(chunks.join(jobs, OF_JOB)))
            ).scalar_one()
            rows = list(await connection.execute(pieces))
        open_ = sum(number for state, number in found.items() if state not in OVER)
        over = {state: found.get(state, 0) for state in OVER}
        stand = {state: number for state, number, _ in rows}
        stand["running"] = stand.pop("claimed", 0)
        return Tally(
            {"waiting": max(0, open_ - running), "running": running, **over},
            dict.fromkeys(("waiting", "running", "done", "cancelled"), 0) | stand,
            next((float(took or 0) for state, _, took in rows if state == "done"), 0.0),
        )

    async def complete(self, most: int) -> list[Job]:
        """Whose chunks are all done, and which nobody joins, best priority first."""
        async with self._database.reading() as connection:
            now_ms = await self._database.now_ms(connection)
            joined = and_(
                leases.c.name == literal(JOINS) + jobs.c.name, leases.c.expires_ms > now_ms
            )
            asked = select(jobs).where(
                jobs.c.state.not_in(OVER),
                exists().where(OF_JOB),
                ~exists().where(OF_JOB, chunks.c.state != "done"),
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
