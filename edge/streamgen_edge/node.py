"""`streamgen edge`: the process that listens to the world. Started by `streamgen serve`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from functools import partial
from pathlib import Path
from typing import Any

import typer
from uvicorn.loops.auto import auto_loop_factory

from streamgen.control.logs import log_as_json
from streamgen.control.placement.scheduler import Work
from streamgen.errors import ConfigError
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.api import api
from streamgen_edge.app import Asgi, Front
from streamgen_edge.certificate import tls_context
from streamgen_edge.cluster.joined import Joined
from streamgen_edge.cluster.works import UNKNOWN, live, size_of, work_of
from streamgen_edge.configuring import refuse_unusable
from streamgen_edge.crowd import Crowd
from streamgen_edge.descriptors import take_descriptors
from streamgen_edge.egress import Spread
from streamgen_edge.hls import hls_app, nowhere
from streamgen_edge.hls.http2 import CONNECTIONS
from streamgen_edge.jobs import board
from streamgen_edge.link import Link, remote_of
from streamgen_edge.mirror.mirrors import Mirrors
from streamgen_edge.mirror.opened import mirrors
from streamgen_edge.mirror.passing import Passing, answered
from streamgen_edge.page import PageApp
from streamgen_edge.publishing import Streams
from streamgen_edge.reloading import Reloading
from streamgen_edge.rtmp.server import RtmpServer
from streamgen_edge.seats import Seating
from streamgen_edge.serve import SEEN
from streamgen_edge.settings import Rtmp, Server, WebRtc, load_server
from streamgen_edge.store import store_of
from streamgen_edge.web import web_server
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.served import webrtc_app

DRAIN_S = 5.0
"""Longest time that streams get to finish when the server stops."""
LINGER_S = 0.5
"""After that players fetch what was last."""
RECORD_S = 2.0
"""Longest time for the last of the recordings to reach the disk."""
PUSH_S = 2.0
"""Longest time, at the same time, for pushes to take leave of their targets."""
HOOK_S = 1.5
"""Longest time, after that, for services to be told what they have not heard yet, while answers
that are on their way have theirs."""
CLOSE_S = 1.5
"""Longest time for answers that are on their way."""
log = logging.getLogger("streamgen.edge")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def edge(
    link: Path | None = typer.Option(
        None, help="Folder of the sockets to the workers of this machine."
    ),
    config: Path | None = typer.Option(None, help="The server's configuration file."),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Listen to publishers and viewers; part of 'streamgen serve'."""
    server = load_server(config)
    refuse_unusable(server)
    if link is None and server.link is None:
        raise ConfigError("an edge without workers: give --link FOLDER, or link in the file")
    log_as_json()
    take_descriptors()
    # uvloop's where it is installed: less of a core for each viewer of HLS.
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(serve(server, link, config, supervised=supervised))


async def serve(
    server: Server, folder: Path | None, config: Path | None, *, supervised: bool
) -> None:
    """Serve until told to stop. Raises `ConfigError` when an address is taken."""
    loop = asyncio.get_running_loop()
    stop, leave = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, leave.set)
    metrics, own = Metrics(), Telemetry()
    metrics.add("", own)
    joined = None if server.cluster is None else Joined(server.cluster, server, folder)
    async with AsyncExitStack() as leaving:
        link = await leaving.enter_async_context(Link(folder, remote_of(server.link, own), own))
        streams = Streams(server, link, metrics, time.time_ns, own)
        if joined is not None:
            await leaving.enter_async_context(_seated(joined, link, streams))
        store = store_of(server, lambda: time.time_ns() // 1_000_000)
        if store is not None:
            streams.hooks.keep(await leaving.enter_async_context(store))
        streams.hooks.use(server.hooks)
        leaving.push_async_callback(streams.hooks.finished, HOOK_S)
        if supervised:
            _heed(loop, link, stop)
        rtmps = _tls(server.rtmp)
        rtmp = RtmpServer(server.rtmp.listen_at, streams.publish, tls=rtmps, telemetry=own)
        jobs = None if store is None else board(store)
        questions = None if joined is None else joined.questions
        unready = partial(_unready, link, streams)
        rest = api(streams, metrics, unready, lambda: rtmp.port, jobs, questions)
        webrtc = _spread(webrtc_app(streams, server, own), streams, server.webrtc, own)
        leaving.push_async_callback(webrtc.close)
        viewers = streams.viewers
        demand = nowhere if joined is None else viewers.demand
        hls = hls_app(viewers, viewers.may_play, demand=demand)
        all_edges: Asgi = rest
        if joined is not None:
            ways = _mirrored(joined, link, streams, metrics, own, rest)
            all_edges = Passing(rest, streams, await leaving.enter_async_context(ways))
        front = Front(hls, webrtc, PageApp(), all_edges, server.http, _http_crowd(streams))
        web = web_server(front, server.http, _http_crowd(streams))
        leaving.push_async_callback(web.close, CLOSE_S)
        await leaving.enter_async_context(_listening(rtmp, server.rtmp))
        await web.start()
        reloading = Reloading(config, streams, link, web, rtmps)
        loop.add_signal_handler(signal.SIGHUP, reloading.asked.set)
        _say_where(folder, web.port, rtmp.port)
        events = (stop, leave, link.broken, web.ended)
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in events]
        ends.append(asyncio.create_task(reloading.run()))
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        rtmp.drain()
        await _drain(streams, elsewhere=leave.is_set())
        await _finished(streams)
        for end in ends:
            end.cancel()
    for end in done:
        end.result()


