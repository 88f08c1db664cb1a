"""The edge's HTTP server: uvicorn as it is, or, with a certificate, one that speaks HTTP/2."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import uvicorn

from streamgen.errors import ConfigError
from streamgen_edge.app import Asgi
from streamgen_edge.crowd import Crowd
from streamgen_edge.hls.http2 import BACKLOG, Http2Server
from streamgen_edge.hls.protocol import OneWrite
from streamgen_edge.settings import Http

KEEP_ALIVE_S = 30
MOST_SURPLUS = 256
"""Connections that are too many and are told so, at a time; the others are closed at once."""


class Web(Protocol):
    """A server of one ASGI application, on the loop that starts it."""

    port: int
    ended: asyncio.Event
    """Set when nothing is served any more."""

    async def start(self) -> None: ...

    async def renew(self, cert: Path, key: Path) -> None:
        """What these files hold now is the certificate of every connection to come."""
        ...

    async def close(self, within_s: float) -> None:
        """Take nothing more, answer what was asked, and end."""
        ...


def web_server(app: Asgi, http: Http, crowd: Crowd | None = None) -> Web:
    """As configured; `crowd` has the connections of each address.

    Raises `ConfigError` when the address or the certificate cannot be used.
    """
    try:
        if http.tls is None:
            return PlainServer(app, http.host, http.number, crowd or Crowd())
        cert, key = http.tls.cert, http.tls.key
        return Http2Server(app, http.host, http.number, cert=cert, key=key, crowd=crowd)
    except OSError as error:
        raise ConfigError(f"http cannot listen at {http.listen_at}: {error.strerror}") from error


class PlainServer:
    """HTTP/1.1 without TLS."""

    def __init__(self, app: Asgi, host: str, port: int, crowd: Crowd) -> None:
        """Port 0 takes any. Raises `OSError` when the address is taken or not ours."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._door = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._door.setblocking(False)
        self.port = int(self._door.getsockname()[1])
        self.ended = asyncio.Event()
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=partial(OneWrite, crowd=crowd, surplus=Crowd(in_all=MOST_SURPLUS)),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve([self._door]))
        self._task.add_done_callback(lambda _: self.ended.set())

    async def renew(self, cert: Path, key: Path) -> None:
        raise ConfigError("HTTP has no certificate here: TLS is turned on by a restart")

    async def close(self, within_s: float) -> None:
        self._server.config.timeout_graceful_shutdown = within_s  # type: ignore[assignment]
        self._server.should_exit = True
        await self._task


class _Uvicorn(uvicorn.Server):
    """On a loop that belongs to others: it takes no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
