"""`JobBoard`: the jobs of a store as people are told of them, for the command line and the API."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from streamgen.control.jobs.making import give_up_place, order_of
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.planning import submit_apart
from streamgen.control.jobs.submitting import FINAL, cancel
from streamgen.control.store import Job, Store
from streamgen.control.store.database import Clock
from streamgen.control.store.jobs import Standing
from streamgen.control.store.store import PATIENCE_S
from streamgen.errors import ConfigError, StoreError


class JobBoard:
    """Opens its store when it is first asked. On one event loop; use with `async with`."""

    def __init__(self, url: str, wall_ms: Clock, *, patience_s: float = PATIENCE_S) -> None:
        """`patience_s`: how long changes wait for a database that went away. Raises `ConfigError`
        for a URL that is none."""
        self._url = url
        self._wall_ms = wall_ms
        self._store = Store(url, wall_ms, patience_s=patience_s)
        self._opening = asyncio.Lock()
        self._leaving = AsyncExitStack()
        self._open = False

    async def __aenter__(self) -> JobBoard:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leaving.aclose()

    async def store(self) -> Store:
        """Raises `StoreError`, also where the database belongs to a newer release."""
        async with self._opening:
            if not self._open:
                try:
                    await self._leaving.enter_async_context(self._store)
                except ConfigError as error:
                    raise StoreError(str(error)) from error
                self._open = True
        return self._store

    async def rows(self, most: int | None = None) -> list[dict[str, Any]]:
        """Jobs from old to new; only the newest `most`. Raises `StoreError`."""
        store = await self.store()
        jobs, standings = await store.jobs.newest(most), await store.jobs.standings()
        return [_row(job, standings.get(job.name, Standing())) for job in jobs]

    async def row(self, name: str) -> dict[str, Any] | None:
        """All that is known of a job. Raises `StoreError`."""
        store = await self.store()
        job = await store.one(Job, name)
        if job is None:
            return None
        standing = (await store.jobs.standings(name)).get(name, Standing())
        more = {key: job.facts[key] for key in ("error", "report") if key in job.facts}
        return _row(job, standing) | more

    async def submit(self, order: JobOrder, *, priority: int = 0) -> dict[str, Any]:
        """A job, planned by a process of its own: who asks for it may have streams to serve.

        Raises what `submitting.submit` raises.
        """
        row = await self.row(await submit_apart(self._url, order, priority, self._wall_ms()))
        assert row is not None
        return row

    async def cancel(self, name: str) -> dict[str, Any] | None:
        """End a job; its pieces are thrown away, and what is left of one that failed. Raises
        `StoreError`."""
        store = await self.store()
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
