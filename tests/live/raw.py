"""A publisher that says exactly the bytes it is given, in real time, and hears what it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked
from tests.edge.rtmp.client import S0_S1_S2, command, opening, said
from tests.live.tapes import DATA, Tag, again

CHUNK = 65_536
PATIENCE_S = 60.0
_STREAMS = {8: 4, 9: 6, DATA: 5}


@dataclass
class Outcome:
    """What became of one publisher."""

    let_in: bool = False
    sent: int = 0
    closed: str = ""
    """What the server said when it closed; empty when it did not."""


async def _enough() -> bool:
    return True


async def published(
    port: int,
    name: str,
    tape: Sequence[Tag],
    *,
    end: bool = True,
    enough: Callable[[], Awaitable[bool]] = _enough,
) -> Outcome:
    """Publish a tape, each tag at its time, and again until it is `enough` or `PATIENCE_S` have
    passed; at the end the stream is ended or, without `end`, the connection is simply dropped."""
    outcome = Outcome()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = bytearray()

    async def hear() -> None:
        while data := await reader.read(CHUNK):
            heard.extend(data)

    hearing = asyncio.create_task(hear())
    try:
        writer.write(opening(name) + chunk_size(CHUNK))
        # The answer to FCPublish says Publish.Start too, and says nothing.
        await _until(lambda: b"onStatus" in heard or hearing.done())
        outcome.let_in = b"Publish.Start" in heard.partition(b"onStatus")[2]
        began = time.monotonic()
        for tag in again(tape):
            if tag is None:
                if await enough() or time.monotonic() - began > PATIENCE_S:
                    break
                continue
            await asyncio.sleep(began + tag.at_ms / 1000 - time.monotonic())
            if hearing.done():
                break
            stamp = tag.at_ms if tag.stamp is None else tag.stamp
            writer.write(chunked(_STREAMS[tag.kind], tag.kind, 1, tag.body, CHUNK, stamp))
            await writer.drain()
            outcome.sent += 1
        if end and not hearing.done():
            writer.write(command("FCUnpublish", 6, None, name, size=CHUNK))
            await writer.drain()
            await asyncio.sleep(0.1)
    except ConnectionError:
        pass
    finally:
        await asyncio.wait([hearing], timeout=0.5)
        if hearing.done():
            outcome.closed = _last_words(bytes(heard))
        hearing.cancel()
        writer.transport.abort()
    return outcome


async def _until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:  # noqa: ASYNC110 - what another task reads
        await asyncio.sleep(0.01)


def _last_words(heard: bytes) -> str:
    """The description in the last status (NetStream.onStatus)."""
    found = [one[-1] for one in said(heard[S0_S1_S2:], 128) if isinstance(one[-1], dict)]
    return str(found[-1].get("description", "")) if found else ""
