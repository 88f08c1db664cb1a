"""`Peer`: a node's or an edge's end of the wire to the coordinators. Any number of them may be
there; the one that leads is listened to and talked to, the others only hear that the peer lives.

    peer = Peer("node-1", kind="worker", places=["10.0.0.5:7100", "10.0.0.6:7100"], key=key,
                coordinator_key=public_key("5f..."), heard=obey, hello=registration)
    task = asyncio.create_task(peer.run())
    peer.say(NodeReport("node-1", running))

What is said is for the leader of that moment. Whatever a leader may have missed, it is told by
`hello`: when it is new, when it was silent, and when it does not know this peer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import zmq
import zmq.asyncio

from streamgen.control.coordinator.events import StreamReleased, StreamWanted
from streamgen.control.coordinator.homes import StreamLeft
from streamgen.control.coordinator.messages import (
    ALIVE,
    Alive,
    Beat,
    FromCoordinator,
    HeardLater,
    Letter,
    ToCoordinator,
    opened,
    sealed,
)
from streamgen.control.coordinator.places import (
    ALIVE_S,
    DEAD_S,
    Kind,
    address,
    check_keys,
    identity,
    keyed,
    set_up,
)
from streamgen.control.keys import LinkKey
from streamgen.media.envelope import LinkError
from streamgen.telemetry import Clock, MonotonicClock

MOST_WAITING = 1_000
"""Events that wait for a leader who does not take them; then it is told all anew by `hello`."""
KNOCK_S = 5.0
"""Silence after which a coordinator is connected to anew: ZeroMQ does not by itself after a
refusal, and our key may be known by now."""
GOODBYE_MS = 200
Over = StreamReleased | StreamLeft
log = logging.getLogger("streamgen.peer")


class Peer:
    """`run` it as a task; it ends when that is cancelled, and says goodbye."""

    def __init__(
        self,
        name: str,
        *,
        kind: Kind,
        places: Sequence[str],
        key: LinkKey | None,
        coordinator_key: bytes | None,
        heard: Callable[[FromCoordinator], None],
        hello: Callable[[], ToCoordinator | tuple[ToCoordinator, ...]],
        clock: Clock | None = None,
    ) -> None:
        """`places` are all coordinators there are: `host:port`, where both keys are needed, or the
        folder of one on this machine. `name` is the node's or edge's in all events.

        `heard` gets commands of the newest leader only, and where the edges are (`Edges`, to
        nodes: all of them, each time); `hello` gives all that a leader has to know: of a node
        `NodeRegistered` with all that it carries, of an edge `EdgeRegistered`, then `StreamWanted`
        for every stream it wants, with the epoch whose pictures it gets. Both are called on the
        loop of `run` and must not block or raise. Moments in events and commands are by `now_ms`.

        Raises `ConfigError` for a name or place that is none, and a port without keys.
        """
        self.name = name
        self._heard, self._hello = heard, hello
        self._clock: Clock = clock if clock is not None else MonotonicClock()
        self._said: deque[ToCoordinator] = deque()
        self._missed = False
        self._over: deque[Over] = deque(maxlen=MOST_WAITING)
        """While nobody leads: `hello` cannot tell that."""
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._newest = 0
        """Epoch of the newest leader that was ever heard."""
        self._heard_ms = 0
        self._who = identity(kind, name)
        self._places, self._key, self._coordinator_key = tuple(places), key, coordinator_key
        for place in places:
            check_keys(place, key, coordinator_key)
        self._lines: list[_Line] = []

    @property
    def leader(self) -> int | None:
        """Epoch of who leads, as far as is known; None: nobody was heard for three seconds."""
        silent = self.now_ms() - self._heard_ms > DEAD_S * 1000
        return None if self._newest == 0 or silent else self._newest

    def now_ms(self) -> int:
        """By the clock of all moments that go through this peer."""
        return self._clock.now_ns() // 1_000_000

    def say(self, event: ToCoordinator) -> None:
        """Tell the leader, soon. Any thread; never blocks, never raises.

        While nobody leads it is lost, as the next leader is told all by `hello`; only that a
        stream is over waits (`StreamReleased`, `StreamLeft`), which that cannot tell.
        """
        if len(self._said) >= MOST_WAITING:
            self._missed = True
            return
        self._said.append(event)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Until cancelled. Then what was said goes out, if somebody takes it at once."""
        self._loop = asyncio.get_running_loop()
        context = zmq.asyncio.Context()
        for place in self._places:
            socket: Any = context.socket(zmq.DEALER)
            set_up(socket, place, self._key, self._coordinator_key)
            socket.setsockopt(zmq.IDENTITY, self._who)
            self._lines.append(_Line(socket, place))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._spread())
                tasks.create_task(self._live())
                for line in self._lines:
                    tasks.create_task(line.send(self.now_ms))
                    tasks.create_task(self._receive(line))
        finally:
            self._loop = None
            self._hand_out()
            for line in self._lines:
                line.close(self.now_ms())
            self._lines.clear()
            context.term()

    async def _spread(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            self._hand_out()

    def _hand_out(self) -> None:
        while self._said:
            event = self._said.popleft()
            if self.leader is not None:
                for line in self._leading():
                    line.put(event)
            elif isinstance(event, Over):
                self._over.append(event)
        if self._missed:
            self._missed = False
            for line in self._leading():
                self._greet(line)

    def _leading(self) -> list[_Line]:
        return [line for line in self._lines if line.leader and line.leader == self._newest]

    def _greet(self, line: _Line) -> None:
        """Say all that there is, in place of what waits."""
        said = self._hello()
        events = said if isinstance(said, tuple) else (said,)
        wanted = {one.work.name for one in events if isinstance(one, StreamWanted)}
        over = [*self._over, *(one for one in line.queue if isinstance(one, Over))]
        self._over.clear()
        line.queue.clear()
        again = (one for one in over if isinstance(one, StreamLeft) or one.stream not in wanted)
        line.tell(again, events)

    async def _live(self) -> None:
        while True:
            for line in self._lines:
                line.live(self.now_ms())
            await asyncio.sleep(ALIVE_S)

    async def _receive(self, line: _Line) -> None:
        while True:
            frames = await line.socket.recv_multipart()
            now_ms = self.now_ms()
            line.heard_ms = now_ms
            try:
                letter = opened(frames, now_ms)
            except LinkError as error:
                log.warning("what a coordinator says is not understood: %s", error)
                continue
            self._obey(line, letter, now_ms)

    def _obey(self, line: _Line, letter: Letter, now_ms: int) -> None:
        message = letter.message
        if letter.leader == 0 or letter.leader < self._newest:
            line.leader = 0
            if letter.leader:
                line.put(HeardLater(self._newest))
            return
        silent = now_ms - self._heard_ms > DEAD_S * 1000
        if letter.leader > self._newest:
            log.info("the coordinator with epoch %d leads", letter.leader)
        self._newest, self._heard_ms = letter.leader, now_ms
        unknown = isinstance(message, Beat) and message.unknown
        if line.leader != letter.leader or silent or unknown:
            line.leader = letter.leader
            self._greet(line)
        if not isinstance(message, Beat | ToCoordinator):
            self._heard(message)


class _Line:
    """One coordinator: a socket, and what it has not taken yet."""

    def __init__(self, socket: Any, place: str) -> None:
        self.place = address(place)
        self.socket = socket
        # What nobody takes waits here, where it can be taken back, and not in a pipe.
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.connect(self.place)
        self._knocks = keyed(place)
        self.leader = 0
        """Epoch under which it leads and was said hello to; 0: it does not lead."""
        self.heard_ms = 0
        self.queue: deque[ToCoordinator] = deque()
        self._most = MOST_WAITING
        self._more = asyncio.Event()

    def tell(self, *events: Iterable[ToCoordinator]) -> None:
        """All at once, however many; so many more may wait."""
        for some in events:
            self.queue.extend(some)
        self._most = MOST_WAITING + len(self.queue)
        self._more.set()

    def put(self, event: ToCoordinator) -> None:
        if len(self.queue) >= self._most:
            self.queue.clear()
            self.leader = 0  # its next beat is answered by a hello
        self.queue.append(event)
        self._more.set()

    def live(self, now_ms: int) -> None:
        if not self.queue:  # else nobody takes it: once is enough
            self.put(Alive())
        if self._knocks and now_ms - self.heard_ms > KNOCK_S * 1000:
            self.heard_ms = now_ms
            self.socket.disconnect(self.place)
            self.socket.connect(self.place)

    async def send(self, now_ms: Callable[[], int]) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self.queue:
                event = self.queue.popleft()
                await self.socket.send_multipart(self._frames(event, now_ms()))

    def _frames(self, event: ToCoordinator, now_ms: int) -> Sequence[bytes]:
        return ALIVE if isinstance(event, Alive) else sealed(event, now_ms, self.leader)

    def close(self, now_ms: int) -> None:
        """With what was said last, if it is taken at once."""
        self.socket.setsockopt(zmq.LINGER, GOODBYE_MS)
        with suppress(zmq.Again):
            while self.queue:
                frames = self._frames(self.queue.popleft(), now_ms)
                zmq.Socket.shadow(self.socket).send_multipart(frames, zmq.NOBLOCK)
        self.socket.close()
