"""`Office`: a coordinator as a process: the lease to lead, the wire and the store around a desk.

Any number of them may run; one leads, the others stand by. What it knows is in the store and at
nodes and edges, so it may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from hashlib import blake2b

from streamgen.control.coordinator.chronicle import MOST, Entry
from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.journal import Journal
from streamgen.control.coordinator.known import Known
from streamgen.control.coordinator.lead import Lead
from streamgen.control.coordinator.messages import Beat, FromCoordinator, Letter
from streamgen.control.coordinator.places import BEAT_S, Kind
from streamgen.control.coordinator.rows import entries
from streamgen.control.coordinator.switchboard import TURN, Caller, Switchboard
from streamgen.control.keys import LinkKey
from streamgen.control.store.rows import Lease
from streamgen.control.store.store import Store
from streamgen.errors import Fenced, StoreError
from streamgen.telemetry import Clock, Telemetry

TICK_S = 0.1
STORE_AGAIN_S = 1.0
GOODBYE_S = 2.0
"""At the end the store is given so long for what it has not taken yet."""
STILL_HERE, WHO_ARE_YOU = Beat(), Beat(unknown=True)
log = logging.getLogger("streamgen.coordinator")


class Office:
    """`run` it; `desk` may be looked at meanwhile, on its loop."""

    def __init__(
        self,
        owner: str,
        store: Callable[[], Store],
        place: str,
        *,
        key: LinkKey,
        known: Known | None,
        ttl_ms: int,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """`store` opens it once more: it may be away at first. `place` and `known` are as
        `Switchboard` has them; all coordinators of a cluster have the same `key`.

        Raises `ConfigError`.
        """
        self.owner = owner
        self._open_store, self._ttl_ms, self._clock = store, ttl_ms, clock
        self._known = known
        secret = blake2b(key.secret, person=b"owners' tokens", digest_size=32).digest()
        self.desk = Desk(Coordinator(secret), Figures(), self.say, self._persist)
        self._wire = Switchboard(place, key, known, self._hear, self.now_ms, telemetry)
        self.desk.chronicle.owner, self.desk.chronicle.told = owner, self._note
        self.store: Store | None = None
        """Once it was there."""
        self._lead: Lead | None = None
        self._journal: Journal | None = None
        self._untold: list[tuple[int, Entry]] = []
        """News of former leases, which the store did not take any more."""
        self._writing: asyncio.Task[None] | None = None
        self._alive: dict[str, None] = {}

    def now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000

    @property
    def unwritten(self) -> int:
        """Rows that the store does not have yet."""
        return 0 if self._journal is None else len(self._journal)

    async def run(self) -> None:
        """Until cancelled; then somebody else may lead at once. Raises `ConfigError`."""
        async with self._wire, AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wire.run())
            tasks.create_task(self._beat())
            self.store = store = await self._opened(opened)
            self._tasks = tasks
            self._lead = Lead(store, self.owner, self._ttl_ms, self.now_ms)
            tasks.create_task(self._tick())
            try:
                await self._lead.run(lambda *given: self._gained(store, *given), self._lost)
            finally:
                await self._resign()

    async def _opened(self, opened: AsyncExitStack) -> Store:
        said = False
        while True:
            try:
                return await opened.enter_async_context(self._open_store())
            except StoreError as error:
                if not said:
                    log.warning("the store is not there yet: %s", error)
                said = True
            await asyncio.sleep(STORE_AGAIN_S)

    # Leading.

    async def _gained(self, store: Store, lease: Lease, rows: LeaseGained) -> None:
        ahead_ms = await store.now_ms() - self.now_ms()
        history = dict(entries(await store.news.newest(MOST), ahead_ms)) | dict(self._untold)
        self.desk.chronicle.begin(sorted(history.values(), key=lambda one: one.at_ms))
        for _ in self.desk.coordinator.prepare(rows, self.now_ms()):
            await asyncio.sleep(0)
        nodes, streams = len(rows.nodes), len(rows.streams)
        log.info("leads with epoch %d: %d nodes, %d streams", lease.epoch, nodes, streams)
        self._journal = Journal(store, lease, ahead_ms, self._untold)
        self._writing = self._tasks.create_task(self._write(self._journal))
        self.desk.gained(rows, self.now_ms())
        for one in self._wire.callers():
            self._say_beat(one)

    async def _write(self, journal: Journal) -> None:
        try:
            await journal.run()
        except Fenced as error:
            self._lost(str(error))

    def _lost(self, reason: str) -> None:
        if self._journal is not None:
            log.warning("leads no more: %s", reason)
            self.desk.lost(self.now_ms())
            self._untold = self._journal.news
        self._journal = None
        if self._lead is not None:
            self._lead.resign(self.desk.outdone)
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def leads(self) -> bool:
        """Looked at before anything is decided: the lease may have ended a moment ago."""
        if self.desk.epoch and (self._lead is None or self._lead.ended()):
            self._lost("its lease has ended, and the store cannot be asked")
        elif self._journal is not None and not self.desk.epoch:
            self._lost("somebody showed the epoch of a later leader")
        return self.desk.epoch > 0

    async def _resign(self) -> None:
        """The end: what is not written is written, as far as that is soon done."""
        journal, writing = self._journal, self._writing
        if journal is not None and writing is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await journal.written()
        self._lost("it ends")
        if self._lead is not None:
            await self._lead.give_back(GOODBYE_S)

    # Hearing and saying.

    def _hear(self, caller: Caller, letter: Letter | None) -> None:
        if caller.kind == "worker":
            self._alive[caller.name] = None
        if letter is not None and self.leads():
            self.desk.hear(caller.kind, caller.name, letter, self.now_ms())

    def say(self, kind: Kind, name: str | None, message: FromCoordinator) -> None:
        """As the leader, to one peer, or (None) to all of a kind."""
        names = [one.name for one in self._wire.callers(kind)] if name is None else [name]
        for each in names:
            self._wire.say(kind, each, message, self.desk.epoch)

    def _persist(self, persist: Persist) -> None:
        if self._journal is not None:
            self._journal.add(persist)

    def _note(self, news: Sequence[Entry]) -> None:
        if self._journal is not None:
            self._journal.note(news)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            alive, self._alive = self._alive, {}
            if self.leads():
                now_ms = self.now_ms()
                silent = {one.name: now_ms - one.heard_ms for one in self._wire.callers("edge")}
                self.desk.tick(alive, silent, now_ms)

    async def _beat(self) -> None:
        while True:
            self.leads()
            for number, one in enumerate(self._wire.callers()):
                self._say_beat(one)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            if self._known is not None:
                self._known.renew()
            await asyncio.sleep(BEAT_S)

    def _say_beat(self, caller: Caller) -> None:
        unknown = self.desk.unknown(caller.kind, caller.name)
        beat = WHO_ARE_YOU if unknown else STILL_HERE
        self._wire.say(caller.kind, caller.name, beat, self.desk.epoch)
