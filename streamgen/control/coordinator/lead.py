"""`Lead`: the lease to lead. Who has it leads until it would have ended, whether the store can be
asked or not, and says nothing after that."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress

from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.rows import Rows
from streamgen.control.store.rows import Home, Lease, Node, Stream
from streamgen.control.store.store import Store
from streamgen.errors import Fenced, StoreError

NAME = "coordinator"
RENEWALS = 4
"""In the time of a lease."""
FURTHEST = 10_000
"""So many leaders later than its own a leader takes another one for, at once: a peer that lies
cannot use up all epochs there are."""
Gained = Callable[[Lease, LeaseGained], Awaitable[None]]
log = logging.getLogger("streamgen.coordinator")


class Lead:
    """Of one coordinator. Times are milliseconds of a clock that never goes back; the store's
    own clock says when somebody else may have the lease."""

    def __init__(self, store: Store, owner: str, ttl_ms: int, now_ms: Callable[[], int]) -> None:
        self._store, self._owner, self._ttl_ms, self._now_ms = store, owner, ttl_ms, now_ms
        self._lease: Lease | None = None
        self._until_ms = 0
        self._away = False
        self._resigned = False
        self._above = self._epoch = 0

    def resign(self, outdone: int = 0) -> None:
        """Whoever leads by it has stopped: only another lease makes a leader again, as the epochs
        of this one may have been used up. Its epoch will be higher than `outdone`, that of a later
        leader that peers have seen: the store may be another one, or an older copy."""
        self._resigned = True
        self._above = max(self._above, min(outdone, self._epoch + FURTHEST))

    def ended(self) -> bool:
        """Somebody else may lead."""
        # The store began to count after we had asked, so it does not end earlier there.
        return self._lease is None or self._now_ms() >= self._until_ms

    async def run(self, gained: Gained, lost: Callable[[str], None]) -> None:
        """Ask for it and renew it, until cancelled. `gained` comes with the rows of the store."""
        while True:
            if self._lease is None:
                self._resigned = False
                await self._ask(gained)
            elif self._resigned or not await self._renew() or self.ended():
                if self._resigned:
                    await self.give_back(self._ttl_ms / RENEWALS / 1000)
                self._lease = None
                lost("its lease was not renewed in time, or is somebody else's")
                continue
            await asyncio.sleep(self._ttl_ms / RENEWALS / 1000)

    async def _ask(self, gained: Gained) -> None:
        asked_ms = self._now_ms()
        try:
            async with asyncio.timeout(self._ttl_ms / 1000):
                lease = await self._store.leases.acquire(
                    NAME, self._owner, self._ttl_ms, above=self._above
                )
        except (StoreError, TimeoutError) as error:
            self._gone(error)
            return
        if lease is None:
            self._there()
            return
        self._lease, self._until_ms = lease, asked_ms + self._ttl_ms
        self._epoch = lease.epoch
        begun = asyncio.create_task(self._begin(lease, gained))
        try:
            await self._held_until(begun)
        finally:
            begun.cancel()
            await asyncio.wait([begun])

    async def _begin(self, lease: Lease, gained: Gained) -> None:
        # From here on former leaders' writes are refused: nothing is read too early.
        rows, slices = Rows(), self._store.slices
        with _nothing_collected():
            for kind in (slices(Node), slices(Stream), slices(Home)):
                await _read(rows, kind)
            await gained(lease, rows.known(lease.epoch, whole=self._whole(lease)))

    def _whole(self, lease: Lease) -> bool:
        """A store that knew all leaders counts on from the last one by itself."""
        return not self._above or lease.epoch > self._above + 1

    async def _held_until(self, begun: asyncio.Task[None]) -> None:
        """There may be many rows: the lease is renewed while they are read and taken up."""
        while not begun.done():
            await asyncio.wait([begun], timeout=self._ttl_ms / RENEWALS / 1000)
            if not begun.done() and (not await self._renew() or self.ended()):
                self._lease = None
                return
        try:
            begun.result()
        except (StoreError, TimeoutError) as error:
            self._gone(error)
            self._lease = None

    async def _renew(self) -> bool:
        """False: somebody else has it. What cannot be asked is not known, and may do later."""
        lease, asked_ms = self._lease, self._now_ms()
        assert lease is not None
        left_s = max(self._until_ms - asked_ms, 0) / 1000
        try:
            async with asyncio.timeout(left_s):
                self._lease = await self._store.leases.renew(lease, self._ttl_ms)
        except Fenced:
            return False
        except (StoreError, TimeoutError) as error:
            self._gone(error)
            return True
        self._until_ms = asked_ms + self._ttl_ms
        self._there()
        return True

    async def give_back(self, within_s: float) -> None:
        """So that nobody has to wait for its end."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._store.leases.release(lease)

    def _gone(self, error: Exception) -> None:
        if not self._away:
            log.warning("the store cannot be asked: %s", error or "no answer in time")
        self._away = True

    def _there(self) -> None:
        if self._away:
            log.info("the store answers again")
        self._away = False


async def _read(rows: Rows, kind: AsyncGenerator[Sequence[Node | Stream | Home], None]) -> None:
    async with aclosing(kind):
        async for some in kind:
            rows.add(some)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """All that is made stays. Python would look through it again and again meanwhile, which takes
    as long as all the rest, and a third of a second at a time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
