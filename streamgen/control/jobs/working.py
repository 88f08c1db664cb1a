"""`Workshop`: claims pieces of jobs from the store, has them made, and joins what is complete.

Whoever makes a piece holds its claim, and is told when another has taken it over. A piece is whole
when its JSON lies beside its packets; the store says so afterwards. Who joins holds a lease on the
job, and an output appears in one step under a name that is free: two who join leave one output.
While the store is away, what is begun goes on: nothing of it can be wrong, only made twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from streamgen.control.chunks.crew import Crew, Hand, shares, usable
from streamgen.control.jobs.joining import Joiners, ended
from streamgen.control.jobs.making import give_up_place, made_of, order_of, work_of
from streamgen.control.jobs.submitting import FINAL
from streamgen.control.store import Claim, Job, Lease, Store
from streamgen.control.store.jobs import JOINS
from streamgen.errors import (
    ConfigError,
    Fenced,
    OutputError,
    SourceError,
    StoreError,
    StreamGenError,
)
from streamgen.media.queue import Cancelled

TTL_MS = 15_000
"""A worker that is silent for so long has lost its pieces."""
IDLE_S, LONGEST_IDLE_S = 0.5, 2.0
"""Between two questions for work where there was none: longer each time, as there may be many who
ask."""
KEEPS_S = 20.0
"""Processes without work are kept for so long."""
ELSEWHERE_S = 60.0
"""A job that is not for us is looked at again after so long."""


@dataclass(eq=False, slots=True)
class Work:
    """One piece, or one job that is joined, while it is under way."""

    share: tuple[int, ...]
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    crew: Crew | None = None


class Workshop:
    """Works on jobs with up to `processes` pieces at once, until `stop`."""

    def __init__(
        self,
        store: Store,
        owner: str,
        *,
        processes: int,
        ttl_ms: int = TTL_MS,
        wait: bool = True,
        yields: bool = True,
    ) -> None:
        """Without `wait` it ends when there is no work. `yields`: its processes take only what all
        else leaves of the machine."""
        self._store = store
        self._owner = owner
        self._begins = processes
        self._ttl_ms = ttl_ms
        self._wait = wait
        self._yields = yields
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()
        self._works: dict[asyncio.Task[None], Work] = {}
        """In the order in which they began."""
        self._shares = shares(sorted(usable()), processes)
        self._hands: dict[tuple[int, ...], list[Hand]] = {one: [] for one in self._shares}
        self._joiners = Joiners(yields)
        # One for each piece: the loop's own are not that many on a large machine.
        self._threads = ThreadPoolExecutor(max(1, len(self._shares)), "pieces")
        self._elsewhere: dict[str, float] = {}
        self._busy_s = 0.0
        self._idle_s = IDLE_S
        self._away = False
        self._say: Callable[[str], None] = lambda line: None
        self.pieces = 0
        """That were made here."""

    def follow(self, say: Callable[[str], None]) -> None:
        """Tell what happens, a line at a time."""
        self._say = say

    @property
    def at_work(self) -> int:
        """Pieces and joined jobs that are under way."""
        return len(self._works)

    def limit(self, begins: int, keeps: int) -> None:
        """From now on nothing begins while `begins` are at work, and the newest above `keeps` go
        back at once."""
        if begins > self._begins:
            self._changed.set()
        self._begins = begins
        for work in list(self._works.values())[max(keeps, 0) :]:
            work.leave.set()
        if keeps < len(self._hands):
            self._let_go()

    def stop(self) -> None:
        """End soon; pieces that are not whole go back."""
        self._stopped.set()
        self._changed.set()

    async def run(self) -> None:
        """Until `stop`. Raises `StoreError` where the store stays away and nobody is to wait."""
        try:
            while not self._stopped.is_set():
                working = bool(self._works)  # what ends while we ask may make a job complete
                began = await self._reached()
                nothing = not began and not working and not self._works
                if nothing and not self._wait and not self._away:
                    return
                await self._pause(began)
        finally:
            for work in self._works.values():
                work.leave.set()
            if self._works:
                await asyncio.wait(self._works)
            self._let_go()
            await self._joiners.close()
            self._threads.shutdown()

    async def _reached(self) -> int:
        """As `_begin`; 0 while the store is away."""
        try:
            began = await self._begin()
        except StoreError as error:
            if not self._wait:
                raise
            if not self._away:
                self._say(str(error))
            self._away = True
            return 0
        if self._away:
            self._say("the store: is there again")
        self._away = False
        return began

    async def _begin(self) -> int:
        """Join what is complete, then claim as many pieces as there is room for."""
        room = min(len(self._shares), self._begins - len(self._works))
        if room <= 0:
            return 0
        now = time.monotonic()
        self._elsewhere = {job: until for job, until in self._elsewhere.items() if until > now}
        found = await self._store.jobs.complete(room + len(self._elsewhere))
        complete = [job for job in found if self._for_us(job)][:room]
        for job in complete:
            self._start(self._complete, job)
        room -= len(complete)
        if room <= 0:
            return len(complete)
        claims = await self._store.work.claim(
            self._owner, room, self._ttl_ms, but=list(self._elsewhere)
        )
        for claim in claims:
            self._start(self._make, claim)
        return len(complete) + len(claims)

    def _for_us(self, job: Job) -> bool:
        """Whether this machine has the folders of a job, and this version understands it."""
        if job.name in self._elsewhere:
            return False
        try:
            order = order_of(job)
        except ConfigError as error:
            self._say(f"job {job.name}: left to others: {error}")
        else:
            if order.here:
                return True
        self._elsewhere[job.name] = time.monotonic() + ELSEWHERE_S
        return False

    def _start(self, act: Callable[[Any, Work], Awaitable[None]], what: Any) -> None:
        work = Work(self._shares.pop())
        task = asyncio.create_task(self._through(act(what, work), work))
        self._works[task] = work

    async def _through(self, doing: Awaitable[None], work: Work) -> None:
        try:
            await doing
        finally:
            self._shares.append(work.share)
            task = asyncio.current_task()
            assert task is not None
            self._works.pop(task, None)

    async def _pause(self, began: int) -> None:
        self._changed.clear()
        changed = asyncio.create_task(self._changed.wait())
        if self._stopped.is_set():
            changed.cancel()
            return
        worked = bool(self._works)  # the last of them may end now, and the next begin at once
        full = len(self._works) >= min(self._begins, len(self._hands))
        await asyncio.wait(
            [changed, *self._works],
            timeout=None if full and self._works else self._idle_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        changed.cancel()
        self._idle_s = IDLE_S if began else min(self._idle_s * 1.25, LONGEST_IDLE_S)
        if worked:
            self._busy_s = time.monotonic()
        elif time.monotonic() - self._busy_s > KEEPS_S:
            self._let_go()
            await self._joiners.close()

    def _let_go(self) -> None:
        """End processes that have nothing to do."""
        for kept in self._hands.values():
            while kept:
                kept.pop().end()

    async def _attend(
        self, doing: asyncio.Future[Any], work: Work, hold: Callable[[], Awaitable[Any]]
    ) -> bool:
        """Wait until it is done, and hold the right to do it meanwhile. False: it is to be left.
        Raises `Fenced` where another has it."""
        leaving = asyncio.create_task(work.leave.wait())
        try:
            while not doing.done() and not leaving.done():
                await asyncio.wait(
                    [doing, leaving],
                    timeout=self._ttl_ms / 3000,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not doing.done() and not leaving.done():
                    await _held(hold)
            return doing.done()
        finally:
            leaving.cancel()

    # One piece.

    async def _make(self, claim: Claim, work: Work) -> None:
        job: Job | None = None
        try:
            job = await self._store.one(Job, claim.job)
            if job is None or job.state in FINAL:
                return
            if not self._for_us(job):
                await self._store.work.finish(claim, "waiting", {})
                return
            result = await self._made(job, claim, work)
            if result is None:
                await self._store.work.finish(claim, "waiting", {})
                return
            self.pieces += 1
            await self._store.work.finish(claim, "done", result)
            self._say(f"job {job.name}: piece {claim.number + 1} of {order_of(job).pieces} is made")
        except StoreError:  # another has it, or will have it when our claim has run out
            if job is not None:
                await self._clean(job.name)
        except StreamGenError as error:
            assert job is not None
            await self._fail(job, error)

    async def _made(self, job: Job, claim: Claim, work: Work) -> dict[str, Any] | None:
        """Have a piece made by a process, the claim held meanwhile; its result. None: it is to be
        left."""
        order = order_of(job)
        if order.uncut:
            return {"frames": 0}
        found = await asyncio.to_thread(made_of, job, claim.number, check=True)
        if found is None:
            chunk = order.planned().chunks[claim.number]
            what, kept = work_of(job, work.share, self._yields), self._hands[work.share]
            crew = work.crew = Crew(what, [chunk], 1, place=claim.number, kept=kept)
            making = asyncio.get_running_loop().run_in_executor(self._threads, crew.run)
            ours = False
            try:
                ours = await self._attend(
                    making,
                    work,
                    lambda: self._store.work.hold(claim, self._ttl_ms, {"frames": crew.frames}),
                )
            finally:
                if not ours:
                    crew.cancel()
                    with suppress(StreamGenError, Cancelled):
                        await making
            if not ours:
                return None
            await making
            found = made_of(job, claim.number)
            if found is None:
                raise OutputError(f"piece {claim.number + 1} of {order.output} is lost")
        report = found.report
        seconds = round(report.wall_s, 3)
        return {"frames": report.frames_out, "sha256": found.sha256, "seconds": seconds}

    async def _fail(self, job: Job, error: StreamGenError) -> None:
        """No output will come of this job. What was made of it stays for a job that is the same,
        where the input and what is asked for are not at fault."""
        with suppress(StoreError):
            now = await self._store.one(Job, job.name)
            if now is None or now.state in FINAL:
                return
            facts = {**now.facts, "error": str(error)}
            failed = replace(now, state="failed", facts=facts, version=now.version + 1)
            await self._store.write(failed)
            await self._store.work.withdraw(job.name)
            if isinstance(error, SourceError | ConfigError):
                await asyncio.to_thread(give_up_place, job)
            self._say(f"job {job.name}: failed: {error}")

    async def _clean(self, name: str) -> None:
        """What a process of ours wrote while a job was cancelled."""
        with suppress(StoreError):
            now = await self._store.one(Job, name)
            if now is not None and now.state == "cancelled":
                await asyncio.to_thread(give_up_place, now)

    # All pieces of a job.

    async def _complete(self, job: Job, work: Work) -> None:
        """Join a job, if nobody else does."""
        with suppress(StoreError):
            lease = await self._store.leases.acquire(
                f"{JOINS}{job.name}", self._owner, self._ttl_ms
            )
            if lease is None:
                return
            now = await self._store.one(Job, job.name)
            if now is not None and now.state not in FINAL:
                await self._join(now, lease, work)
            await self._store.leases.release(lease)

    async def _join(self, job: Job, lease: Lease, work: Work) -> None:
        joining = asyncio.ensure_future(self._joiners.join(order_of(job)))
        try:
            hold = lambda: self._store.leases.renew(lease, self._ttl_ms)  # noqa: E731
            if not await self._attend(joining, work, hold):
                return
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
        await asyncio.to_thread(give_up_place, job)
        self._say(f"job {job.name}: {order_of(job).output} is made")


async def _held(hold: Callable[[], Awaitable[Any]]) -> None:
    """Raises `Fenced`. A store that is away is no reason to stop."""
    try:
        await hold()
    except Fenced:
        raise
    except StoreError:
        return
