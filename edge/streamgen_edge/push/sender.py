"""What the process of one push does: it connects, sends, and tries again; it ends with the edge.

What is said on standard output is one JSON object a line: `state` when it changes, and every
second how much was sent, which also finds out whether anybody still listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
RESOLVES_S = 5.0
_READ = 1 << 18


class Sending(Protocol):
    """One connection that the target has accepted."""

    @property
    def bytes(self) -> int:
        """Sent so far."""
        ...

    @property
    def pictures(self) -> int: ...

    async def send(self, packets: Sequence[Packet]) -> None:
        """From a key frame on. Raises `Failure`."""
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

    async def take(self, packets: Sequence[Packet]) -> None:
        """Send, or leave it where nobody takes it."""
        sending, failed = self._sending, self._failed
        if sending is None or failed is None or failed.done():
            return
        try:
            await sending.send(packets)
        except Failure as failure:
            if not failed.done():
                failed.set_result(failure)

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


async def _telling(sender: Sender) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        sender.tell()


async def _fed(inlet: asyncio.StreamReader, frames: Unframed, sender: Sender) -> None:
    """Until the edge says that it is over, or is gone."""
    while data := await inlet.read(_READ):
        packets: list[Packet] = []
        for kind, body in frames.feed(data):
            if kind is Kind.END:
                await sender.take(packets)
                return
            packets.append(unpacked(kind, body))
        if packets:
            await sender.take(packets)


async def _order(inlet: asyncio.StreamReader, frames: Unframed) -> Mapping[str, Any] | None:
    while data := await inlet.read(_READ):
        for _, body in frames.feed(data):
            order: Mapping[str, Any] = json.loads(body)
            return order
    return None


async def run(open: Open) -> None:
    loop = asyncio.get_running_loop()
    inlet = asyncio.StreamReader(_READ)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(inlet), sys.stdin.buffer)
    frames = Unframed()
    order = await _order(inlet, frames)
    if order is None:
        return
    sender = Sender(order, open)
    # The first of them to end ends all: the input, the output, or a signal.
    tasks = [
        asyncio.create_task(_fed(inlet, frames, sender)),
        asyncio.create_task(_telling(sender)),
        asyncio.create_task(sender.try_on()),
    ]
    loop.add_signal_handler(signal.SIGTERM, tasks[0].cancel)
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
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
