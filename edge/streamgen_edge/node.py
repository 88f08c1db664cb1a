"""`streamgen edge`: the process that listens to the world. Started by `streamgen serve`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import typer
import uvicorn

from streamgen.control.logs import log_as_json
from streamgen.errors import ConfigError
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.api import api
from streamgen_edge.app import Front
from streamgen_edge.hls import hls_app
from streamgen_edge.link import Link
from streamgen_edge.page import PageApp
from streamgen_edge.publishing import Streams
from streamgen_edge.certificate import tls_context
from streamgen_edge.rtmp.server import RtmpServer
from streamgen_edge.settings import Http, Rtmp, Server, load_server
from streamgen_edge.webrtc import webrtc_app

DRAIN_S = 6.0
"""Longest time that streams get to finish when the server stops."""
SEEN = "edge.json"
"""Where the edge says, in the folder of its sockets, what it listens on."""
log = logging.getLogger("streamgen.edge")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def edge(
    link: Path = typer.Option(..., help="Folder of the sockets to the workers."),
    config: Path | None = typer.Option(None, help="The server's configuration file."),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Listen to publishers and viewers; part of 'streamgen serve'."""
    server = load_server(config)
    log_as_json()
    asyncio.run(serve(server, link, config, supervised=supervised))


class _Http(uvicorn.Server):
    """uvicorn on a loop that belongs to others: it takes no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(server: Server, folder: Path, config: Path | None, *, supervised: bool) -> None:
    """Serve until told to stop. Raises `OSError` when an address is taken."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    own = Telemetry()
    metrics.add("", own)
    async with AsyncExitStack() as leaving:
        link = await leaving.enter_async_context(Link(folder))
        streams = Streams(server, link, metrics, time.time_ns)
        loop.add_signal_handler(signal.SIGHUP, _reload, streams, config)
        if supervised:
            _heed(loop, link, stop)
        rtmp = RtmpServer(
            server.rtmp.listen_at, streams.publish, tls=_tls(server.rtmp), telemetry=own
        )
        rest = api(streams, metrics, lambda: _unready(link, streams), lambda: rtmp.port)
        webrtc = webrtc_app(streams, server)
        leaving.push_async_callback(webrtc.close)
        front = Front(hls_app(streams, streams.may_play), webrtc, PageApp(), rest, server.http)
        listening = _bound(server.http)
        web = _Http(_uvicorn(front, server.http))
        serving = asyncio.create_task(web.serve([listening]))
        await leaving.enter_async_context(rtmp)
        _say_where(folder, listening.getsockname()[1], rtmp.port)
        ends = [asyncio.create_task(event.wait()) for event in (stop, link.broken)]
        await asyncio.wait({serving, *ends}, return_when=asyncio.FIRST_COMPLETED)
        await _drain(streams)
        web.should_exit = True
        web.force_exit = True
        await serving
        for end in ends:
            end.cancel()


def _reload(streams: Streams, config: Path | None) -> None:
    """Keys and streams as the file says now; nobody is dropped. What is wrong changes nothing."""
    try:
        streams.server = load_server(config)
    except ConfigError as error:
        log.error("the configuration stays as it was: %s", error)
    else:
        log.info("the configuration was read again")


async def _drain(streams: Streams) -> None:
    """Let every stream finish: its last pictures, and the playlists' end."""
    streams.end_all()
    with suppress(TimeoutError):
        await asyncio.wait_for(streams.over.wait(), DRAIN_S)


def _unready(link: Link, streams: Streams) -> str | None:
    if streams.closing:
        return "the server stops"
    return None if link.workers else "no worker is here"


def _heed(loop: asyncio.AbstractEventLoop, link: Link, stop: asyncio.Event) -> None:
    """The supervisor says on standard input which worker died; its end is our end."""
    inlet = sys.stdin.fileno()
    os.set_blocking(inlet, False)
    rest = b""

    def read() -> None:
        nonlocal rest
        try:
            data = os.read(inlet, 65536)
        except BlockingIOError:
            return
        if not data:
            loop.remove_reader(inlet)
            stop.set()
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            link.lose(str(told["worker_lost"]), int(told["pid"]))

    loop.add_reader(inlet, read)


def _bound(http: Http) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    bound = socket.create_server((http.host, http.number), family=family, backlog=1024)
    bound.setblocking(False)
    return bound


def _uvicorn(front: Front, http: Http) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        limit_concurrency=10_000,
        ssl_certfile=None if http.tls is None else str(http.tls.cert),
        ssl_keyfile=None if http.tls is None else str(http.tls.key),
    )


def _tls(rtmp: Rtmp) -> ssl.SSLContext | None:
    return None if rtmp.tls is None else tls_context(str(rtmp.tls.cert), str(rtmp.tls.key))


def _say_where(folder: Path, http: int, rtmp: int) -> None:
    """For the supervisor, and for whoever asked for any free port."""
    text = json.dumps({"pid": os.getpid(), "http": http, "rtmp": rtmp})
    partial = folder / f"{SEEN}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / SEEN)
    log.info("listening: http %d, rtmp %d", http, rtmp)
