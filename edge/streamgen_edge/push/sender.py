"""What the process of one push does: it connects, sends, and tries again; it ends with the edge,
and where it hears nothing of it any more: then another edge may have the stream.

What is said on standard output is one JSON object a line: `state` when it changes, and every
second how much was sent, which also finds out whether anybody still listens: the edge answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from streamgen.media.packet import Packet
from streamgen_edge.outbound.resolving import Forbidden, OutboundError, resolve
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.retry import Retry
from streamgen_edge.push.target import Failure
from streamgen_edge.push.wire import Kind, Unframed, unpacked

TELL_S = 1.0
DEAF_S = 5.0
"""An edge that was not heard for so long is frozen, or we were: no publisher has waited for it."""
RESOLVES_S = 5.0


class Sending(Protocol):
    """One connection that the target has accepted."""

    @property
    def bytes(self) -> int:
        """Sent so far."""
        ...

    @property
    def pictures(self) -> int: ...

    def send(self, packets: Sequence[Packet]) -> Awaitable[None] | None:
        """From a key frame on. None: they are on their way; else nothing more is sent before this
        has been waited for. Both may raise `Failure`."""
        ...

    async def lost(self) -> Failure:
        """Returns when the target does not get the stream any more."""
        ...

    async def close(self) -> None:
        """Take leave."""
        ...

    async def abort(self) -> None:
        """Leave what does not work."""
        ...


Open = Callable[[Mapping[str, Any]], Awaitable[Sending]]
"""Connects as an order says. Raises `Failure`."""


class Sender:
    """What one process does, from its order to the end of its input."""

    def __init__(self, order: Mapping[str, Any], open: Open) -> None:
        self._order = order
        self._open = open
        self._retry = Retry(random.Random())
        self._sending: Sending | None = None
        self._failed: asyncio.Future[Failure] | None = None
        self._bytes = self._pictures = 0
        """Of the connections before."""

    async def try_on(self) -> None:
        """Connect, and again whenever it does not last. Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            say(state="connecting")
            began = loop.time()
            try:
                failure = await self._once()
            except Failure as refusal:
                failure = refusal
            wait_s = self._retry.wait_s(loop.time() - began, refused=failure.refused)
            say(state="waiting", reason=str(failure), wait_s=wait_s)
            await asyncio.sleep(wait_s)

    async def _once(self) -> Failure:
        """One connection, from its beginning to its end. Raises `Failure`."""
        sending = await self._open(self._order)
        self._failed = asyncio.get_running_loop().create_future()
        self._sending = sending
        say(state="live")
        listening = asyncio.create_task(sending.lost())
        try:
            done, _ = await asyncio.wait(
                (listening, self._failed), return_when=asyncio.FIRST_COMPLETED
            )
            return done.pop().result()
        finally:
            self._sending = None
            self._bytes += sending.bytes
            self._pictures += sending.pictures
            listening.cancel()
            await sending.abort()

    def take(self, packets: Sequence[Packet]) -> Coroutine[Any, Any, None] | None:
        """Send, or leave it where nobody takes it. What it returns is to be waited for."""
        sending, failed = self._sending, self._failed
        if sending is None or failed is None or failed.done():
            return None
        try:
            waits = sending.send(packets)
        except Failure as failure:
            failed.set_result(failure)
            return None
        return None if waits is None else _sent(waits, failed)

    async def close(self) -> None:
        if self._sending is not None:
            await self._sending.close()
            self.tell()

    def tell(self) -> None:
        now = self._sending
        say(
            bytes=self._bytes + (0 if now is None else now.bytes),
            pictures=self._pictures + (0 if now is None else now.pictures),
        )


async def _sent(waits: Awaitable[None], failed: asyncio.Future[Failure]) -> None:
    try:
        await waits
    except Failure as failure:
        if not failed.done():
            failed.set_result(failure)


