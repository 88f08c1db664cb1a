"""`OneWrite`: uvicorn's HTTP protocol, sending the head of an answer together with its body.

uvicorn hands them to the transport one after the other, and each becomes a system call and a
packet. For the small answers of HLS that is most of what they cost.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWrite(HttpToolsProtocol):
    """For `uvicorn.Config(http=OneWrite)`."""

    def connection_made(self, transport: Any) -> None:
        corked: Any = _Corked(transport, self.loop)
        super().connection_made(corked)


class _Corked:
    """Holds the head of an answer until its body comes, but no longer than until the event loop's
    next turn: a body that comes later is a stream."""

    __slots__ = ("_flush_soon", "_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._flush_soon: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        held = self._held
        if held is not None:
            self._held = None
            if self._flush_soon is not None:
                self._flush_soon.cancel()
            if data:
                self._transport.writelines((held, data))
            else:
                self._transport.write(held)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            self._flush_soon = self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)
