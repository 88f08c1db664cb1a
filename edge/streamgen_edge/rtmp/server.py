"""The RTMP and RTMPS server of an edge."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType

from streamgen.errors import ConfigError
from streamgen_edge.rtmp.admission import Admission
from streamgen_edge.rtmp.connection import READ, Connection, House, Telemetry
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.notices import Notices
from streamgen_edge.rtmp.publisher import OnPublish

_CLOSE_S = 2.0
_BACKLOG = 256


class Uncounted:
    """A telemetry that keeps nothing."""

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Nothing."""


class RtmpServer:
    """Listens, and hands publishers to their owner. Runs on the loop that enters it.

    `listen` is `host:port` (`[::1]:1935` for IPv6; port 0 takes any). With `tls` it speaks RTMPS
    and nothing else; the context may be given new certificates while it runs. `on_publish` decides
    about each publisher and gives its sink. Keys and queries are never logged.
    """

    def __init__(
        self,
        listen: str,
        on_publish: OnPublish,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._host, self._port = _address(listen)
        self._limits = limits or Limits()
        self._house = House(
            self._limits,
            on_publish,
            telemetry or Uncounted(),
            Admission(self._limits),
            memoryview(bytearray(READ)),
            set(),
            Notices(),
            tls,
        )
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def clients(self) -> int:
        """Connections, publishing or not."""
        return self._house.admission.clients

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._house), self._host, self._port, backlog=_BACKLOG
        )

    async def close(self, reason: str = "the server stops") -> None:
        """Stop listening, tell every client why, and wait until they are gone (2 s at most)."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        connections = list(self._house.connections)
        for connection in connections:
            connection.leave(reason)
        if connections:
            _, late = await asyncio.wait([c.gone for c in connections], timeout=_CLOSE_S)
            for connection in connections:
                if connection.gone in late:
                    connection.abort()
                    await connection.gone
        await server.wait_closed()
        self._house.notices.close()

    def drain(self, url: str | None = None) -> int:
        """Ask every publisher that knows how to connect again, at `url` or here; how many."""
        asked = [c.ask_to_reconnect(url) for c in list(self._house.connections)]
        return sum(asked)

    async def __aenter__(self) -> RtmpServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"not an address to listen at: {listen!r} (write 127.0.0.1:1935)")
    return host, int(port)