async def resolved(target: Url, outbound: OutboundSettings) -> list[str]:
    """Addresses that may be connected to. Raises `Failure`."""
    try:
        async with asyncio.timeout(RESOLVES_S):
            found = await resolve(target.host, target.port, outbound)
    except Forbidden as error:
        raise Failure(str(error), refused=True) from None
    except OutboundError as error:
        raise Failure(str(error)) from None
    except TimeoutError:
        raise Failure("the target's name takes too long") from None
    return [address.ip for address in found]


def say(**values: Any) -> None:
    """Raises `OSError` when nobody listens any more."""
    os.write(sys.stdout.fileno(), json.dumps(values).encode() + b"\n")


async def _telling(sender: Sender, inlet: Inlet) -> None:
    """As long as there is somebody to be told."""
    loop = asyncio.get_running_loop()
    asleep_s = 0.0
    while max(asleep_s, inlet.silent_s) < DEAF_S:
        began = loop.time()
        await asyncio.sleep(TELL_S)
        asleep_s = loop.time() - began
        sender.tell()


class Inlet(asyncio.Protocol):
    """What comes from the edge: an order, and packets, which are sent where they are read. A task
    that waits for them would be one more turn of the loop for each."""

    def __init__(self, open: Open) -> None:
        self._open = open
        self._frames = Unframed()
        self._ends = False
        self._pipe: asyncio.ReadTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self._loop = loop = asyncio.get_running_loop()
        self._heard_s = loop.time()
        self.begun: asyncio.Future[Sender | None] = loop.create_future()
        """None: there will be no order."""
        self.over: asyncio.Future[None] = loop.create_future()
        """The edge has said that it is over, or is gone, or what it said was not to be borne."""

    @property
    def said_over(self) -> bool:
        """The stream is over, or whoever sent a signal wants it so: the target is to know."""
        return self._ends or self.over.cancelled()

    @property
    def silent_s(self) -> float:
        """For so long nothing came, though we listened."""
        listens = self._sending is None or self._sending.done()
        return self._loop.time() - self._heard_s if listens else 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        try:
            self._read(data)
        except Exception as error:
            self._end(error)

    def _read(self, data: bytes) -> None:
        packets: list[Packet] = []
        for kind, body in self._frames.feed(data):
            if not self.begun.done():
                self.begun.set_result(Sender(json.loads(body), self._open))
            elif kind is Kind.END:
                self._ends = True
                break
            elif kind is not Kind.BEAT:
                packets.append(unpacked(kind, body))
        sender = self.begun.result() if packets else None
        waits = sender.take(packets) if sender is not None else None
        if waits is not None:
            assert self._pipe is not None
            self._pipe.pause_reading()
            self._sending = asyncio.create_task(waits)
            self._sending.add_done_callback(self._sent)
        elif self._ends:
            self._end()

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._heard_s = self._loop.time()
        error = None if sending.cancelled() else sending.exception()
        if error is not None or self._ends:
            self._end(error)
        elif self._pipe is not None:
            self._pipe.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pipe = None
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)


async def run(open: Open) -> None:
    loop = asyncio.get_running_loop()
    _, inlet = await loop.connect_read_pipe(lambda: Inlet(open), sys.stdin.buffer)
    sender = await inlet.begun
    if sender is None:
        return
    # The first of them to end ends all: the input, the output, or a signal.
    tasks: list[asyncio.Future[None]] = [
        inlet.over,
        asyncio.create_task(_telling(sender, inlet)),
        asyncio.create_task(sender.try_on()),
    ]
    loop.add_signal_handler(signal.SIGTERM, inlet.over.cancel)
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if inlet.said_over:
        with suppress(OSError):
            await sender.close()
    for task in tasks:
        task.cancel()
    for task in done:
        if not task.cancelled() and not isinstance(task.exception(), OSError):
            task.result()


def main(open: Open) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's: the edge ends us
    asyncio.run(run(open))
