"""`Http2Server`: HTTP/2 and HTTP/1.1 over TLS. Apple's players want HTTP/2 for low latency.

Its sockets, TLS and framing run in native threads (granian); the application runs on the caller's
event loop, so it may share objects with everything else there.

granian reads its certificate once. So another certificate is another granian on the same port,
and the kernel is told to give it every new connection (`SO_REUSEPORT` with a filter); the former
one goes when what it was asked is answered. Nobody is dropped.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from streamgen.errors import ConfigError
from streamgen_edge.certificate import own_certificate, read_certificate
from streamgen_edge.crowd import Crowd
from streamgen_edge.hls.connections import Connections

Application = Callable[..., Awaitable[None]]
HANDSHAKES_S = 10.0
"""Handshakes that began before a change of the certificate may still end."""
CONNECTIONS = 10_000
BACKLOG = 1024
SWEEP_S = 5.0
"""So often it is looked for idle connections, and for addresses that have too many."""
IDLE_S = 60.0
"""A connection on which nothing comes or goes for so long is ended: no answer takes that long."""
HTTP1 = HTTP1Settings(header_read_timeout=10_000, max_buffer_size=64 << 10)
HTTP2 = HTTP2Settings(
    initial_connection_window_size=256 << 10,
    initial_stream_window_size=64 << 10,
    keep_alive_interval=None,  # who says nothing is looked for by `Connections`
    max_concurrent_streams=128,
    max_headers_size=64 << 10,
    max_send_buffer_size=256 << 10,
)
"""What one client may make us hold: nobody has much to say here."""
_STARTS_WITHIN_S = 10.0
_ASKED_S = 0.5
_CLOSED_S = 1.0
"""A listening socket is surely closed so long after it was told to."""
_ATTACH_FILTER = 51
"""`SO_ATTACH_REUSEPORT_CBPF` of Linux."""
_RETURN = 0x06


class Http2Server:
    """Serves an ASGI application without lifespan on the loop that starts it."""

    def __init__(
        self,
        app: Application,
        host: str,
        port: int,
        *,
        cert: Path,
        key: Path,
        crowd: Crowd | None = None,
    ) -> None:
        """Port 0 takes any; `crowd` says how many connections an address may have.

        Raises `ConfigError` for a wrong certificate, `OSError` when the address is taken or not
        ours."""
        self._app = app
        self._files = cert, key
        self._secrets = read_certificate(cert, key)
        self._door = _door(host, port)
        self._host, self.port = self._door.getsockname()[:2]
        self._crowd = crowd or Crowd()
        self._connections = Connections(self.port, self._crowd.most, IDLE_S)
        self.ended = asyncio.Event()
        """Set when nothing is served any more."""
        self._running: list[_Running] = []
        self._farewells: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Serve. Raises `ConfigError` when the certificate cannot be used after all."""
        with closing(self._door):
            await self._begin(*self._files)
        self._watch = asyncio.create_task(self._sweep())

    async def renew(self, cert: Path, key: Path) -> None:
        """What these files hold now is the certificate of every connection to come.

        Raises `ConfigError`, and then the present one stays.
        """
        secrets = read_certificate(cert, key)
        if secrets == self._secrets:
            return
        await asyncio.gather(*self._farewells)
        former = list(self._running)
        await self._begin(cert, key)
        self._files, self._secrets = (cert, key), secrets
        for one in former:
            task = asyncio.create_task(_see_off(one))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)

    async def close(self, within_s: float) -> None:
        """Take nothing more, answer what was asked, and end."""
        self._door.close()
        self._watch.cancel()
        for farewell in self._farewells:
            farewell.cancel()
        for one in self._running:
            one.server.stop()
        tasks = [one.task for one in self._running]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _paced(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, that gives no client more than it reads."""
        client = scope.get("client")

        async def some(message: Any) -> None:
            size = len(message.get("body", b""))
            if size and client:
                await self._connections.give((client[0], int(client[1])), size)
            await send(message)

        await self._app(scope, receive, some)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for _ in range(await self._connections.sweep()):
                self._crowd.refuse()

    async def _begin(self, cert: Path, key: Path) -> None:
        """One more granian, seen to answer with this certificate."""
        server: Any = Server(
            self._paced,
            address=self._host,
            port=self.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            http1_settings=HTTP1,
            http2_settings=HTTP2,
            log_enabled=False,
            ssl_cert=cert,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        one = _Running(server, asyncio.create_task(server.serve()))
        self._running.append(one)
        one.task.add_done_callback(lambda _: self._gone(one))
        until = time.monotonic() + _STARTS_WITHIN_S
        while await _certificate_at(self._host, self.port) != own_certificate(cert):
            if one.task.done() or time.monotonic() > until:
                server.stop()
                raise ConfigError(f"cannot serve HTTP with the certificate {cert}")

    def _gone(self, one: _Running) -> None:
        self._running.remove(one)
        if not self._running:
            self.ended.set()


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """One granian, with one certificate."""

    server: Any
    task: asyncio.Task[None]


async def _see_off(one: _Running) -> None:
    """New connections go elsewhere: let handshakes end, then what was asked, then stop."""
    await asyncio.sleep(HANDSHAKES_S)
    one.server.stop()
    await asyncio.sleep(_CLOSED_S)


def _door(host: str, port: int) -> socket.socket:
    """A socket that takes the port until granian does, and says who gets new connections there:
    always the second of those that listen, which is the newest, or else the only one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as alone:  # nobody else has it
        address = alone.getsockname()
    door = socket.create_server(address, family=family, reuse_port=True)
    line = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 1))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(line))
    with suppress(OSError):  # without it, handshakes that begin during a change may break
        door.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    return door


async def _certificate_at(host: str, port: int) -> bytes | None:
    """What a client is shown there; None: nothing in time."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_ASKED_S):
            _, writer = await asyncio.open_connection(host, port, ssl=anyone)
    except (OSError, TimeoutError):
        await asyncio.sleep(0.01)
        return None
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return shown