async def _finished(streams: Streams) -> None:
    """Recordings are whole, targets have what was sent to them, hooks are told of it all."""
    recorded, _ = await asyncio.gather(
        streams.recordings.finished(RECORD_S), streams.pushes.finished(PUSH_S)
    )
    await streams.hooks.hurry()
    if not recorded:
        log.error("a recording was not finished: its disk is too slow")


@asynccontextmanager
async def _seated(joined: Joined, link: Link, streams: Streams) -> AsyncIterator[None]:
    """The coordinators say which workers streams get."""

    def paid(name: str) -> bool:
        settings = streams.server.stream(name)
        return settings is None or settings.paid

    def work(name: str) -> Work:
        stream = streams.find(name)
        assert stream is not None  # it asks
        return work_of(stream, joined.profiles, paid=paid(name))

    async def admit(name: str, pipeline: dict[str, Any]) -> None:
        stream = streams.find(name)
        runs = stream is not None and not stream.over
        size = size_of(stream) if stream is not None and runs else UNKNOWN
        work = live(name, pipeline, size, joined.profiles, paid=paid(name))
        await joined.questions.admit(work, runs=runs)

    def seat(name: str) -> Seating:
        return seats.of(name, lambda: work(name))

    async with joined.seats(link) as seats:
        streams.seat, streams.admit = seat, admit
        streams.homing.join(joined.homes)
        yield


def _mirrored(
    joined: Joined, link: Link, streams: Streams, metrics: Metrics, own: Telemetry, api: Asgi
) -> AbstractAsyncContextManager[Mirrors]:
    """Streams of other edges are served here, and ours there."""
    return mirrors(
        joined.settings,
        joined.registered,
        joined.homes,
        streams,
        lambda asked: answered(api, asked),
        own=own,
        metrics=metrics,
        broken=link.broken.set,
    )


def _spread(app: WebRtcApp, streams: Streams, settings: WebRtc, own: Telemetry) -> Spread:
    """Viewers in more processes, as configured."""
    network = settings.model_dump(exclude={"processes", "processes_above"})
    spread = Spread(
        app,
        network,
        most=settings.processes,
        full=settings.processes_above,
        telemetry=own,
    )
    streams.watching = spread.watching
    return spread


def _http_crowd(streams: Streams) -> Crowd:
    """Connections, or requests at a time, of each address, as the configuration now has it."""
    return Crowd(
        "connections.http",
        lambda: streams.server.limits.connections.http,
        streams.refusals,
        in_all=CONNECTIONS,
    )


@asynccontextmanager
async def _listening(server: RtmpServer, rtmp: Rtmp) -> AsyncIterator[None]:
    try:
        await server.start()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"rtmp cannot listen at {rtmp.listen_at}: {reason}") from error
    try:
        yield
    finally:
        await server.close()


async def _drain(streams: Streams, *, elsewhere: bool) -> None:
    """Let every stream finish: its last pictures, and the playlists' end for those who watch.
    `elsewhere`: leave it to the edge where its publisher comes next."""
    watched = any(True for _ in streams)
    streams.end_all(elsewhere=elsewhere)
    with suppress(TimeoutError):
        await asyncio.wait_for(streams.over.wait(), DRAIN_S)
    if watched:
        await asyncio.sleep(LINGER_S)


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


def _tls(rtmp: Rtmp) -> ssl.SSLContext | None:
    return None if rtmp.tls is None else tls_context(str(rtmp.tls.cert), str(rtmp.tls.key))


def _say_where(folder: Path | None, http: int, rtmp: int) -> None:
    """For the supervisor, and for whoever asked for any free port."""
    if folder is not None:
        text = json.dumps({"pid": os.getpid(), "http": http, "rtmp": rtmp})
        partial = folder / f"{SEEN}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / SEEN)
    log.info("listening: http %d, rtmp %d", http, rtmp)
