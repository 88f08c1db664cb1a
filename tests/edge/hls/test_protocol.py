"""One answer is one packet under uvicorn, and a stream is still a stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("httptools", reason="httptools is not installed")

import uvicorn

from streamgen_edge.hls import protocol
from streamgen_edge.hls.protocol import OneWrite

GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    size = b"20000000" if scope["path"] == "/large" else b"10"
    headers = [(b"content-length", size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"01234", "more_body": True})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"56789"})
    elif scope["path"] == "/large":
        for _ in range(200):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    elif scope["path"] == "/empty":
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"0123456789"})
    else:
        await send({"type": "http.response.body", "body": b"0123456789"})


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(app, http=OneWrite, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as door:
        running = asyncio.create_task(server.serve(sockets=[door]))
        yield door.getsockname()
        server.should_exit = True
        await running


async def arrivals(path: bytes, *, close: bool = False) -> list[bytes]:
    """What arrives, packet by packet."""
    async with served() as place:
        reader, writer = await asyncio.open_connection(*place)
        asked = GET % path
        if close:
            asked = asked.replace(b"host: x", b"host: x\r\nconnection: close")
        writer.write(asked)
        found: list[bytes] = []
        while not found or len(found[-1].partition(b"\r\n\r\n")[2]) < 10:
            piece = await asyncio.wait_for(reader.read(65536), 2)
            assert piece, "closed too early"
            found.append((found[-1] if found else b"") + piece)
        writer.close()
    return found


def test_head_and_body_come_together() -> None:
    (answer,) = asyncio.run(arrivals(b"/"))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n0123456789")


def test_an_answer_before_closing_is_whole() -> None:
    assert asyncio.run(arrivals(b"/", close=True))[-1].endswith(b"\r\n\r\n0123456789")


def test_an_empty_piece_holds_nothing_back() -> None:
    assert asyncio.run(arrivals(b"/empty"))[-1].endswith(b"\r\n\r\n0123456789")


def test_a_body_that_comes_later_does_not_hold_the_head_back() -> None:
    found = asyncio.run(arrivals(b"/slow"))
    assert [piece.partition(b"\r\n\r\n")[2] for piece in found] == [b"", b"01234", b"0123456789"]


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", GET % b"/" + b"GET /", b"GET / HTTP/1.1\r\nx: y\r\n"]
)
def test_a_request_that_does_not_come_is_not_waited_for(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)

    async def run() -> None:
        async with served() as place, asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(said)
            with suppress(ConnectionError):
                await reader.read(-1)
            writer.close()

    asyncio.run(run())


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READS_S", 0.2)

    async def run() -> int:
        async with served() as place, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(*place, limit=4096)
            writer.write(GET % b"/large")
            await reader.readline()
            await asyncio.sleep(0.5)
            found = b""
            with suppress(ConnectionError):
                while more := await reader.read(65_536):
                    found += more
            writer.close()
            return len(found)

    assert asyncio.run(run()) < 20_000_000


def test_a_slow_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    assert asyncio.run(arrivals(b"/slow"))[-1].endswith(b"0123456789")
