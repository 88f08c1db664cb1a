"""`Workshop`: claims pieces of jobs from the store, has them made, and joins what is complete.

Whoever makes a piece holds its claim, and is told when another has taken it over. A piece is whole
when its JSON lies beside its packets; the store says so afterwards. Who joins holds a lease on the
job, and an output appears in one step under a name that is free: two who join leave one output.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from streamgen.control.chunks.child import Order
from streamgen.control.chunks.crew import Crew, shares, usable
from streamgen.control.chunks.packets import Made, made_already
from streamgen.control.jobs.joining import ended, join
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import FINAL
from streamgen.control.store import Claim, Job, Lease, Store
from streamgen.errors import OutputError, StoreError, StreamGenError
from streamgen.media.queue import Cancelled

TTL_MS = 15_000
"""A worker that is silent for so long has lost its pieces."""
IDLE_S = 0.5
"""Between two questions for work where there was none."""


class Workshop:
    """Works on jobs with up to `processes` pieces at once, until `stop`."""

    def __init__(
        self, store: Store, owner: str, *, processes: int, ttl_ms: int = TTL_MS, wait: bool = True
    ) -> None:
        """Without `wait` it ends when there is no work."""
        self._store = store
        self._owner = owner
        self._processes = processes
        self._ttl_ms = ttl_ms
        self._wait = wait
        self._stopped = asyncio.Event()
        self._works: dict[asyncio.Task[None], Crew | None] = {}
        self._shares = shares(sorted(usable()), processes)
        self._say: Callable[[str], None] = lambda line: None

    def follow(self, say: Callable[[str], None]) -> None:
        """Tell what happens, a line at a time."""
        self._say = say

    def stop(self) -> None:
        """End soon; pieces that are not whole go back."""
        self._stopped.set()

    async def run(self) -> None:
        """Until `stop`. Raises `StoreError` where the store stays away."""
        try:
            while not self._stopped.is_set():
                idle = not await self._begin() and not self._works
                if idle and not await self._complete_any() and not self._wait:
                    return
                await self._pause()
        finally:
            for crew in self._works.values():
                if crew is not None:
                    crew.cancel()
            if self._works:
                await asyncio.wait(self._works)

    async def _begin(self) -> int:
        """Claim as many pieces as there is room for."""
        if not self._shares:
            return 0
        claims = await self._store.work.claim(self._owner, len(self._shares), self._ttl_ms)
        for claim in claims:
            share = self._shares.pop()
            task = asyncio.create_task(self._work(claim, share), name=f"{claim.job}/{claim.number}")
            self._works[task] = None
        return len(claims)

    async def _work(self, claim: Claim, share: tuple[int, ...]) -> None:
        try:
            await self._make(claim, share)
        finally:
            self._shares.append(share)
            task = asyncio.current_task()
            assert task is not None
            self._works.pop(task, None)

    async def _pause(self) -> None:
        stopped = asyncio.create_task(self._stopped.wait())
        busy = not self._shares
        await asyncio.wait(
            [stopped, *self._works],
            timeout=None if busy else IDLE_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        stopped.cancel()

    # One piece.

    async def _make(self, claim: Claim, share: tuple[int, ...]) -> None:
        job = await self._store.one(Job, claim.job)
        if job is None or job.state in FINAL:
            return
        try:
            made = await self._made(job, claim, share)
            await self._store.work.finish(
                claim, "done", {"frames": made.report.frames_out, "sha256": made.sha256}
            )
            self._say(f"job {job.name}: piece {claim.number + 1} of {_order(job).pieces} is made")
            await self._complete(job)
        except StoreError:
            return  # another has it, or will have it when our claim has run out
        except Cancelled:
            with suppress(StoreError):
                await self._store.work.finish(claim, "waiting", {})
        except StreamGenError as error:
            await self._fail(job, error)

    async def _made(self, job: Job, claim: Claim, share: tuple[int, ...]) -> Made:
        """Have a piece made by a process, the claim held meanwhile."""
        order = _order(job)
        folder = Path(order.place)
        planned = order.planned()
        found = made_already(folder, claim.number, check=True)
        if found is not None:
            return found
        task = asyncio.current_task()
        work = Order(order.loaded(), order.input, folder, not order.ladder, share, yields=True)
        crew = Crew(work, [planned.chunks[claim.number]], 1, place=claim.number)
        if task is not None:
            self._works[task] = crew
        making = asyncio.ensure_future(asyncio.to_thread(crew.run))
        try:
            while not making.done():
                await asyncio.wait([making], timeout=self._ttl_ms / 3000)
                if not making.done():
                    await self._store.work.hold(claim, self._ttl_ms)
        except StoreError:
            crew.cancel()
            with suppress(StreamGenError, Cancelled):
                await making
            raise
        await making
        made = made_already(folder, claim.number)
        if made is None:
            raise OutputError(f"piece {claim.number + 1} of {order.output} is lost")
        return made

    async def _fail(self, job: Job, error: StreamGenError) -> None:
        now = await self._store.one(Job, job.name)
        if now is None or now.state in FINAL:
            return
        facts = {**now.facts, "error": str(error)}
        await self._store.write(replace(now, state="failed", facts=facts, version=now.version + 1))
        await self._store.work.withdraw(job.name)
        give_up_place(job)
        self._say(f"job {job.name}: failed: {error}")

    # All pieces of a job.

    async def _complete_any(self) -> bool:
        """Join a job that its last worker left, if there is one."""
        for job in await self._store.all(Job):
            if job.state not in FINAL and await self._complete(job):
                return True
        return False

    async def _complete(self, job: Job) -> bool:
        """Join a job if its pieces are all whole, and nobody else does."""
        pieces = await self._store.work.chunks(job.name)
        if not pieces or any(piece["state"] != "done" for piece in pieces):
            return False
        lease = await self._store.leases.acquire(f"job/{job.name}", self._owner, self._ttl_ms)
        if lease is None:
            return False
        now = await self._store.one(Job, job.name)
        if now is not None and now.state not in FINAL:
            await self._join(now, lease)
        return True

    async def _join(self, job: Job, lease: Lease) -> None:
        joining = asyncio.ensure_future(join(_order(job)))
        try:
            while not joining.done():
                await asyncio.wait([joining], timeout=self._ttl_ms / 3000)
                lease = await self._store.leases.renew(lease, self._ttl_ms)
            report = await joining
            facts = {**job.facts}
            if report is not None:
                facts["report"] = report
            done = replace(job, state="done", facts=facts, version=job.version + 1)
            await self._store.write(done, fences=[lease])
        except StoreError:  # another joins it, or will when our lease has run out
            return
        except StreamGenError as error:
            await self._fail(job, error)
            return
        finally:
            await ended(joining)
        give_up_place(job)
        await self._store.leases.release(lease)
        self._say(f"job {job.name}: {_order(job).output} is made")


def _order(job: Job) -> JobOrder:
    return JobOrder.model_validate(job.facts["order"])


def give_up_place(job: Job) -> None:
    """Take away the pieces of a job that is over."""
    shutil.rmtree(_order(job).place, ignore_errors=True)
