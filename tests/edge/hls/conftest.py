"""A live stream in real time, and the endpoint in front of it on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.deliver.rendition import LiveTrack
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.hls import Authorize, Viewer, hls_app
from tests.deliver.live_packets import live_audio, live_video, mixed

Line = tuple[LiveTrack, list[Packet]]
SESSION = "s3cret"
SECONDS = 24


@pytest.fixture(scope="package")
def lines() -> tuple[Line, Line, Line]:
    """Two rungs and sound."""
    return (
        live_video("video/180p", size=(320, 180), seconds=SECONDS),
        live_video("video/90p", size=(160, 90), seconds=SECONDS),
        live_audio(seconds=SECONDS),
    )


async def everybody(viewer: Viewer) -> int | None:
    return None


def packaged(
    lines: Sequence[Line], *, until_s: float = 0, unix_ns: int = 1_700_000_000 * NS, **more: int
) -> LivePackager:
    """A packager that has got everything before `until_s`."""
    start = LiveStart(SESSION, unix_ns)
    tracks = [track for track, _ in lines]
    made = LivePackager(start, tracks, telemetry=Telemetry(), settings=LiveSettings(**more))
    for packet in mixed(*(packets for _, packets in lines)):
        if packet.time_s < until_s:
            made.write(packet)
    return made


class Live:
    """A server on a thread of its own, whose loop also writes the packets when they are due."""

    def __init__(self, port: int, packager: LivePackager, began: float) -> None:
        self.port = port
        self.packager = packager
        self.began = began
        """`time.time()` at output time zero."""
        self.published: dict[tuple[str, int, int], float] = {}
        """When each part was published."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hls/cam"


@pytest.fixture
def live(lines: tuple[Line, ...]) -> Iterator[Callable[..., Any]]:
    """`with live() as stream:` a stream that began just now, on HTTP."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

    @contextmanager
    def serve(
        *, authorize: Authorize = everybody, page: str | None = None, **more: int
    ) -> Iterator[Live]:
        began = time.time()
        packager = packaged(lines, unix_ns=int(began * 1e9), **more)
        inner = hls_app({"cam": packager}, authorize)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if page is not None and scope["path"] == "/":
                head = [(b"content-type", b"text/html")]
                await send({"type": "http.response.start", "status": 200, "headers": head})
                await send({"type": "http.response.body", "body": page.encode()})
                return
            await inner(scope, receive, send)

        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as door:
            stream = Live(door.getsockname()[1], packager, began)
            run = _run(server, door, stream, lines)
            thread = threading.Thread(target=lambda: asyncio.run(run))
            thread.start()
            try:
                yield stream
            finally:
                server.should_exit = True
                thread.join(20)

    yield serve


async def _run(server: Any, door: socket.socket, stream: Live, lines: Sequence[Line]) -> None:
    def note(rendition: Any) -> None:
        number, index = rendition.window.position()
        stream.published.setdefault((rendition.track.place, number, index), time.time())

    stream.packager.watch(note)
    feeder = asyncio.create_task(_feed(stream, lines))
    await server.serve(sockets=[door])
    feeder.cancel()


async def _feed(stream: Live, lines: Sequence[Line]) -> None:
    for packet in mixed(*(packets for _, packets in lines)):
        due = stream.began + packet.time_s
        if (wait := due - time.time()) > 0.001:
            await asyncio.sleep(wait)
        stream.packager.write(packet)
    stream.packager.end()
