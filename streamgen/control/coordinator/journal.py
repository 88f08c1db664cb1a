"""`Journal`: what a leader wants remembered, on its way to the store. Nobody waits for it.

While the store is away, what is newer takes the place of what is older: never more waits than
there are nodes, streams and homes, and entries of the chronicle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice

from streamgen.control.coordinator.chronicle import MOST, Entry
from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.fencing import COUNTER_BITS
from streamgen.control.coordinator.rows import GONE, told, written
from streamgen.control.store.rows import Home, Lease, Node, Row, Stream
from streamgen.control.store.store import Store
from streamgen.control.store.writer import MOST_ROWS
from streamgen.errors import Fenced, StoreError

AGAIN_S = 1.0
TIDY_S = 60.0
log = logging.getLogger("streamgen.coordinator")


class Journal:
    """Of one lease to lead: begin another one with the next."""

    def __init__(
        self, store: Store, lease: Lease, ahead_ms: int, untold: Sequence[tuple[int, Entry]]
    ) -> None:
        """`ahead_ms`: the store's clock less the coordinator's. `untold` is the `news` of a former
        lease."""
        self._store, self._lease, self._ahead_ms = store, lease, ahead_ms
        self._number = 0
        self._tidied = -TIDY_S
        self._waiting: dict[tuple[type[Row], str], Row] = {}
        self._news = deque(untold, maxlen=MOST)
        self._more, self._empty = asyncio.Event(), asyncio.Event()
        self._comes()

    def __len__(self) -> int:
        """Rows that are not durable yet."""
        return len(self._waiting) + len(self._news)

    @property
    def news(self) -> list[tuple[int, Entry]]:
        """Entries that are not durable yet, or not known to be, with their numbers."""
        return list(self._news)

    def add(self, persist: Persist) -> None:
        """Its version is higher than any before it, of this leader and of former ones."""
        for row in written(persist, self._next()):
            self._waiting.pop((type(row), row.name), None)  # type: ignore[union-attr]
            self._waiting[type(row), row.name] = row  # type: ignore[union-attr]
        self._comes()

    def note(self, news: Sequence[Entry]) -> None:
        """What was not written is not missed where as many came after it: no more are kept."""
        self._news += [(self._next(), entry) for entry in news]
        self._comes()

    def _next(self) -> int:
        """Higher than any before it, of this leader and of former ones."""
        self._number += 1
        return self._lease.epoch << COUNTER_BITS | self._number

    def _comes(self) -> None:
        self._empty.clear()
        self._more.set()

    async def run(self) -> None:
        """Until cancelled. Raises `Fenced` when somebody else leads."""
        while True:
            await self._more.wait()
            some, news = list(islice(self._waiting.items(), MOST_ROWS)), list(self._news)
            rows = [row for _, row in some]
            rows += [told(entry, number, self._ahead_ms) for number, entry in news]
            try:
                await self._store.write(*rows, fences=[self._lease])
            except Fenced:
                raise
            except StoreError as error:
                log.warning("not remembered yet, and tried again: %s", error)
                await asyncio.sleep(AGAIN_S)
                continue
            for key, row in some:
                if self._waiting.get(key) is row:
                    del self._waiting[key]
            while news and self._news and self._news[0][0] <= news[-1][0]:
                self._news.popleft()
            if not len(self):
                self._more.clear()
                self._empty.set()
                await self._tidy()

    async def _tidy(self) -> None:
        """Rows of what is gone, and old news, are thrown away now and then. Nothing older can come
        after them: former leaders' writes are refused, and our own come in order."""
        now = time.monotonic()
        if now - self._tidied >= TIDY_S:
            self._tidied = now
            try:
                for kind in (Node, Stream, Home):
                    await self._store.discard(kind, GONE)
                await self._store.news.shed(MOST)
            except StoreError as error:
                log.warning("rows of what is gone are kept for now: %s", error)

    async def written(self) -> None:
        """All of it is durable."""
        await self._empty.wait()
