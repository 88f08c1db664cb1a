"""One answer is one packet under uvicorn, and a stream is still a stream."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("httptools", reason="httptools is not installed")

import uvicorn

from streamgen_edge.hls.protocol import OneWrite

GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"01234", "more_body": True})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"56789"})
    elif scope["path"] == "/empty":
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"0123456789"})
    else:
        await send({"type": "http.response.body", "body": b"0123456789"})


async def arrivals(path: bytes, *, close: bool = False) -> list[bytes]:
    """What arrives, packet by packet."""
    config = uvicorn.Config(app, http=OneWrite, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as door:
        running = asyncio.create_task(server.serve(sockets=[door]))
        reader, writer = await asyncio.open_connection(*door.getsockname())
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
        server.should_exit = True
        await running
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
