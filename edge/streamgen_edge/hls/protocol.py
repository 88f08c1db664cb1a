"""`OneWrite`: uvicorn's HTTP protocol, sending the head of an answer together with its body.

uvicorn hands them to the transport one after the other, and each becomes a system call and a
packet. For the small answers of HLS that is most of what they cost. And nobody is waited for who
says or reads nothing: uvicorn would hold such a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
"""The head of a request may take so long, from the connection or from its first byte."""
READS_S = 60.0
"""A client that takes nothing of an answer for so long is gone, or means no good."""


class OneWrite(HttpToolsProtocol):
    """For `uvicorn.Config(http=OneWrite)`."""

    _asks: asyncio.TimerHandle | None = None
    _reads: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        corked: Any = _Corked(transport, self.loop)
        super().connection_made(corked)
        self._asks = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._asks)
        _cancel(self._reads)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        _cancel(self._asks)
        self._asks = self.loop.call_later(HEAD_S, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        _cancel(self._asks)
        super().on_headers_complete()

    def pause_writing(self) -> None:
        self._reads = self.loop.call_later(READS_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        _cancel(self._reads)
        super().resume_writing()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


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
