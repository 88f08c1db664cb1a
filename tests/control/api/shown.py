"""A coordinator with an API, on a loop and thread of its own, and a cluster around it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from streamgen.control.api.cluster import cluster_api, edges_api
from streamgen.control.api.inquiries import Inquiries
from streamgen.control.api.server import served
from streamgen.control.coordinator.events import StreamWanted, WorkerLost
from streamgen.control.coordinator.messages import FromCoordinator, ToCoordinator
from streamgen.control.coordinator.office import Office
from streamgen.control.coordinator.peer import Peer
from streamgen.control.coordinator.places import Kind
from streamgen.control.jobs.board import JobBoard
from streamgen.control.jobs.order import JobOrder
from streamgen.control.keys import new_key
from streamgen.control.placement.resources import Profile
from streamgen.control.store import Chunk, Job, Store
from streamgen.control.store.late import LateStore
from streamgen.telemetry import MonotonicClock, Telemetry
from tests.control.coordinator.acting import SMALL, WITHIN_S, Edge, Node, until, work

PIECE_S = 2.5
"""What each piece took that is done."""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Shown:
    """Use with `with`. Nodes and edges come to it over the wire, and only act as such."""

    def __init__(self, folder: Path, name: str = "host-1", token: str | None = None) -> None:
        self.folder, self.name, self.port = folder, name, 0
        self.nodes: dict[str, Node] = {}
        self.edges: dict[str, Edge] = {}
        self.wire = str(folder / name / "wire")
        """Where peers come in."""
        self._token = token
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Shown:
        self._thread.start()
        assert self._ready.wait(WITHIN_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(WITHIN_S)
            assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        place = self.folder / self.name
        place.mkdir()
        url = f"sqlite:///{self.folder}/state.db"
        telemetry = Telemetry()
        self.office = Office(
            self.name,
            lambda: Store(url, wall_ms),
            self.wire,
            key=new_key(place / "key"),
            known=None,
            ttl_ms=60_000,
            clock=MonotonicClock(),
            telemetry=telemetry,
        )
        tasks = asyncio.create_task(self.office.run())
        async with AsyncExitStack() as self._opened:
            jobs = JobBoard(await self._opened.enter_async_context(LateStore(url, wall_ms)))
            api = cluster_api(self.office, jobs, telemetry, self._token, "127.0.0.1")
            edges = Inquiries(self.office, edges_api(self.office, jobs))
            await self._opened.enter_async_context(edges)
            self.port = await self._opened.enter_async_context(served(api, "127.0.0.1", 0))
            await until(lambda: self.office.store is not None, "its store is open")
            self._ready.set()
            await self._over.wait()
        tasks.cancel()
        await asyncio.wait([tasks])

    def until(self, true: Callable[[], object], what: str) -> None:
        ends = time.monotonic() + WITHIN_S
        while not true():
            assert time.monotonic() < ends, f"not within {WITHIN_S:g} s: {what}"
            time.sleep(0.05)

    def leads(self) -> bool:
        return self.office.leads()

    def knows(self, edge: str) -> bool:
        return edge in self.office.desk.directory

    @asynccontextmanager
    async def peer(
        self,
        name: str,
        kind: Kind,
        heard: Callable[[FromCoordinator], None],
        hello: Callable[[], tuple[ToCoordinator, ...]],
    ) -> AsyncIterator[Peer]:
        peer = Peer(
            name,
            kind=kind,
            places=[self.wire],
            key=None,
            coordinator_key=None,
            heard=heard,
            hello=hello,
        )
        task = asyncio.create_task(peer.run())
        try:
            yield peer
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _done(self, what: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(WITHIN_S)

    def node(self, name: str) -> None:
        self.nodes[name] = Node(name)
        self._done(self._opened.enter_async_context(self.nodes[name].there(self)))

    def edge(self, name: str) -> None:
        self.edges[name] = Edge(name)
        self._done(self._opened.enter_async_context(self.edges[name].there(self)))

    def say(self, peer: Node | Edge, message: ToCoordinator) -> None:
        assert peer.peer is not None
        peer.peer.say(message)

    def dies(self, name: str) -> None:
        """Its worker, with all that it carried; it is back at once."""
        node = self.nodes[name]
        self._loop.call_soon_threadsafe(node.running.clear)
        self.say(node, WorkerLost(name))

    def want(self, edge: str, name: str, profile: Profile = SMALL) -> None:
        one = self.edges[edge]
        one.wanted[name] = work(name, profile)
        self.say(one, StreamWanted(one.wanted[name], None))

    def claim(self) -> None:
        """Somebody begins with one more piece."""
        assert self.office.store is not None
        self._done(self.office.store.work.claim("somebody", 1, 60_000))

    def job(self, name: str, state: str, pieces: int, done: int = 0) -> None:
        """In the store."""
        self._done(self._job(name, state, pieces, done))

    async def _job(self, name: str, state: str, pieces: int, done: int) -> None:
        store = self.office.store
        assert store is not None
        order = JobOrder(
            pipeline={"name": "plain"},
            input=f"/in/{name}.mov",
            output=f"/out/{name}.mp4",
            ladder=False,
            place=f"{self.folder}/pieces",
            pieces=pieces,
            frames=10 * pieces,
        )
        facts = {"order": order.model_dump(mode="json")} | (
            {"error": "no such file"} if state == "failed" else {}
        )
        job = Job(name, name, state, wall_ms(), facts=facts)
        await store.work.submit(job, [Chunk(name, number) for number in range(pieces)])
        for claim in await store.work.claim("somebody", done, 60_000):
            await store.work.finish(claim, "done", {"frames": 10, "seconds": PIECE_S})
