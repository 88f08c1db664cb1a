"""A raw TCP client of a running server, and what tests of the server share."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from streamgen_edge.rtmp import RtmpServer

from .client import CONFIG, IDR, opening, video

LOCAL = "127.0.0.1:0"
IN_TIME = 20.0


class Counts:
    """Telemetry of a test."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.seen[name, reason] += number


class Peer:
    """A raw TCP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def hears_all(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(IN_TIME):
            return await self.reader.read(-1)

    async def hears(self, word: bytes) -> bytes:
        heard = b""
        async with asyncio.timeout(IN_TIME):
            while word not in heard:
                more = await self.reader.read(65_536)
                assert more, "closed"
                heard += more
        return heard

    async def publishes(self, name: str = "cam") -> None:
        """Until it was let in, and its first picture."""
        await self.says(opening(name))
        await self.hears(b"Publish.Start")
        await self.says(video(CONFIG), video(IDR))


@asynccontextmanager
async def peer(server: RtmpServer, **more: Any) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, **more)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def flood(
    server: RtmpServer, number: int, words: Sequence[bytes] = ()
) -> AsyncIterator[None]:
    """So many clients of one address that say this and then nothing."""
    writers = []
    try:
        for _ in range(number):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.writelines(words)
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(IN_TIME):
        while not condition():  # noqa: ASYNC110 - the state of the server, seen from outside
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]], loop: Any = None) -> None:
    """`loop` makes the event loop; default: asyncio's own."""

    async def bounded() -> None:
        async with asyncio.timeout(3 * IN_TIME):
            await test()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


@asynccontextmanager
async def peer_of(sock: socket.socket) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
