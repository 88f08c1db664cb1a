"""Chunks of jobs, claimed by whoever has time.

Whoever asks gets some that nobody has, or whose worker was silent for too long (`SELECT ... FOR
UPDATE SKIP LOCKED` where the database has it). Each claim has a number, so that a late worker
cannot end what another one has by now.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, null, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Database
from streamgen.control.store.rows import Chunk, Claim, Document, Job
from streamgen.control.store.tables import chunks, jobs
from streamgen.control.store.writer import inserted, values
from streamgen.errors import Fenced, StoreError


class Work:
    """All jobs of the cluster, as their workers see them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def submit(self, job: Job, pieces: Sequence[Chunk]) -> Job:
        """The job and all of its chunks, or none; returns the one that was there before with the
        same `key`, unchanged. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> Job:
            new = inserted(jobs, lite=self._database.lite).on_conflict_do_nothing()
            await connection.execute(new, values(job))
            row = (
                await connection.execute(select(jobs).where(jobs.c.key == job.key))
            ).one_or_none()
            if row is None:
                raise StoreError(f"there is another job '{job.name}'")
            if row.name == job.name and pieces:
                each = inserted(chunks, lite=self._database.lite).on_conflict_do_nothing()
                await connection.execute(each, [values(piece) for piece in pieces])
            return Job(**row._mapping)

        return await self._database.attempted(work)

    async def claim(
        self, owner: str, most: int, ttl_ms: int, *, but: Collection[str] = ()
    ) -> list[Claim]:
        """Up to `most` chunks to work on, best priority first and in order, of other jobs than
        `but`. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> list[Claim]:
            now_ms = await self._database.now_ms(connection)
            free = or_(
                chunks.c.state == "waiting",
                and_(chunks.c.state == "claimed", chunks.c.expires_ms <= now_ms),
            )
            order = (chunks.c.priority, chunks.c.job, chunks.c.number)
            key = tuple_(chunks.c.job, chunks.c.number)
            picked = select(chunks.c.job, chunks.c.number).where(free).order_by(*order).limit(most)
            if but:
                picked = picked.where(chunks.c.job.not_in(sorted(but)))
            asked = (
                update(chunks)
                .where(key.in_(picked.with_for_update(skip_locked=True)))
                .values(
                    state="claimed",
                    owner=owner,
                    attempt=chunks.c.attempt + 1,
                    expires_ms=now_ms + ttl_ms,
                    result=null(),
                )
                .returning(chunks)
            )
            rows = sorted(
                (await connection.execute(asked)).all(), key=lambda r: (r.priority, r.job, r.number)
            )
            return [Claim(r.job, r.number, r.attempt, r.owner, r.expires_ms, r.facts) for r in rows]

        return await self._database.attempted(work)

    async def hold(self, held: Claim, ttl_ms: int, so_far: Document | None = None) -> Claim:
        """A claim for longer, and what there is of its result. Raises `Fenced` if another has it,
        and `StoreError`."""

        async def work(connection: AsyncConnection) -> Claim:
            expires_ms = await self._database.now_ms(connection) + ttl_ms
            told = {} if so_far is None else {"result": so_far}
            await _change(connection, held, {"expires_ms": expires_ms} | told)
            return Claim(held.job, held.number, held.attempt, held.owner, expires_ms, held.facts)

        return await self._database.attempted(work)

    async def finish(self, held: Claim, state: str, result: Document) -> None:
        """The end of a chunk: `done`, `failed`, or `waiting` to give it back.

        Raises `Fenced` if another has it, and `StoreError`.
        """

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, held, {"state": state, "result": result}, ended=state)

        await self._database.attempted(work)

    async def withdraw(self, job: str) -> None:
        """Nobody begins with a chunk of this job any more; who has one is told when it asks or
        ends it. Raises `StoreError`."""

        async def work(connection: AsyncConnection) -> None:
            unfinished = and_(chunks.c.job == job, chunks.c.state.in_(("waiting", "claimed")))
            await connection.execute(update(chunks).where(unfinished).values(state="cancelled"))

        await self._database.attempted(work)

    async def chunks(self, job: str) -> list[Document]:
        """All of a job's chunks with their states and results, in order."""
        asked = select(chunks).where(chunks.c.job == job).order_by(chunks.c.number)
        async with self._database.reading() as connection:
            return [dict(row._mapping) for row in await connection.execute(asked)]


async def _change(
    connection: AsyncConnection, held: Claim, values: Document, *, ended: str = ""
) -> None:
    """Change a claimed chunk. Ending it twice in the same way, by one who lost the answer, is
    once."""
    mine = and_(
        chunks.c.job == held.job,
        chunks.c.number == held.number,
        chunks.c.attempt == held.attempt,
        chunks.c.state.in_(("claimed", ended) if ended else ("claimed",)),
    )
    if (await connection.execute(update(chunks).where(mine).values(values))).rowcount == 0:
        raise Fenced(f"somebody else has taken over chunk {held.number} of {held.job}")
