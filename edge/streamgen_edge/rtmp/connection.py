"""One client's connection: bytes between its socket and its session, and the time-outs."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Protocol

from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.admission import Admission, Place
from streamgen_edge.rtmp.limits import Limits, ProtocolError
from streamgen_edge.rtmp.messages import Message
from streamgen_edge.rtmp.metadata import Metadata
from streamgen_edge.rtmp.notices import Notices
from streamgen_edge.rtmp.publisher import Ended, OnPublish, Publisher, Refused, Sink
from streamgen_edge.rtmp.session import Closing, Event, Session, State, Unpublish
from streamgen_edge.rtmp.tls import Tls

log = logging.getLogger(__name__)

_FAREWELL_S = 1.0
"""For a client to read why it must go, and to go by itself."""
_MESSAGE_COST = 4096
"""Bytes that a message counts as for the rate: tiny ones cost time, too."""
READ = 128 << 10
"""Bytes read at once."""
_WAITING = (State.HANDSHAKE, State.OPEN, State.CONNECTED, State.PENDING)
_REFUSED_LINES = 10
"""Each second, of clients that asked to publish: each is a person waiting for an answer."""
_LIMITS = {
    "connections": "the server has no more room",
    "connections_per_address": "too many connections from its address",
}


class Telemetry(Protocol):
    """What the server counts: `rtmp_connections`; `rtmp_refused` by the limit, or by what clients
    did that never published; `rtmp_evicted`, those of them that made room, by the limit;
    `rtmp_closed` by what ended a publisher."""

    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...


@dataclass(slots=True, eq=False)
class House:
    """What the connections of one server share."""

    limits: Limits
    on_publish: OnPublish
    telemetry: Telemetry
    admission: Admission
    buffer: memoryview
    """Every read goes here and is taken apart before the next: one loop, one thread."""
    connections: set[Connection]
    notices: Notices
    tls: ssl.SSLContext | None


class Connection(asyncio.BufferedProtocol):
    """asyncio's side of one client."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._limits = house.limits
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._place: Place | None = None
        self._address = ""
        self._session: Session
        self._publisher: Publisher | None = None
        self._asked = False
        self._asking: asyncio.Task[Sink] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait: asyncio.TimerHandle | None = None
        self._leaving = False
        self._held = False
        self._tls = None if house.tls is None else Tls(house.tls)
        self._media_at = 0.0
        self._forgiven_at = self._loop.time()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is no more."""

    # asyncio's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else "local"
        self._session = Session(self._limits, os.urandom, address=self._address)
        place = self._house.admission.enter(self._address, self, self._loop.time())
        if isinstance(place, str):
            self._house.telemetry.count("rtmp_refused", place)
            self._house.notices.say(place, f"rtmp: {self._address} is refused: {_LIMITS[place]}")
            self._leaving = True
            self._transport.abort()
            return
        self._place = place
        self._house.connections.add(self)
        self._house.telemetry.count("rtmp_connections")
        plain = transport.get_extra_info("socket")
        if plain is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm(self._limits.handshake_s, "no handshake in time")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._house.buffer

    def buffer_updated(self, nbytes: int) -> None:
        before = self._session.messages
        if not self._leaving:
            if self._tls is None:
                self._received(nbytes)
            else:
                self._received_by(self._tls, nbytes)
        self._slow_down(nbytes + _MESSAGE_COST * (self._session.messages - before))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._wait):
            if timer is not None:
                timer.cancel()
        self._leaving = True
        if self._asking is not None:
            self._asking.cancel()
        self._finish(Ended(False, "the connection was lost"), "lost")
        self.gone.set_result(None)
        self._house.connections.discard(self)
        if self._place is not None:
            self._house.admission.leave(self._place)
            self._place = None

    # The publisher's calls (`Line`).

    def leave(self, reason: str) -> None:
        self._leave(reason, "closed")

    def hold(self, held: bool) -> None:
        self._held = held
        if not held:
            self._media_at = self._loop.time()
        if self._transport.is_closing():
            return
        if held:
            self._transport.pause_reading()
        elif self._wait is None:
            self._transport.resume_reading()

    def ask_to_reconnect(self, url: str | None) -> bool:
        asked = b"" if self._leaving else self._session.reconnect(url)
        if asked:
            self._send(asked)
        return bool(asked)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._leaving = True
        self._transport.abort()

    # The admission's calls (`Guest`).

    def make_room(self, limit: str) -> None:
        self._place = None
        self._house.telemetry.count("rtmp_evicted", limit)
        line = f"rtmp: {self._address} has to make room: {_LIMITS[limit]}, and it does not publish"
        self._house.notices.say(f"{limit}, made room", line)
        words = b"" if self._leaving else self._session.end(_LIMITS[limit])
        if not words or self._transport.get_write_buffer_size():
            self.abort()
            return
        # Not by abort: uvloop has not written the words yet.
        self._leaving = True
        self._write(words)
        self._transport.close()

    def has_news(self) -> bool:
        number = self._transport.get_extra_info("socket").fileno()
        if number < 0:
            return False
        ask = select.poll()
        ask.register(number, select.POLLIN | select.POLLRDHUP)
        return any(seen == select.POLLIN for _, seen in ask.poll(0))

    # Inside.

    def _received_by(self, tls: Tls, number: int) -> None:
        buffer = self._house.buffer
        tls.feed(buffer[:number])
        try:
            while not self._leaving and (plain := tls.read_into(buffer)):
                self._received(plain)
            if not self._leaving:
                self._send(b"")
        except ssl.SSLError as error:
            self._transport.write(tls.answers())
            self._leave(f"TLS: {error.reason or 'it does not speak it'}", "tls")
        if tls.ended:
            self._transport.close()

    def _received(self, number: int) -> None:
        was = self._session.state
        passed = int(self._loop.time() - self._forgiven_at)
        if passed:
            self._forgiven_at += passed
            self._session.forgive(passed)
        try:
            events, answer = self._session.feed(self._house.buffer[:number])
            if answer:
                self._send(answer)
            if was is State.HANDSHAKE and self._session.state is not was:
                self._arm(self._limits.publish_s, "no publish in time")
            self._went_on(was)
            for event in events:
                self._handle(event)
        except ProtocolError as error:
            self._leave(str(error), "protocol")

    def _went_on(self, was: State) -> None:
        """Progress keeps a client that does not publish yet from making room for others."""
        place, state = self._place, self._session.state
        if place is not None and state in _WAITING and (state is not was or not place.heard):
            place.heard = True
            self._house.admission.waits(place, self._loop.time())

    def _handle(self, event: Event) -> None:
        if self._leaving:
            return
        if isinstance(event, Message):
            self._media(event)
        elif isinstance(event, Metadata):
            if self._publisher is not None:
                self._publisher.metadata = event.values
        elif isinstance(event, Publish):
            self._ask(event)
        elif isinstance(event, Unpublish):
            self._finish(Ended(True, "the publisher ended the stream"), "ended")
            self._arm(self._limits.publish_s, "nothing more came after the stream's end")
        elif isinstance(event, Closing):
            self._leave(event.reason, "refused")

    def _media(self, message: Message) -> None:
        if self._publisher is not None:
            if not self._media_at:
                self._arm(self._limits.idle_s / 2, "")
            self._media_at = self._loop.time()
            self._publisher.media(message)

    def _ask(self, request: Publish) -> None:
        self._asked = True
        publisher = Publisher(request, self, self._limits)
        self._arm(self._limits.publish_s, "publishing was not decided in time")
        task = asyncio.ensure_future(self._house.on_publish(publisher))
        self._asking = task
        task.add_done_callback(lambda done: self._answered(done, publisher))

    def _answered(self, task: asyncio.Task[Sink], publisher: Publisher) -> None:
        self._asking = None
        if task.cancelled():
            self._leave("publishing was not decided", "refused")
            return
        error = task.exception()
        if error is None:
            sink = task.result()
            publisher.start(sink)
            self._publisher = publisher
            if self._leaving:
                self._finish(Ended(False, "left before it was let in"), "refused")
                return
            if self._place is not None:
                self._house.admission.publishes(self._place)
            self._send(self._session.accept())
            self._media_at = 0.0
            self._arm(self._limits.publish_s, "no media in time")
            name, address = publisher.request.stream, self._address
            log.info("rtmp: %s publishes %s", address, name, extra={"stream": name})
            return
        reason = str(error) if isinstance(error, Refused) else "the server failed"
        if not isinstance(error, Refused):
            about = {"message": "rtmp: on_publish failed", "exception": error, "task": task}
            self._loop.call_exception_handler(about)
        if not self._leaving:
            self._send(self._session.refuse(reason))
            self._leave(reason, "refused")

    def _write(self, data: bytes) -> None:
        self._transport.write(data if self._tls is None else self._tls.encrypted(data))

    def _send(self, data: bytes) -> None:
        self._write(data)
        if self._transport.get_write_buffer_size() > self._limits.answer_bytes:
            if not self._finish(Ended(False, "it does not read its answers"), "protocol"):
                self._house.telemetry.count("rtmp_refused", "protocol")
            self.abort()

    def _leave(self, reason: str, kind: str) -> None:
        """Say why, then close; what still comes is thrown away, so that no reset eats the words."""
        if self._leaving:
            return
        farewell = self._session.end(reason)
        if farewell:
            self._send(farewell)
        self._leaving = True
        if not self._finish(Ended(False, reason), kind):
            self._house.telemetry.count("rtmp_refused", kind)
            # Port scanners are many: DEBUG.
            level = logging.INFO if self._asked else logging.DEBUG
            line = f"rtmp: {self._address} is turned away: {reason}"
            about = f"turned away, {kind}" if self._asked else f"turned away unasked, {kind}"
            self._house.notices.say(about, line, most=_REFUSED_LINES, level=level)
        if self._place is not None:
            self._house.admission.goes(self._place)
        if self._asking is not None:
            self._asking.cancel()
        self._arm(_FAREWELL_S, "")
        try:
            if self._tls is not None:
                self._transport.write(self._tls.farewell())
            self._transport.write_eof()
        except OSError:
            # The client was faster: its socket is gone already.
            self._transport.abort()

    def _finish(self, end: Ended, kind: str) -> bool:
        """End the publishing, if there is one; whether there was."""
        publisher, self._publisher = self._publisher, None
        if publisher is None:
            return False
        self._house.telemetry.count("rtmp_closed", kind)
        name = publisher.request.stream
        log.info("rtmp: %s ends: %s", name, end.reason, extra={"stream": name})
        publisher.end(end)
        return True

    def _arm(self, seconds: float, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._due, reason)

    def _due(self, reason: str) -> None:
        if self._leaving:
            self._transport.abort()
        elif reason:
            self._leave(reason, "timeout")
        else:
            self._watch()

    def _watch(self) -> None:
        """A publisher that sends nothing is asked for a sign, then let go."""
        limit, now = self._limits.idle_s, self._loop.time()
        if self._held:
            self._media_at = now
        silent = now - self._media_at
        if silent >= limit:
            self._leave("no sound or picture for too long", "timeout")
            return
        if silent >= limit / 2:
            self._send(self._session.ping(round(now * 1000) & 0xFFFFFFFF))
            self._arm(limit - silent, "")
        else:
            self._arm(limit / 2, "")

    def _slow_down(self, cost: int) -> None:
        """Stop reading while the client's address is over its rate."""
        if self._place is None or self._transport.is_closing():
            return
        delay = self._place.origin.delay_s(cost, self._loop.time())
        if delay and self._wait is None:
            self._transport.pause_reading()
            self._wait = self._loop.call_later(delay, self._read_on)

    def _read_on(self) -> None:
        self._wait = None
        if not self._held and not self._transport.is_closing():
            self._transport.resume_reading()
