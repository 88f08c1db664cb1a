"""The edge's end of the link: its workers, who lives, and what goes to and comes from each.

Workers come in by one or two doors (`door.py`), on the loop (`zmq.asyncio`); a worker is known by
its name. Nothing here knows what a stream is for: streams are told what concerns them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.asyncio

from streamgen.control.guests import Guests, Telemetry, guarded
from streamgen.control.keys import LinkKey, public_key, read_key
from streamgen.control.wire import (
    BEAT_S,
    Place,
    decoded,
    encoded,
)
from streamgen.media.credit import Item, Outflow
from streamgen.media.envelope import Envelope, LinkError, opened, seal
from streamgen_edge.door import Door
from streamgen_edge.settings import LinkSettings
from streamgen_edge.silence import Silence

RETRY_S = 0.005
"""A worker's socket was full: the next try."""
NOT_UNDERSTOOD = (LinkError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What a message of the right form and the wrong content may end in."""
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

    def failed(self, error: str) -> None:
        """One of these raised: nothing more is asked of the stream."""
        ...


@dataclass(slots=True, eq=False)
class WorkerSeen:
    """A worker that has said hello."""

    name: str
    pid: int
    door: Door
    streams: dict[tuple[int, int], Attached] = field(default_factory=dict)
    """By a stream's number and the term: one that changes over is here twice."""
    retry: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """Where workers of other machines come in, and which."""

    place: Place
    key: LinkKey
    guests: Guests


def remote_of(settings: LinkSettings | None, telemetry: Telemetry) -> Remote | None:
    """As configured. Raises `ConfigError`."""
    if settings is None:
        return None
    guests = Guests(guest_keys(settings), telemetry)
    return Remote(Place.at(settings.listen), read_key(settings.key), guests)


def guest_keys(settings: LinkSettings) -> list[bytes]:
    return [public_key(key) for key in settings.workers]


class Link:
    """Runs on the loop that enters it. `old` counts messages of former terms."""

    def __init__(
        self,
        folder: Path | None,
        remote: Remote | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """`folder` is where workers of this machine come in. Raises `ConfigError` when a place is
        taken or not ours."""
        self.workers: dict[str, WorkerSeen] = {}
        self.old = 0
        self.welcome: Callable[[WorkerSeen], None] = lambda worker: None
        """Called with each worker that has come."""
        self.elsewhere: Callable[[], bool] = lambda: True
        """Whether other workers could take over now what one has."""
        self.silence = Silence(time.monotonic())
        self.broken = asyncio.Event()
        """Set when the link cannot go on: the process is to end, and to be started again."""
        self._telemetry = telemetry
        self._context = zmq.asyncio.Context()
        self._doors: list[Door] = []
        self._guests = None if remote is None else remote.guests
        if folder is not None:
            self._doors.append(Door(self._context, Place.in_folder(folder), None))
        if remote is not None:
            self._doors.append(Door(self._context, remote.place, remote.key))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Link:
        if self._guests is not None:
            self._guard = guarded(self._context, self._guests)
        loop = asyncio.get_running_loop()
        works = [self._beat()]
        for door in self._doors:
            works += [self._hear(door), self._take_in(door)]
        for work in works:
            task = loop.create_task(work)
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
        for door in self._doors:
            door.close()
        if self._guests is not None:
            self._guard.stop()
        self._context.term()

    # Which workers there are.

    def admit(self, keys: Iterable[bytes]) -> None:
        """Workers of other machines with one of these public keys may come in from now on."""
        if self._guests is not None:
            self._guests.keys = frozenset(keys)

    def idlest(self, avoid: str | None = None) -> WorkerSeen | None:
        """The living worker with the fewest streams; `avoid` only where there is no other."""
        rest = [worker for worker in self.workers.values() if worker.name != avoid]
        rest = rest or list(self.workers.values())
        return min(rest, key=lambda w: len(w.streams), default=None)

    def here(self, worker: WorkerSeen) -> bool:
        """Whether this worker, and no other of its name, is still heard."""
        return self.workers.get(worker.name) is worker

    def lose(self, name: str, pid: int | None = None) -> None:
        """A worker is known to be dead; with `pid` only if it is still that one."""
        worker = self.workers.get(name)
        if worker is None or (pid is not None and worker.pid != pid):
            return
        del self.workers[name]
        self.silence.forget(name)
        self._count()
        log.warning("worker %s is gone", name, extra={"worker": name})
        if worker.retry is not None:
            worker.retry.cancel()
        for attached in list(worker.streams.values()):
            self._let(attached, attached.lost)

    @staticmethod
    def _let(
        attached: Attached,
        act: Callable[..., None],
        *given: Any,
        harmless: tuple[type[Exception], ...] = (),
    ) -> None:
        """A fault in one stream ends that stream; the edge, and all the others, go on."""
        try:
            act(*given)
        except harmless:
            raise
        except Exception as error:
            log.exception("a stream broke")
            reason = f"the server failed at this stream: {error!r}"
            asyncio.get_running_loop().call_soon(attached.failed, reason)

    def _count(self) -> None:
        if self._telemetry is not None:
            self._telemetry.gauge("workers", "", len(self.workers))

    # Sending.

    def say(self, worker: WorkerSeen, message: Mapping[str, Any], *parts: bytes) -> bool:
        """One control message; False where the worker does not take it."""
        error = self._sent(worker.door.control, worker, (encoded(message), *parts))
        if error == zmq.EHOSTUNREACH:  # its connection is gone: why wait for its silence
            asyncio.get_running_loop().call_soon(self.lose, worker.name, worker.pid)
        return error == 0

    def pump(self, worker: WorkerSeen) -> None:
        """Send what the worker's streams may send, in turn; again soon when its socket is full."""
        now_ns = time.monotonic_ns()
        sending = [(ids, a) for ids, a in worker.streams.items() if a.outflow is not None]
        while sending:
            for ids, attached in list(sending):
                outflow = attached.outflow
                item = None if outflow is None else outflow.take(now_ns)
                if outflow is None or item is None:
                    sending.remove((ids, attached))
                    continue
                try:
                    header = _header(item, *ids)
                except LinkError as error:  # its publisher's times, say, are beyond all measure
                    sending.remove((ids, attached))
                    attached.failed(str(error))
                    continue
                if self._sent(worker.door.media, worker, (header, item.packet.data)):
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
    def _sent(socket: Any, worker: WorkerSeen, parts: tuple[Any, ...]) -> int:
        """0, or the number of the error: it is full, or its worker is not connected."""
        done = socket.send_multipart((worker.name.encode(), *parts), flags=zmq.NOBLOCK)
        error = done.exception()
        if error is None:
            return 0
        if isinstance(error, zmq.ZMQError) and error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return error.errno
        raise error

    # Receiving.

    async def _hear(self, door: Door) -> None:
        while True:
            name, head, *_ = await door.control.recv_multipart()
            try:
                self._heard(door, name.decode("ascii", "replace"), decoded(head))
            except NOT_UNDERSTOOD as error:
                log.warning("a message of a worker is not understood: %s", error)

    def _heard(self, door: Door, name: str, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        worker = self.workers.get(name)
        if worker is not None and worker.door is not door:
            return  # a name that a worker of the other door has already
        if kind in ("hello", "beat"):
            pid = int(message["pid"])
            if worker is not None and worker.pid != pid:
                self.lose(name)  # started again under its name, faster than its death was known
                worker = None
            if worker is None:
                arrived = self.workers[name] = WorkerSeen(name, pid, door)
                self.silence.heard(name)
                self._count()
                log.info("worker %s is here", name, extra={"worker": name})
                # Streams that it may have are of an edge before us, or were given up.
                self.say(arrived, {"type": "anew"})
                self.welcome(arrived)
        if worker is None:
            return
        self.silence.heard(name)
        if "stream" not in message:
            return
        attached = self._attached(worker, message["stream"], message.get("term"))
        if attached is None:
            return
        if kind == "stuck":  # it ends itself, for this stream's sake
            reason, what = str(message["reason"]), str(message["what"]).partition(" ")[0]
            log.error("worker %s ends: %s", name, reason, extra={"worker": name})
            if self._telemetry is not None:
                self._telemetry.count("workers_stuck", what)
            self._let(attached, attached.told, message, harmless=NOT_UNDERSTOOD)
            self.lose(name)
            return
        if kind == "credit" and attached.outflow is not None:
            attached.outflow.credit(int(message["bytes"]), message["ms"])
            self.pump(worker)
        else:
            self._let(attached, attached.told, message, harmless=NOT_UNDERSTOOD)

    def _attached(self, worker: WorkerSeen, stream: Any, term: Any) -> Attached | None:
        """Whom this concerns; None: nobody any more, which is counted."""
        attached = worker.streams.get((stream, term))
        self.old += attached is None
        return attached

    async def _take_in(self, door: Door) -> None:
        while True:
            parts = await door.media.recv_multipart()
            worker = self.workers.get(parts[0].decode("ascii", "replace"))
            if worker is None or worker.door is not door or len(parts) != 3:
                continue
            self.silence.heard(worker.name)
            try:
                envelope = opened(parts[1], parts[2])
            except LinkError as error:
                log.warning("%s", error)
                continue
            attached = self._attached(worker, envelope.stream, envelope.term)
            if attached is not None:
                self._let(attached, attached.received, envelope)

    async def _beat(self) -> None:
        """Say that we live, look who does, and let stalled streams give up what is too old."""
        while True:
            await asyncio.sleep(BEAT_S / 2)
            for name in self.silence.look(time.monotonic(), elsewhere=self.elsewhere()):
                self.lose(name)
            for worker in list(self.workers.values()):
                self.say(worker, {"type": "beat"})
                for attached in list(worker.streams.values()):
                    self._let(attached, attached.tell)
                self.pump(worker)


def _header(item: Item, stream: int, term: int) -> bytes:
    return seal(
        item.packet,
        stream=stream,
        term=term,
        track=item.track,
        kind=item.kind,
        received_ns=item.received_ns,
    )
