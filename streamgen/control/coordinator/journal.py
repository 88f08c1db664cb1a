"""`Journal`: what a leader wants remembered, on its way to the store. Nobody waits for it.

While the store is away, what is newer takes the place of what is older: never more waits than
there are nodes, streams and homes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice

from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.fencing import COUNTER_BITS
from streamgen.control.coordinator.rows import GONE, written
from streamgen.control.store.rows import Home, Lease, Node, Row, Stream
from streamgen.control.store.store import Store
from streamgen.control.store.writer import MOST_ROWS
from streamgen.errors import Fenced, StoreError

AGAIN_S = 1.0
TIDY_S = 60.0
log = logging.getLogger("streamgen.coordinator")


class Journal:
    """Of one lease to lead: begin another one with the next."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store, self._lease = store, lease
        self._number = 0
        self._tidied = -TIDY_S
        self._waiting: dict[tuple[type[Row], str], Row] = {}
        self._more, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Rows that are not durable yet."""
        return len(self._waiting)

    def add(self, persist: Persist) -> None:
        """Its version is higher than any before it, of this leader and of former ones."""
        self._number += 1
        for row in written(persist, self._lease.epoch << COUNTER_BITS | self._number):
            self._waiting.pop((type(row), row.name), None)  # type: ignore[union-attr]
            self._waiting[type(row), row.name] = row  # type: ignore[union-attr]
        self._empty.clear()
        self._more.set()

    async def run(self) -> None:
        """Until cancelled. Raises `Fenced` when somebody else leads."""
        while True:
            await self._more.wait()
            some = list(islice(self._waiting.items(), MOST_ROWS))
            try:
                await self._store.write(*(row for _, row in some), fences=[self._lease])
            except Fenced:
                raise
            except StoreError as error:
                log.warning("not remembered yet, and tried again: %s", error)
                await asyncio.sleep(AGAIN_S)
                continue
            for key, row in some:
                if self._waiting.get(key) is row:
                    del self._waiting[key]
            if not self._waiting:
                self._more.clear()
                self._empty.set()
                await self._tidy()

    async def _tidy(self) -> None:
        """Rows of what is gone are thrown away now and then. Nothing older can come after them:
        former leaders' writes are refused, and our own come in order."""
        now = time.monotonic()
        if now - self._tidied >= TIDY_S:
            self._tidied = now
            try:
                for kind in (Node, Stream, Home):
                    await self._store.discard(kind, GONE)
            except StoreError as error:
                log.warning("rows of what is gone are kept for now: %s", error)

    async def written(self) -> None:
        """All of it is durable."""
        await self._empty.wait()
