"""One client's conversation, from the first byte to the last. No sockets, no clock.

Handshake, then `connect`, `createStream`, `publish`; the owner accepts; then media. What comes out
of turn ends the connection, so nothing is kept for a client that was not let in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from streamgen_edge.rtmp import amf0, amf3, answers, chunk_writer, messages
from streamgen_edge.rtmp.address import (
    Publish,
    find_token,
    is_name,
    marks,
    printable,
    split,
    url_query,
)
from streamgen_edge.rtmp.aggregate import taken_apart
from streamgen_edge.rtmp.amf import Allowance
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import PING_REQUEST, PING_RESPONSE
from streamgen_edge.rtmp.handshake import Handshake
from streamgen_edge.rtmp.limits import Limits, ProtocolError
from streamgen_edge.rtmp.messages import AUDIO, COMMAND_AMF3, DATA_AMF3, VIDEO, Message
from streamgen_edge.rtmp.metadata import Metadata, metadata_of

_PLAYS = {"play", "play2", "FCSubscribe", "pause", "seek", "receiveAudio", "receiveVideo"}
_VALUES_PER_S = 1000
_REPLIES = {"_result", "_error", "onStatus", "onBWDone", "onClientBWDone"}


class State(Enum):
    """How far a client has come."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    """Shaken hands; `connect` is due."""
    CONNECTED = "connected"
    PENDING = "pending"
    """Has asked to publish; the owner's answer is due."""
    PUBLISHING = "publishing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Unpublish:
    """The publisher ended its stream by itself: it does not come back."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The client was told why it must go; its connection is to be closed."""

    reason: str


Event: TypeAlias = Message | Metadata | Publish | Unpublish | Closing
"""Messages are sound and picture only."""


