"""`Node`: a worker as a node of a cluster: it offers itself to the coordinators, says what it
carries and follows the edges they name. All that runs goes on while none of them leads."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from streamgen.config import cores
from streamgen.control.coordinator.commands import (
    Assign,
    Change,
    Cordon,
    Drained,
    Move,
    Revoke,
    Warm,
)
from streamgen.control.coordinator.directory import EdgeRegistered, Edges
from streamgen.control.coordinator.events import (
    Drain,
    NodeLeft,
    NodeMeasured,
    NodeRegistered,
    NodeReport,
    Running,
)
from streamgen.control.coordinator.messages import FromCoordinator, ToCoordinator
from streamgen.control.coordinator.peer import Peer
from streamgen.control.cost import CostMeter
from streamgen.control.filler import Filler, taken
from streamgen.control.gpu import Gpu
from streamgen.control.holdings import Holdings
from streamgen.control.keys import LinkKey, public_key
from streamgen.control.line import Proof
from streamgen.control.outfit import Outfit
from streamgen.control.placement.catalogue import MOST_PROFILES
from streamgen.control.placement.resources import Profile, Resources
from streamgen.control.wire import Place
from streamgen.control.worker import Worker
from streamgen.errors import ConfigError

REPORT_S = 1.0
"""Between two words on what runs."""
UNLISTED_S = 30.0
"""A new leader hears of edges one by one: an edge that it does not name yet is not left at once."""
log = logging.getLogger("streamgen.node")


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a cluster's coordinators are, and what opens their door."""

    places: Sequence[str]
    key: LinkKey | None = None
    coordinator_key: bytes | None = None


def capacity(share: int = 1, gpu: Gpu | None = None, *, gpu_share: int = 1) -> Resources:
    """What one of `share` workers of this machine has to give, and of `gpu_share` of this GPU."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = Resources(cpu_ms=1000 * cores() // share, memory_mb=(memory >> 20) // share)
    if gpu is None:
        return found
    return found + Resources(
        gpu_ms=1000 // gpu_share,
        gpu_memory_mb=gpu.memory_mb // gpu_share,
        decoder_ms=1000 * gpu.decoders // gpu_share,
        encoder_ms=1000 * gpu.encoders // gpu_share,
    )


def where(edge: EdgeRegistered, key: LinkKey | None) -> tuple[Place, Proof | None]:
    """An edge's link as a worker wants it. Raises `ConfigError`."""
    if not edge.place.startswith("tcp://"):
        return Place.in_folder(Path(edge.place)), None
    if key is None:
        raise ConfigError(f"edge {edge.edge} is on another machine, and we have no key")
    return Place.at(edge.place), Proof(key, public_key(edge.public_key))


