"""`Line`: the way to one other edge, for all that is wanted of the streams it has. On the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zmq
import zmq.asyncio

from streamgen.control.keys import LinkKey
from streamgen.control.wire import DEAD_S, decoded, encoded, prove
from streamgen.media.envelope import MAGIC, opened
from streamgen.media.packet import Packet
from streamgen_edge.mirror.wire import UNDERSTOOD_NOT, prepare

TELL_BYTES, TELL_MESSAGES = 256 << 10, 50
"""The home is told how far we have come after so much."""
ASK_S = 5.0
log = logging.getLogger("streamgen.edge.mirror")
Count = Callable[[str, str, int], None]
"""Hears of `mirror_bytes`, by `received`, and how many."""


@dataclass(eq=False)
class Sub:
    """Something that is wanted, until it is not."""

    want: Callable[[], Mapping[str, Any]]
    """What to say; asked for again where it has to be said again."""
    heard: Callable[[Mapping[str, Any], Sequence[bytes]], None]
    packet: Callable[[Packet], None]
    number: int = 0
    bytes: int = 0
    """Media that has come, and in how many messages."""
    messages: int = 0
    told: tuple[int, int] = (0, 0)


class Line:
    """Opened at once; `close` ends it."""

    def __init__(
        self,
        context: zmq.asyncio.Context,
        place: str,
        count: Count,
        key: LinkKey | None = None,
        home_key: bytes | None = None,
    ) -> None:
        """`place` is an address of ZeroMQ, whose owner has `home_key`; we have `key`."""
        self.subs: dict[int, Sub] = {}
        self._context, self._place = context, place
        self._key, self._home_key = key, home_key
        self._count = count
        self._number = 0
        self._answers: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._heard = self._tried = time.monotonic()
        self._open()

    @property
    def silent(self) -> bool:
        """The other edge is not heard: it is dead, or cut off."""
        return time.monotonic() - self._heard > DEAD_S

    def _open(self) -> None:
        self._socket: Any = self._context.socket(zmq.DEALER)
        prepare(self._socket)
        if self._key is not None and self._home_key is not None:
            prove(self._socket, self._key, edge=self._home_key)
        self._socket.connect(self._place)
        self._task = asyncio.get_running_loop().create_task(self._hear(self._socket))
        self._task.add_done_callback(_stopped)
        self._greet()

    def _greet(self) -> None:
        """Say all that is wanted, to one that knows nothing of it."""
        self.say({"type": "hello"})
        subs, self.subs = self.subs, {}
        for sub in subs.values():
            self.want(sub)

    def close(self) -> None:
        self._task.cancel()
        self._socket.close()
        for answer in self._answers.values():
            answer.cancel()

    # What is wanted.

    def want(self, sub: Sub) -> Sub:
        self._number += 1
        sub.number = self._number
        sub.bytes = sub.messages = 0
        sub.told = (0, 0)
        self.subs[sub.number] = sub
        self.say({"type": "want", "sub": sub.number, **sub.want()})
        return sub

    def unwant(self, sub: Sub) -> None:
        if self.subs.pop(sub.number, None) is not None:
            self.say({"type": "unwant", "sub": sub.number})

    def again(self, sub: Sub) -> None:
        """What has come of it does not fit."""
        self.unwant(sub)
        self.want(sub)

    async def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Something of the other edge's API; None: no answer came in time."""
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self.say({"type": "ask", "ask": number, "request": request})
        try:
            await asyncio.wait({answer}, timeout=ASK_S)
        finally:
            del self._answers[number]
        return answer.result() if answer.done() and not answer.cancelled() else None

    def say(self, message: Mapping[str, Any]) -> None:
        """What is not taken is lost, and said again where the other edge asks for all anew."""
        done = self._socket.send_multipart((encoded(message),), flags=zmq.NOBLOCK)
        error = done.exception()
        if error is not None and not (
            isinstance(error, zmq.ZMQError) and error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH)
        ):
            raise error

    def beat(self) -> None:
        """From time to time: say that we live, and how far we are."""
        now = time.monotonic()
        if self._task.done() or (self.silent and now - self._tried > DEAD_S):
            self._tried = now  # its address may mean another process by now
            self._task.cancel()
            self._socket.close()
            self._open()
        self.say({"type": "beat"})
        for sub in self.subs.values():
            self._tell(sub)

    def _tell(self, sub: Sub) -> None:
        if sub.told != (sub.bytes, sub.messages):
            sub.told = sub.bytes, sub.messages
            had = {"type": "had", "sub": sub.number, "bytes": sub.bytes}
            self.say({**had, "messages": sub.messages})

    # What comes.

    async def _hear(self, socket: Any) -> None:
        while True:
            frames = await socket.recv_multipart()
            self._heard = time.monotonic()
            try:
                if frames[0][:2] == MAGIC and len(frames) == 2:
                    self._packet(frames[0], frames[1])
                else:
                    self._message(decoded(frames[0]), frames[1:])
            except UNDERSTOOD_NOT as error:
                log.warning("a message of another edge is not understood: %s", error)

    def _packet(self, header: bytes, data: bytes) -> None:
        envelope = opened(header, data)
        sub = self.subs.get(envelope.stream)
        if sub is not None:
            self._took(sub, len(data))
            sub.packet(replace(envelope.packet, received_ns=0))

    def _message(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        match message["type"]:
            case "anew":
                self._greet()
            case "answer":
                answer = self._answers.get(int(message["ask"]))
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case "beat":
                pass
            case _:
                sub = self.subs.get(int(message["sub"]))
                if sub is not None:
                    if message["type"] == "parts":
                        self._took(sub, sum(map(len, frames)))
                    sub.heard(message, frames)

    def _took(self, sub: Sub, size: int) -> None:
        self._count("mirror_bytes", "received", size)
        sub.bytes += size
        sub.messages += 1
        behind = sub.bytes - sub.told[0], sub.messages - sub.told[1]
        if behind[0] >= TELL_BYTES or behind[1] >= TELL_MESSAGES:
            self._tell(sub)


def _stopped(task: asyncio.Task[None]) -> None:
    """It does not end by itself; where it does, the line is opened again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a way to another edge broke", exc_info=error)
