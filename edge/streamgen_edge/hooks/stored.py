"""`StoredOutbox`: the events that one service has still to be told, in the store. They outlive this
process, and any edge with the same store and a hook of the same name tells them.

Its sibling `outbox.Outbox` has them in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from streamgen.control.notices import ClaimedNotice, Notice
from streamgen.errors import StoreError
from streamgen_edge.hooks.event import Event
from streamgen_edge.hooks.outbox import MOST, NEVER_S, SOON_S, Lose, Waiting
from streamgen_edge.store import LateStore, Store

MOST_STORED = 10_000
"""Of one hook, from all edges."""
KEPT_STORED_S = 86_400.0
"""An event that is older is news no more, also where nobody was there to tell it."""
LOOK_S = 5.0
"""Between two looks for what other edges have left."""
ANSWER_S = 15.0
"""A store that does not answer within that is away."""
AGAIN_S = 1.0
"""It is asked again after that."""
TIDY_S = 60.0
UNSTORED = "the store did not take them"
OLD_OR_MANY = "too old, or too many events wait"
log = logging.getLogger("streamgen.edge.hooks")


class StoredOutbox:
    """An event is written, and only then told. What the store has not taken yet waits here: when
    that is too much the oldest makes room, and is counted as `unstored`.

    Of one stream's events only the oldest may be claimed, whoever asks: they leave in their order.
    """

    def __init__(
        self,
        target: str,
        store: LateStore,
        lose: Lose,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
        claim_s: float,
    ) -> None:
        """`target` is the hook's name. What is taken is this edge's for `claim_s`; a claim that was
        half as long on its way is not made use of, so that a try may take the other half."""
        self.woken = asyncio.Event()
        """There may be something to take."""
        self._target, self._store, self._lose = target, store, lose
        self._clock_s, self._wall_s, self._claim_s = clock_s, wall_s, claim_s
        self._unwritten: deque[Notice] = deque()
        self._writing: deque[Notice] = deque()
        self._more, self._written = asyncio.Event(), asyncio.Event()
        self._written.set()
        self._claim: ClaimedNotice | None = None
        """What is taken."""
        self._writes = 0
        self._left = 0
        """In the store, from all edges, when we last looked."""
        self._due_s = -NEVER_S
        self._tidied_s = -NEVER_S
        self._hurried = False
        self._away = False

    def __len__(self) -> int:
        return self._left + self.fleeting

    @property
    def fleeting(self) -> int:
        """Events that end with this process."""
        return len(self._unwritten) + len(self._writing)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """To be within while events are taken."""
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep())
            yield
            keeping.cancel()

    def put(self, event: Event, now_s: float) -> None:
        """Does not wait."""
        created_ms = event.unix_ns // 1_000_000
        body = dict(event.told)
        self._unwritten.append(Notice(self._target, event.id, event.stream, created_ms, body))
        self._written.clear()
        self._shed()
        self._more.set()

    async def take(self, now_s: float) -> Waiting | None:
        """What may be tried now. It is settled or put back after that."""
        if self._hurried:
            await self._written.wait()
        if self._due_s > now_s:
            return None
        self._due_s, asked_s = now_s + AGAIN_S, self._clock_s()
        async with self._asking():
            store = await self._store.opened()
            claim = await store.outbox.claim(self._target, round(self._claim_s * 1000))
            if claim is None:  # what is due is new, or somebody else is about to claim it
                await self._look(store, SOON_S)
            else:
                self._due_s = -NEVER_S
                if self._clock_s() - asked_s < self._claim_s / 2:
                    self._claim = claim
                    return self._waiting(claim)
        return None

    async def settle(self, waiting: Waiting) -> None:
        """It is heard, or given up. Where the store cannot be told so, it is told again."""
        assert self._claim is not None
        async with self._asking():
            await (await self._store.opened()).outbox.settle(self._claim.notice)
            self._left = max(0, self._left - 1)

    async def put_back(self, waiting: Waiting, due_s: float) -> None:
        """It was taken in vain: not before that time, by anybody. Where the store cannot be told
        so, when the claim ends."""
        assert self._claim is not None
        wait_ms = round(max(0.0, due_s - self._clock_s()) * 1000)
        async with self._asking():
            await (await self._store.opened()).outbox.postpone(self._claim, wait_ms)

    def due_s(self) -> float:
        """When there may be something to take; infinite where nothing is left."""
        return self._due_s

    def hurry(self) -> None:
        """Nothing more comes. What is not due stays where it is."""
        self._hurried = True
        self.woken.set()

    async def _keep(self) -> None:
        """Write what comes, and look for what others have left, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._more.wait()
            self._more.clear()
            answered = False
            async with self._asking():
                store = await self._store.opened()
                await self._write(store)
                await self._look(store)
                self.woken.set()
                await self._tidy(store)
                answered = True
            if not answered:
                await asyncio.sleep(AGAIN_S)
            if self._unwritten:
                self._more.set()

    async def _write(self, store: Store) -> None:
        if not self._unwritten:
            return
        self._writing, self._unwritten = self._unwritten, deque()
        written = False
        try:
            await store.write(*self._writing)
            written = True
        finally:
            if written:
                self._writes += 1
                self._left += len(self._writing)
                self._due_s = -NEVER_S
            else:
                self._unwritten = self._writing + self._unwritten
            self._writing = deque()
            self._shed()
        if not self._unwritten:
            self._written.set()

    async def _look(self, store: Store, soonest_s: float = 0.0) -> None:
        """What there is to tell, and when; but who wrote meanwhile knows better."""
        writes = self._writes
        backlog = await store.outbox.backlog(self._target)
        if writes == self._writes:
            due_s = NEVER_S if backlog.due_ms is None else backlog.due_ms / 1000
            self._left, self._due_s = backlog.left, self._clock_s() + max(due_s, soonest_s)

    async def _tidy(self, store: Store) -> None:
        now_s = self._clock_s()
        if now_s - self._tidied_s >= TIDY_S:
            self._tidied_s = now_s
            kept_ms = round(KEPT_STORED_S * 1000)
            gone = await store.outbox.shed(self._target, MOST_STORED, kept_ms)
            if gone:
                self._lose("dropped", gone, OLD_OR_MANY)

    def _waiting(self, claim: ClaimedNotice) -> Waiting:
        notice = claim.notice
        event = Event(notice.event, notice.about, notice.created_ms * 1_000_000, notice.body)
        age_s = self._wall_s() - notice.created_ms / 1000
        return Waiting(event, self._clock_s() + KEPT_STORED_S - age_s, tries=claim.attempt - 1)

    def _shed(self) -> None:
        more = max(0, len(self._unwritten) - MOST)
        for _ in range(more):
            self._unwritten.popleft()
        if more:
            self._lose("unstored", more, UNSTORED)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Within it the store is asked. One that is away ends it, and the log says so once."""
        try:
            async with asyncio.timeout(ANSWER_S):
                yield
        except (StoreError, TimeoutError) as error:
            if not self._away:
                reason = str(error) or "no answer in time"
                log.warning("hook %s: events wait for the store: %s", self._target, reason)
            self._away = True
        else:
            if self._away:
                log.info("hook %s: the store answers again", self._target)
            self._away = False
