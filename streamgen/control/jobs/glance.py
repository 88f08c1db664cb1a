"""What a page shows of a store's jobs: how many stand how, and the few that matter most now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store import Store
from streamgen.control.store.tables import chunks, jobs


async def glance(store: Store, most: int) -> dict[str, Any] | None:
    """Those that are not over come first, then the newest. Two short questions, however many jobs
    there are; None: there never was one. Raises `StoreError`."""
    async with store.database.reading() as connection:
        asked = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        states: dict[str, int] = dict(list(await connection.execute(asked)))
        if not states:
            return None
        over = jobs.c.state.in_(("done", "cancelled", "failed"))
        picked = (
            select(jobs)
            .order_by(
                case((over, 1), else_=0),
                case((over, -jobs.c.created_ms), else_=jobs.c.priority),
                case((over, 0), else_=jobs.c.created_ms),
                jobs.c.name,
            )
            .limit(most)
        )
        rows = [row._asdict() for row in await connection.execute(picked)]
        made = await _made(connection, [row["name"] for row in rows])
    return {"states": states, "rows": [_row(row, made) for row in rows]}


async def _made(connection: AsyncConnection, names: Sequence[str]) -> Mapping[tuple[str, str], int]:
    """Pieces of these jobs by how they stand."""
    which = and_(chunks.c.job.in_(names), chunks.c.state.in_(("done", "claimed")))
    asked = select(chunks.c.job, chunks.c.state, func.count()).where(which)
    grouped = asked.group_by(chunks.c.job, chunks.c.state)
    return {(job, state): n for job, state, n in await connection.execute(grouped)}


def _row(row: Mapping[str, Any], made: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    name, facts, done = row["name"], row["facts"], row["state"] == "done"
    order = facts.get("order", {})
    pieces = order.get("pieces", 0)
    return {
        "name": name,
        "state": row["state"],
        "created_ms": row["created_ms"],
        "input": order.get("input", ""),
        "output": order.get("output", ""),
        "pieces": pieces,
        "pieces_done": pieces if done else made.get((name, "done"), 0),
        "pieces_under_way": 0 if done else made.get((name, "claimed"), 0),
        "error": facts.get("error"),
    }