class Session:
    """Server side of one connection.

    `feed` what came and get what happened, and what to send. A `Publish` is answered by `accept` or
    `refuse`, whose bytes are to be sent too. After a `ProtocolError` or `Closing` the connection is
    closed; `end` gives a last word for the client.
    """

    def __init__(
        self,
        limits: Limits,
        random: Callable[[int], bytes],
        *,
        address: str = "",
        app: str = "live",
    ) -> None:
        self.state = State.HANDSHAKE
        self.received = 0
        """Bytes so far."""
        self.messages = 0
        """Messages so far, of any kind."""
        self._limits = limits
        self._address = address
        self._handshake: Handshake | None = Handshake(random)
        self._chunks = Chunks(limits)
        self._app = app
        self._asked: Mapping[str, Any] = {}
        self._queries: tuple[str, ...] = ()
        self._streams: set[int] = set()
        self._created = 0
        self._publishing = 0
        self._name = ""
        self._commands = 0
        self._pings = 0
        self._values = Allowance(limits.unproven_values)
        self._window = answers.WINDOW
        self._acknowledged = 0
        self._proven = 0
        """Bytes received when the last publishing ended."""
        self._left = False
        self._out: list[bytes] = []

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[list[Event], bytes]:
        """What these bytes mean, in order, and the answer. Raises `ProtocolError`."""
        self.received += len(data)
        if self.state in (State.HANDSHAKE, State.OPEN, State.CONNECTED, State.PENDING):
            self._check_unproven()
        if self._handshake is not None:
            self._out.append(self._handshake.feed(data))
            if not self._handshake.done:
                return [], self._take_out()
            data = self._handshake.rest
            self._handshake = None
            self.state = State.OPEN
        events: list[Event] = []
        found = self._chunks.feed(data)
        self.messages += len(found)
        for message in found:
            if self.state is State.ENDED:
                break
            if message.kind in (AUDIO, VIDEO):
                if self._takes(message):
                    events.append(message)
            else:
                self._other(message, events)
        if self.received - self._acknowledged >= self._window:
            self._acknowledged = self.received
            self._out.append(chunk_writer.acknowledgement(self.received))
        return events, self._take_out()

    def accept(self) -> bytes:
        """Let the pending publisher in."""
        assert self.state is State.PENDING
        self.state = State.PUBLISHING
        self._chunks.proven = True
        self._values.left = self._limits.values
        return answers.publish_started(self._publishing, self._name)

    def refuse(self, reason: str) -> bytes:
        """Turn the pending publisher away; its connection is then closed."""
        self.state = State.ENDED
        return answers.publish_refused(self._publishing, reason)

    def end(self, reason: str) -> bytes:
        """Tell the client that, and why, the connection is closed; answers not yet given first."""
        state, self.state = self.state, State.ENDED
        if state is State.PUBLISHING:
            code = "NetStream.Publish.Failed"
            self._out.append(answers.status(self._publishing, code, reason, level="error"))
        elif state not in (State.HANDSHAKE, State.ENDED):
            code = "NetConnection.Connect.Closed"
            self._out.append(answers.status(0, code, reason, level="error"))
        return self._take_out()

    def ping(self, timestamp: int) -> bytes:
        """A ping request; any bytes in return are a sign of life."""
        return chunk_writer.user_control(PING_REQUEST, timestamp)

    def forgive(self, seconds: int) -> None:
        """So much time has passed: pings and values of before are no longer held against it."""
        self._pings = max(0, self._pings - seconds)
        if self.state is State.PUBLISHING:
            earned = self._values.left + seconds * _VALUES_PER_S
            self._values.left = min(self._limits.values, earned)

    def reconnect(self, url: str | None) -> bytes:
        """Ask to connect again, at `url` or here; empty for a client that cannot."""
        caps = self._asked.get("capsEx", 0)
        able = isinstance(caps, float) and math.isfinite(caps) and int(caps) & answers.RECONNECT
        return answers.reconnect_request(url) if able else b""

    def _take_out(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _check_unproven(self) -> None:
        if self.received - self._proven > self._limits.unproven_bytes:
            raise ProtocolError("too many bytes before publishing was accepted")

    def _takes(self, message: Message) -> bool:
        """Whether media is wanted; what is still under way after the client's own end is not."""
        if self.state is not State.PUBLISHING:
            if self._left:
                return False
            raise ProtocolError("media before publishing was accepted")
        if message.stream != self._publishing:
            raise ProtocolError("media on a stream that is not published")
        return True

    def _other(self, message: Message, events: list[Event]) -> None:
        match message.kind:
            case messages.COMMAND | messages.COMMAND_AMF3:
                self._command(message, events)
            case messages.DATA | messages.DATA_AMF3:
                told = metadata_of(self._read(message)) if self._takes(message) else None
                if told is not None:
                    events.append(told)
            case messages.AGGREGATE:
                for part in taken_apart(message) if self._takes(message) else ():
                    if part.kind in (AUDIO, VIDEO):
                        events.append(part)
                    elif part.kind in (messages.DATA, messages.DATA_AMF3):
                        self._other(part, events)
            case messages.USER_CONTROL:
                self._control(message.body)
            case messages.WINDOW_SIZE:
                self._window = int.from_bytes(message.body[:4], "big") or answers.WINDOW
            case messages.PEER_BANDWIDTH:
                self._count_command()
                self._out.append(chunk_writer.window_size(answers.WINDOW))

    def _control(self, body: bytearray) -> None:
        event = int.from_bytes(body[:2], "big")
        if event == PING_REQUEST and len(body) >= 6:
            self._pings += 1
            if self._pings > self._limits.pings:
                raise ProtocolError(f"more than {self._limits.pings} pings at once")
            value = int.from_bytes(body[2:6], "big")
            self._out.append(chunk_writer.user_control(PING_RESPONSE, value))

    def _count_command(self) -> None:
        self._commands += 1
        if self._commands > self._limits.commands:
            raise ProtocolError(f"more than {self._limits.commands} commands")

    def _command(self, message: Message, events: list[Event]) -> None:
        self._count_command()
        values = self._read(message)
        name = values[0] if values else None
        number = values[1] if len(values) > 1 else None
        rest = values[2:]
        if not isinstance(name, str) or name in _REPLIES:
            return
        transaction = number if isinstance(number, float) and math.isfinite(number) else 0.0
        if self.state is State.OPEN:
            if name != "connect":
                raise ProtocolError("a command before connect")
            self._connect(transaction, rest[0] if rest else None, events)
            return
        match name:
            case "connect":
                raise ProtocolError("connect, twice")
            case "createStream":
                self._out.append(answers.result(transaction, self._create()))
            case "publish":
                self._publish(message.stream, rest, events)
            case "FCPublish":
                self._out.append(answers.fc_published(_stream_of(rest)))
                self._out.append(answers.result(transaction))
            case "releaseStream" | "_checkbw":
                self._out.append(answers.result(transaction))
            case "getStreamLength":
                self._out.append(answers.result(transaction, 0))
            case "FCUnpublish":
                self._unpublish(events)
            case "closeStream" | "deleteStream":
                self._delete(name, message.stream, rest, events)
            case _ if name in _PLAYS:
                self._out.append(answers.play_refused(message.stream))
                self._close("asked to play", events)
            case _ if transaction:
                self._out.append(answers.failed(transaction))

    def _read(self, message: Message) -> list[Any]:
        """The AMF values of a command or data message; AMF3 ones begin with a zero (7.1.1)."""
        body = message.body
        if message.kind not in (COMMAND_AMF3, DATA_AMF3):
            return amf0.decode(body, self._values)
        if body[:1] == b"\0":
            return amf0.decode(memoryview(body)[1:], self._values)
        return amf3.decode(body, self._values)

    def _connect(self, transaction: float, asked: Any, events: list[Event]) -> None:
        self._asked = asked if isinstance(asked, Mapping) else {}
        app, query = split(_text(self._asked.get("app")))
        if app != self._app:
            self._out.append(
                answers.rejected(transaction, f"publish to rtmp://host/{self._app}/STREAM")
            )
            self._close("connected to another application", events)
            return
        self._queries = (query, url_query(_text(self._asked.get("tcUrl"))))
        self.state = State.CONNECTED
        self._out.append(answers.connected(transaction, self._asked))

    def _create(self) -> int:
        if len(self._streams) >= self._limits.message_streams:
            raise ProtocolError(f"more than {self._limits.message_streams} streams")
        self._created += 1
        self._streams.add(self._created)
        return self._created

    def _publish(self, stream: int, rest: list[Any], events: list[Event]) -> None:
        if self.state is not State.CONNECTED:
            raise ProtocolError("publish, twice")
        if stream not in self._streams:
            raise ProtocolError("publish on a stream that was not created")
        name, query = split(_text(rest[1] if len(rest) > 1 else None))
        self._publishing = stream
        if not is_name(name):
            reason = "a stream's name is 1 to 64 letters, digits, '_' and '-'"
            self._out.append(answers.publish_refused(stream, reason))
            self._close(reason, events)
            return
        self._name = name
        self.state, self._left = State.PENDING, False
        token = find_token(query, *self._queries)
        software = printable(self._asked.get("flashVer"))
        via = marks(self._asked.get("cdnLoop"))
        events.append(Publish(self._app, name, token, self._address, software, via))

    def _delete(self, name: str, stream: int, rest: list[Any], events: list[Event]) -> None:
        if name == "deleteStream":
            number = rest[1] if len(rest) > 1 else None
            stream = int(number) if isinstance(number, float) and math.isfinite(number) else stream
            self._streams.discard(stream)
        if stream in (0, self._publishing):
            self._unpublish(events)

    def _unpublish(self, events: list[Event]) -> None:
        if self.state is State.PENDING:
            self._close("left before it was let in", events)
        if self.state is State.PUBLISHING:
            self.state = State.CONNECTED
            self._chunks.proven = False
            self._values.left = min(self._values.left, self._limits.unproven_values)
            self._proven, self._left = self.received, True
            self._out.append(answers.unpublished(self._publishing, self._name))
            events.append(Unpublish())

    def _close(self, reason: str, events: list[Event]) -> None:
        self.state = State.ENDED
        events.append(Closing(reason))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _stream_of(rest: list[Any]) -> str:
    """The stream's name in FCPublish, without its query."""
    name = split(_text(rest[1] if len(rest) > 1 else None))[0]
    return name if is_name(name) else ""
