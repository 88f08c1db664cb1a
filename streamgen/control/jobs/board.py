"""`JobBoard`: the jobs of a store as people are told of them, for the command line and the API."""

from __future__ import annotations

import asyncio
from typing import Any

from streamgen.control.jobs.making import give_up_place, order_of
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.planning import submit_apart
from streamgen.control.jobs.submitting import FINAL, cancel
from streamgen.control.store import Job
from streamgen.control.store.jobs import Standing, Tally
from streamgen.control.store.late import LateStore


class JobBoard:
    """On the event loop of its store."""

    def __init__(self, store: LateStore) -> None:
        self._store = store

    async def rows(self, most: int | None = None) -> list[dict[str, Any]]:
        """Jobs from old to new; only the newest `most`. Raises `StoreError`."""
        store = await self._store.opened()
        jobs, standings = await store.jobs.newest(most), await store.jobs.standings()
        return [_row(job, standings.get(job.name, Standing())) for job in jobs]

    async def row(self, name: str) -> dict[str, Any] | None:
        """All that is known of a job. Raises `StoreError`."""
        store = await self._store.opened()
        job = await store.one(Job, name)
        if job is None:
            return None
        standing = (await store.jobs.standings(name)).get(name, Standing())
        more = {key: job.facts[key] for key in ("error", "report") if key in job.facts}
        return _row(job, standing) | more

    async def tally(self) -> Tally:
        """Raises `StoreError`."""
        return await (await self._store.opened()).jobs.tally()

    async def submit(self, order: JobOrder, *, priority: int = 0) -> dict[str, Any]:
        """A job, planned by a process of its own: who asks for it may have streams to serve.

        Raises what `submitting.submit` raises.
        """
        row = await self.row(
            await submit_apart(self._store.url, order, priority, self._store.wall_ms())
        )
        assert row is not None
        return row

    async def cancel(self, name: str) -> dict[str, Any] | None:
        """End a job; its pieces are thrown away, and what is left of one that failed. Raises
        `StoreError`."""
        store = await self._store.opened()
        job = await store.one(Job, name)
        if job is None:
            return None
        if (await cancel(store, job)).state != "done":
            await asyncio.to_thread(give_up_place, job)
        return await self.row(name)


def _row(job: Job, standing: Standing) -> dict[str, Any]:
    order = order_of(job)
    made = job.state == "done"
    return {
        "name": job.name,
        "state": job.state if job.state in FINAL else _state(order, standing),
        "created_ms": job.created_ms,
        "priority": job.priority,
        "input": order.input,
        "output": order.output,
        "pieces": order.pieces,
        "pieces_done": order.pieces if made else standing.done,
        "frames": order.frames,
        "frames_done": order.frames if made else min(standing.frames, order.frames),
    }


def _state(order: JobOrder, standing: Standing) -> str:
    if standing.done == order.pieces:
        return "running" if order.uncut else "joining"
    return "running" if standing.claimed or standing.done else "waiting"
