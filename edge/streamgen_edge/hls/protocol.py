"""`OneWrite`: uvicorn's HTTP protocol, sending the head of an answer together with its body.

uvicorn hands them to the transport one after the other, and each becomes a system call and a
packet. For the small answers of HLS that is most of what they cost. And nobody is waited for who
says or reads nothing: uvicorn would hold such a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamgen_edge.crowd import SURPLUS, Crowd

HEAD_S = 10.0
"""The head of a request may take so long, from the connection or from its first byte."""
BODY_S = 15.0
"""The rest of a request may take so long from the end of its head, answered or not."""
MOST_HEAD = 64 << 10
MOST_BODY = 2 << 20
"""Of any request; who reads bodies has smaller limits, which it can explain."""
READS_S = 60.0
"""A client that takes nothing of an answer for so long is gone, or means no good."""
SURPLUS_S = 2.0
"""A connection that is one too many may ask so late, and be told that."""
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
ANYONE = Crowd()


class OneWrite(HttpToolsProtocol):
    """For `uvicorn.Config(http=OneWrite)`; with crowds, `http=partial(OneWrite, crowd=crowd)`.

    A connection that has no place in `crowd` has its first request marked `SURPLUS`, and ends with
    the answer. One that has none in `surplus` either is closed at once.
    """

    _asks: asyncio.TimerHandle | None = None
    _reads: asyncio.TimerHandle | None = None
    _said = 0
    """Bytes of the head that is being read, or of the body."""
    _more = 0
    """Bytes that were just heard, unless another request ended among them."""
    _in_head = False
    _address = ""
    _place: Crowd | None = None
    """Where it is counted."""

    def __init__(
        self, *args: Any, crowd: Crowd = ANYONE, surplus: Crowd = ANYONE, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._crowd, self._surplus = crowd, surplus

    def connection_made(self, transport: Any) -> None:
        corked: Any = _Corked(transport, self.loop)
        super().connection_made(corked)
        self._address = self.client[0] if self.client else ""
        for crowd, within_s in ((self._crowd, HEAD_S), (self._surplus, SURPLUS_S)):
            if crowd.enter(self._address):
                self._place = crowd
                self._expect(within_s)
                return
        transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._asks)
        _cancel(self._reads)
        if self._place is not None:
            self._place.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._more = len(data)
        super().data_received(data)
        if self._in_head:
            self._said += self._more
            if self._said > MOST_HEAD:
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head, self._said = True, 0
        self._expect(HEAD_S)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._said + self._more > MOST_HEAD and self._head_bytes() > MOST_HEAD:
            raise ValueError("the head is too large")  # becomes a 400
        self._in_head, self._said = False, 0
        self._expect(BODY_S)
        if self._place is self._crowd:
            super().on_headers_complete()
        else:
            self.scope[SURPLUS] = True  # type: ignore[literal-required]
            super().on_headers_complete()
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._said += len(body)
        if self._said > MOST_BODY:
            self.transport.abort()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._more = 0
        _cancel(self._asks)
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _expect(self, within_s: float) -> None:
        """The client is to finish what it says."""
        _cancel(self._asks)
        self._asks = self.loop.call_later(within_s, self.transport.abort)

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
