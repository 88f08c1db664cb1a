"""`Http2Server`: HTTP/2 and HTTP/1.1 over TLS. Apple's players want HTTP/2 for low latency.

Its sockets, TLS and framing run in native threads; the application runs on the caller's event
loop, so it may share objects with everything else there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.embed import Server

Application = Callable[..., Awaitable[None]]


class Http2Server:
    """Serves an ASGI application without lifespan. The port must be known."""

    def __init__(self, app: Application, host: str, port: int, *, cert: Path, key: Path) -> None:
        self._server: Any = Server(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=1024,
            log_enabled=False,
            ssl_cert=cert,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
        )

    async def serve(self) -> None:
        """Serve until `stop`, or until the task is cancelled."""
        try:
            await self._server.serve()
        except asyncio.CancelledError:
            self.stop()
            raise

    def stop(self) -> None:
        self._server.stop()