class Node:
    """`with` it runs a thread and an event loop of its own, beside the worker's."""

    def __init__(
        self,
        worker: Worker,
        holdings: Holdings,
        membership: Membership,
        capacity: Resources,
        *,
        drain_s: float,
        filler: Filler | None = None,
        profiles: Iterable[Profile] = (),
        outfit: Outfit | None = None,
    ) -> None:
        """`drain_s` is how long others have to take over what runs, when `drain` is asked for;
        `filler` has pieces of jobs made in what streams leave; `profiles` were measured here;
        without an `outfit` it is taken to have all that any pipeline needs."""
        self._worker, self._holdings = worker, holdings
        self._key = membership.key
        self._capacity = capacity
        self._drain_s = drain_s
        self._filler = filler
        self._profiles = {one.subject: one for one in profiles}
        self._outfit = outfit
        self._parts = None if outfit is None else outfit.parts()
        self._meter = CostMeter()
        self._boot = secrets.token_hex(8)
        self._edges: dict[str, EdgeRegistered] = {}
        self._unlisted: dict[str, float] = {}
        """Edges that the leader does not name, and since when."""
        self._draining = False
        self._cordoned = False
        """Its coordinators empty it: it makes no pieces of jobs."""
        self._emptied: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._peer = Peer(
            worker.name,
            kind="worker",
            places=membership.places,
            key=membership.key,
            coordinator_key=membership.coordinator_key,
            heard=self._obey,
            hello=self._hello,
        )
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)

    def __enter__(self) -> Node:
        self._holdings.changed = lambda: self._soon(self._changed)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._soon(self._over.set)
        self._thread.join()

    def drain(self) -> None:
        """Let others take over what runs here, then stop the worker; again: stop it at once. Any
        thread, also from a signal handler."""
        if self._draining or self._loop is None:
            self._worker.stop()
        else:
            self._draining = True
            self._soon(self._drain)

    def _soon(self, act: object) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(act)  # type: ignore[arg-type]

    # On the loop.

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        finally:  # nobody would hear of what it carries
            self._worker.stop()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        works: list[Coroutine[Any, Any, object]]
        works = [self._peer.run(), self._report(), self._over.wait()]
        if self._filler is not None:
            works.append(self._filler.run())
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._peer.say(NodeLeft(self._worker.name))
            await asyncio.sleep(0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _report(self) -> None:
        """What runs. What has ended is missing from the second report on: its edge, which knows
        why, goes first."""
        former: tuple[Running, ...] = ()
        while True:
            running, models = self._holdings.running(), self._holdings.models()
            ended = tuple(one for one in former if one not in running)
            self._make_room()
            self._peer.say(NodeReport(self._worker.name, running + ended, models, *self._pieces()))
            former = running
            self._look_at_cost()
            self._look_at_outfit()
            self._leave_unlisted()
            await asyncio.sleep(REPORT_S)

    def _pieces(self) -> tuple[int, bool]:
        """How many are made, and whether there are none and will be none."""
        if self._filler is None:
            return 0, self._cordoned
        return self._filler.at_work, self._filler.left

    def _look_at_cost(self) -> None:
        seen = self._meter.look(self._holdings.carried())
        if seen is None:
            return
        known = self._profiles.pop(seen.subject, seen)
        self._profiles[seen.subject] = known.most(seen)
        self._peer.say(NodeMeasured(self._worker.name, self._measured()))

    def _look_at_outfit(self) -> None:
        """Models are imported while it runs."""
        parts = None if self._outfit is None else self._outfit.parts()
        if parts != self._parts:
            self._parts = parts
            self._peer.say(self._registration())

    def _measured(self) -> tuple[Profile, ...]:
        """The latest ones."""
        return tuple(self._profiles.values())[-MOST_PROFILES:]

    def _changed(self) -> None:
        self._make_room()
        if self._draining and not len(self._holdings):
            self._worker.stop()

    def _make_room(self) -> None:
        """For streams, by pieces of jobs."""
        if self._filler is None:
            return
        if self._cordoned or self._draining:
            self._filler.leave()
        else:
            self._filler.beside(taken(self._holdings.running()))

    def _drain(self) -> None:
        self._make_room()
        if not len(self._holdings):
            self._worker.stop()
            return
        log.info("no new work: %d streams move away", len(self._holdings))
        self._peer.say(Drain(self._worker.name))
        assert self._loop is not None
        self._emptied = self._loop.call_later(self._drain_s, self._worker.stop)

    def _hello(self) -> tuple[ToCoordinator, ...]:
        registered = self._registration()
        return (registered, Drain(registered.node)) if self._draining else (registered,)

    def _registration(self) -> NodeRegistered:
        return NodeRegistered(
            self._worker.name,
            self._boot,
            self._capacity,
            self._holdings.models(),
            self._holdings.running(),
            self._measured(),
            self._parts,
        )

    def _obey(self, command: FromCoordinator) -> None:
        match command:
            case Edges():
                self._follow(command)
            case Revoke():
                if self._holdings.revoke(command.stream, command.epoch):
                    log.info("stream %s is not ours: %s", command.stream, command.reason)
            case Cordon():
                self._cordoned = command.wanted
                self._make_room()
            case Drained() if self._draining:
                self._worker.stop()
            case Change():
                if self._holdings.change(command):
                    log.info("stream %s gives up: %s", command.work.name, command.cut.name)
            case Warm():
                self._worker.load(command.models)
            case Assign():
                self._holdings.told(command)
            case Move():
                owner = command.work, command.node, command.epoch, command.token, command.cut
                self._holdings.told(Assign(*owner))
            case _:  # to edges
                pass

    def _follow(self, edges: Edges) -> None:
        now = time.monotonic()
        listed = {one.edge: one for one in edges.edges}
        self._unlisted = {
            name: self._unlisted.get(name, now) for name in self._edges if name not in listed
        }
        self._edges |= listed
        self._use()

    def _leave_unlisted(self) -> None:
        now = time.monotonic()
        gone = [name for name, since in self._unlisted.items() if now - since > UNLISTED_S]
        for name in gone:
            del self._unlisted[name], self._edges[name]
        if gone:
            self._use()

    def _use(self) -> None:
        found = {}
        for name, edge in self._edges.items():
            try:
                found[name] = where(edge, self._key)
            except ConfigError as error:
                log.warning("%s", error)
        self._worker.use(found)
