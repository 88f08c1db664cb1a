"""`Lead`: the lease to lead. Who has it leads until it would have ended, whether the store can be
asked or not, and says nothing after that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.rows import read
from streamgen.control.store.rows import Home, Lease, Node, Stream
from streamgen.control.store.store import Store
from streamgen.errors import Fenced, StoreError

NAME = "coordinator"
RENEWALS = 4
"""In the time of a lease."""
FURTHEST = 10_000
"""So many leaders later than its own a leader takes another one for, at once: a peer that lies
cannot use up all epochs there are."""
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

    async def run(
        self, gained: Callable[[Lease, LeaseGained], None], lost: Callable[[str], None]
    ) -> None:
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

    async def _ask(self, gained: Callable[[Lease, LeaseGained], None]) -> None:
        asked_ms = self._now_ms()
        try:
            async with asyncio.timeout(self._ttl_ms / 1000):
                lease = await self._store.leases.acquire(
                    NAME, self._owner, self._ttl_ms, above=self._above
                )
                if lease is None:
                    self._there()
                    return
                # From here on former leaders' writes are refused: nothing is read too early.
                all_of = self._store.all
                nodes, streams = await all_of(Node), await all_of(Stream)
                known = read(lease.epoch, nodes, streams, await all_of(Home))
        except (StoreError, TimeoutError) as error:
            self._gone(error)
            return
        self._lease, self._until_ms = lease, asked_ms + self._ttl_ms
        self._epoch = lease.epoch
        if await self._renew():  # there may have been many rows
            self._there()
            gained(lease, known)
        else:
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
