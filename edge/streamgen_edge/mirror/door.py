"""`MirrorDoor`: where other edges come for streams that have their home here. On the loop.

Each edge is known by its connection, not by a name. One that does not take what it is sent is
forgotten, and says anew what it wants; it never holds up a stream, nor another edge.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import zmq
import zmq.asyncio

from streamgen.control.guests import Guests, guarded
from streamgen.control.keys import LinkKey
from streamgen.control.wire import BEAT_S, DEAD_S, decoded, encoded, prove
from streamgen.deliver.copying import Position
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry
from streamgen_edge.mirror.outlets import LadderOutlet, PacketsOutlet, PartsOutlet
from streamgen_edge.mirror.wire import UNDERSTOOD_NOT, Facts, What, prepare, read_position
from streamgen_edge.viewers import Watched
from streamgen_edge.viewing import Viewing

MOST_GUESTS = 1_000
MOST_WANTS = 20_000
"""Of one edge."""
MOST_ASKED = 16
"""Requests of one edge that are being answered."""
log = logging.getLogger("streamgen.edge.mirror")
Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Homes(Protocol):
    """The streams that have their home here."""

    def find(self, name: str, /) -> Watched | None: ...

    def request_keyframe(self, name: str, reason: str, /) -> None: ...


@dataclass(slots=True, eq=False)
class Want:
    """What an edge wants of one stream."""

    number: int
    stream: str
    what: What
    track: str
    """Of packets; of parts the place of their rendition."""
    has: Position | None
    """How far the copy is."""
    session: str
    """Of the copy."""
    viewing: Viewing | None = None
    outlet: LadderOutlet | PartsOutlet | PacketsOutlet | None = None
    said: str = ""
    """Of the stream as a whole, what was said last."""

    def close(self) -> None:
        if self.outlet is not None:
            self.outlet.close()
        self.viewing = self.outlet = None


@dataclass(slots=True, eq=False)
class Guest:
    """An edge that has come."""

    name: bytes
    heard: float
    wants: dict[int, Want] = field(default_factory=dict)
    asked: set[asyncio.Task[None]] = field(default_factory=set)
    gone: bool = False


class MirrorDoor:
    """Runs on the loop that enters it."""

    def __init__(
        self,
        place: str,
        homes: Homes,
        answer: Answer,
        telemetry: Telemetry,
        key: LinkKey | None = None,
        guests: Guests | None = None,
    ) -> None:
        """`place` is an address of ZeroMQ: in a folder, or a port, to which only the `guests` may
        come. `answer` does what other edges ask of the API. Raises `ConfigError` where the place is
        taken."""
        self.guests: dict[bytes, Guest] = {}
        self._homes = homes
        self._answer = answer
        self._telemetry = telemetry
        self._context = zmq.asyncio.Context()
        self._allowed = guests
        self._socket: Any = self._context.socket(zmq.ROUTER)
        prepare(self._socket)
        if key is not None:
            prove(self._socket, key)
        try:
            self._socket.bind(place)
        except zmq.ZMQError as error:
            self._socket.close()
            self._context.term()
            reason = zmq.strerror(error.errno or 0)
            raise ConfigError(f"other edges cannot come in at {place}: {reason}") from error
        self._tasks: list[asyncio.Task[None]] = []
        self.broken: Callable[[], None] = lambda: None
        """Called when it cannot go on."""

    async def __aenter__(self) -> MirrorDoor:
        if self._allowed is not None:
            self._guard = guarded(self._context, self._allowed)
        for work in (self._hear(), self._beat()):
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(self._stopped)
            self._tasks.append(task)
        return self

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the door for other edges broke", exc_info=error)
            self.broken()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for guest in list(self.guests.values()):
            self._lose(guest)
        self._socket.close()
        if self._allowed is not None:
            self._guard.stop()
        self._context.term()

    # Who is here.

    async def _hear(self) -> None:
        while True:
            name, head, *_ = await self._socket.recv_multipart()
            guest = self.guests.get(name)
            try:
                message = decoded(head)
                if message["type"] == "hello":
                    self._come(name)
                elif guest is None:
                    self._sent(Guest(name, 0.0), encoded({"type": "anew"}))
                else:
                    guest.heard = time.monotonic()
                    self._heard(guest, message)
            except UNDERSTOOD_NOT as error:
                log.warning("a message of another edge is not understood: %s", error)

    def _come(self, name: bytes) -> None:
        """It says all that it wants after this."""
        former = self.guests.get(name)
        if former is not None:
            self._lose(former)
        if len(self.guests) < MOST_GUESTS:
            self.guests[name] = Guest(name, time.monotonic())

    def _lose(self, guest: Guest) -> None:
        guest.gone = True
        self.guests.pop(guest.name, None)
        for want in guest.wants.values():
            want.close()
        for task in guest.asked:
            task.cancel()

    async def _beat(self) -> None:
        """Say that we live, look who does, and what has become of the streams."""
        while True:
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            for guest in list(self.guests.values()):
                if now - guest.heard > DEAD_S:
                    self._lose(guest)
                    continue
                self._say(guest, {"type": "beat"})
                for want in list(guest.wants.values()):
                    self._look(guest, want)
            wants = (want for guest in self.guests.values() for want in guest.wants.values())
            streams = sum(want.what is What.STREAM for want in wants)
            self._telemetry.gauge("mirrored", "elsewhere", streams)

    # What they want.

    def _heard(self, guest: Guest, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "want":
                self._wanted(guest, message)
            case "unwant":
                want = guest.wants.pop(int(message["sub"]), None)
                if want is not None:
                    want.close()
            case "had":
                want = guest.wants.get(int(message["sub"]))
                if want is not None and want.outlet is not None:
                    want.outlet.flow.had(int(message["bytes"]), int(message["messages"]))
                    want.outlet.pump()
            case "keyframe":
                self._homes.request_keyframe(str(message["stream"]), str(message["reason"])[:40])
            case "ask" if len(guest.asked) < MOST_ASKED:
                task = asyncio.get_running_loop().create_task(self._asked(guest, message))
                guest.asked.add(task)
                task.add_done_callback(lambda task: _done(guest, task))

    def _wanted(self, guest: Guest, message: Mapping[str, Any]) -> None:
        want = Want(
            int(message["sub"]),
            str(message["stream"]),
            What(message["what"]),
            str(message.get("track", "")),
            read_position(message.get("has")),
            str(message.get("session", "")),
        )
        former = guest.wants.pop(want.number, None)
        if former is not None:
            former.close()
        if len(guest.wants) < MOST_WANTS:
            guest.wants[want.number] = want
            self._look(guest, want)

    def _look(self, guest: Guest, want: Want) -> None:
        """Whether its stream is there, or another session of it, or over."""
        if guest.gone:
            return
        stream = self._homes.find(want.stream)
        viewing = None if stream is None or stream.viewing.packager is None else stream.viewing
        if viewing is not want.viewing:
            want.close()
            want.viewing = viewing
            if viewing is not None:
                self._open(guest, want, viewing)
        if guest.gone:  # it did not take what there was
            want.close()
            return
        if want.what is What.STREAM:
            self._tell(guest, want, here=stream is not None)

    def _tell(self, guest: Guest, want: Want, *, here: bool) -> None:
        """How the stream is; said once."""
        packager = None if want.viewing is None else want.viewing.packager
        if packager is not None:
            said = f"over {packager.start.session}" if packager.ended else "begun"
        else:
            said = "" if here else "none"
        if said != want.said:
            want.said = said
            if said not in ("", "begun"):
                self._say(guest, {"type": said.split()[0], "sub": want.number})

    def _open(self, guest: Guest, want: Want, viewing: Viewing) -> None:
        def say(message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
            self._say(guest, message, *frames)

        def send(header: bytes, data: Any) -> None:
            self._sent(guest, header, data)

        def left_out(reason: str) -> None:
            self._telemetry.count("mirror_resyncs", reason)

        number, facts = want.number, Facts.of(viewing)
        match want.what:
            case What.STREAM:
                want.said = "begun"
                say({"type": "begin", "sub": number, **facts.written()}, ())
            case What.LADDER:
                want.outlet = LadderOutlet(number, viewing, say)
            case What.PARTS if viewing.packager and want.track in viewing.packager.renditions:
                has = want.has if want.session == facts.session else None
                want.outlet = PartsOutlet(number, viewing, want.track, has, say, left_out)
            case What.PACKETS if any(one.name == want.track for one in viewing.tracks):
                want.outlet = PacketsOutlet(number, viewing, want.track, say, send, left_out)

    async def _asked(self, guest: Guest, message: Mapping[str, Any]) -> None:
        answer = await self._answer(message["request"])
        self._say(guest, {"type": "answer", "ask": message["ask"], **answer})

    # Sending.

    def _say(self, guest: Guest, message: Mapping[str, Any], *frames: bytes) -> None:
        self._sent(guest, encoded(message), *frames)

    def _sent(self, guest: Guest, *frames: Any) -> None:
        """One that does not take it is known no more: it says anew what it wants."""
        if guest.gone:
            return
        done = self._socket.send_multipart((guest.name, *frames), flags=zmq.NOBLOCK)
        error = done.exception()
        if error is None:
            size = sum(memoryview(frame).nbytes for frame in frames)
            self._telemetry.count("mirror_bytes", "sent", size)
        elif isinstance(error, zmq.ZMQError) and error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            self._lose(guest)
        else:
            raise error


def _done(guest: Guest, task: asyncio.Task[None]) -> None:
    guest.asked.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("what another edge asked for failed", exc_info=error)
