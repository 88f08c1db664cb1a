"""Uvicorn on a loop that belongs to others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from streamgen.errors import ConfigError

BACKLOG = 128
CLOSE_S = 2


class _Uvicorn(uvicorn.Server):
    """It takes no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Any, host: str, port: int) -> AsyncIterator[int]:
    """HTTP/1.1 while inside; gives the port (0 takes any). Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        door = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"http cannot listen at {host}:{port}: {error.strerror}") from error
    door.setblocking(False)
    server = _Uvicorn(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=CLOSE_S,
        )
    )
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve([door]))
        try:
            yield int(door.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
