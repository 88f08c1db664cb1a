"""The edge's end of the link: its workers, who lives, and what goes to and comes from each.

Two ROUTER sockets on the loop (`zmq.asyncio`); a worker is known by its name. Nothing here knows
what a stream is for: streams are told what concerns them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.asyncio

from streamgen.control.wire import (
    BEAT_S,
    DEAD_S,
    control_address,
    decoded,
    encoded,
    media_address,
    prepare,
)
from streamgen.media.credit import Outflow
from streamgen.media.envelope import Envelope, LinkError, opened, seal

RETRY_S = 0.005
"""A worker's socket was full: the next try."""
log = logging.getLogger("streamgen.edge.link")


class Attached(Protocol):
    """One attachment of a stream to a worker, as the link sees it."""

    term: int
    outflow: Outflow | None

    def told(self, message: Mapping[str, Any]) -> None:
        """A control message about this stream, of this term."""
        ...

    def received(self, envelope: Envelope) -> None: ...

    def tell(self) -> None:
        """Time to say how far the stream has come with what the worker sent."""
        ...

    def lost(self) -> None:
        """The worker is gone."""
        ...


@dataclass(slots=True, eq=False)
class WorkerSeen:
    """A worker that has said hello."""

    name: str
    pid: int
    heard: float
    streams: dict[int, Attached] = field(default_factory=dict)
    retry: asyncio.TimerHandle | None = None


class Link:
    """Runs on the loop that enters it. `old` counts messages of former terms."""

    def __init__(self, folder: Path) -> None:
        self.workers: dict[str, WorkerSeen] = {}
        self.old = 0
        self.welcome: Callable[[WorkerSeen], None] = lambda worker: None
        """Called with each worker that has come."""
        self.broken = asyncio.Event()
        """Set when the link cannot go on: the process is to end, and to be started again."""
        self._folder = folder
        self._context = zmq.asyncio.Context()
        self._media = self._bound(media_address(folder), control=False)
        self._control = self._bound(control_address(folder), control=True)
        self._tasks: list[asyncio.Task[None]] = []

    def _bound(self, address: str, *, control: bool) -> Any:
        socket: Any = self._context.socket(zmq.ROUTER)
        prepare(socket, control=control)
        socket.bind(address)
        return socket

    async def __aenter__(self) -> Link:
        loop = asyncio.get_running_loop()
        for work in (self._hear, self._take_in, self._beat):
            task = loop.create_task(work())
            task.add_done_callback(self._stopped)
            self._tasks.append(task)
        return self

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """None of them ends by itself: without it the edge is of no use, and must say why."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the link broke", exc_info=error)
            self.broken.set()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._media.close()
        self._control.close()
        self._context.term()

    # Which workers there are.

    def idlest(self, avoid: str | None = None) -> WorkerSeen | None:
        """The living worker with the fewest streams; `avoid` only where there is no other."""
        rest = [worker for worker in self.workers.values() if worker.name != avoid]
        rest = rest or list(self.workers.values())
        return min(rest, key=lambda w: len(w.streams), default=None)

    def lose(self, name: str, pid: int | None = None) -> None:
        """A worker is known to be dead; with `pid` only if it is still that one."""
        worker = self.workers.get(name)
        if worker is None or (pid is not None and worker.pid != pid):
            return
        del self.workers[name]
        log.warning("worker %s is gone", name)
        if worker.retry is not None:
            worker.retry.cancel()
        for attached in list(worker.streams.values()):
            attached.lost()

    # Sending.

    def say(self, worker: WorkerSeen, message: Mapping[str, Any], *parts: bytes) -> bool:
        """One control message; False where the worker does not take it."""
        return self._sent(self._control, worker, (encoded(message), *parts))

    def pump(self, worker: WorkerSeen) -> None:
        """Send what the worker's streams may send, in turn; again soon when its socket is full."""
        now_ns = time.monotonic_ns()
        sending = [(n, a) for n, a in worker.streams.items() if a.outflow is not None]
        while sending:
            for number, attached in list(sending):
                outflow = attached.outflow
                item = None if outflow is None else outflow.take(now_ns)
                if outflow is None or item is None:
                    sending.remove((number, attached))
                    continue
                header = seal(
                    item.packet,
                    stream=number,
                    term=attached.term,
                    track=item.track,
                    kind=item.kind,
                    received_ns=item.received_ns,
                )
                if not self._sent(self._media, worker, (header, item.packet.data)):
                    outflow.back(item)
                    self._again(worker)
                    return

    def _again(self, worker: WorkerSeen) -> None:
        def again() -> None:
            worker.retry = None
            self.pump(worker)

        if worker.retry is None and worker.name in self.workers:
            worker.retry = asyncio.get_running_loop().call_later(RETRY_S, again)

    @staticmethod
    def _sent(socket: Any, worker: WorkerSeen, parts: tuple[Any, ...]) -> bool:
        done = socket.send_multipart((worker.name.encode(), *parts), flags=zmq.NOBLOCK)
        error = done.exception()
        if error is None:
            return True
        if isinstance(error, zmq.ZMQError) and error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise error

    # Receiving.

    async def _hear(self) -> None:
        while True:
            name, head, *_ = await self._control.recv_multipart()
            try:
                self._heard(name.decode("ascii", "replace"), decoded(head))
            except (LinkError, KeyError, TypeError, ValueError) as error:
                log.warning("a message of a worker is not understood: %s", error)

    def _heard(self, name: str, message: Mapping[str, Any]) -> None:
        now = time.monotonic()
        kind = message["type"]
        worker = self.workers.get(name)
        if kind in ("hello", "beat"):
            pid = int(message["pid"])
            if worker is not None and worker.pid != pid:
                self.lose(name)  # started again under its name, faster than its death was known
                worker = None
            if worker is None:
                arrived = self.workers[name] = WorkerSeen(name, pid, now)
                log.info("worker %s is here", name)
                self.welcome(arrived)
        if worker is None:
            return
        worker.heard = now
        attached = worker.streams.get(message.get("stream", -1))
        if attached is None:
            return
        if attached.term != message.get("term"):
            self.old += 1
            return
        if kind == "credit" and attached.outflow is not None:
            attached.outflow.credit(int(message["bytes"]), message["ms"])
            self.pump(worker)
        else:
            attached.told(message)

    async def _take_in(self) -> None:
        while True:
            parts = await self._media.recv_multipart()
            worker = self.workers.get(parts[0].decode("ascii", "replace"))
            if worker is None or len(parts) != 3:
                continue
            try:
                envelope = opened(parts[1], parts[2])
            except LinkError as error:
                log.warning("%s", error)
                continue
            attached = worker.streams.get(envelope.stream)
            if attached is None or attached.term != envelope.term:
                self.old += 1
                continue
            attached.received(envelope)

    async def _beat(self) -> None:
        """Say that we live, look who does, and let stalled streams give up what is too old."""
        while True:
            await asyncio.sleep(BEAT_S / 2)
            now = time.monotonic()
            for worker in list(self.workers.values()):
                if now - worker.heard > DEAD_S:
                    self.lose(worker.name)
                    continue
                self.say(worker, {"type": "beat"})
                for attached in worker.streams.values():
                    attached.tell()
                self.pump(worker)
