"""`RtmpPush`: one connection to an RTMP(S) server, as its client (RTMP 1.0, section 7.2).

python -m streamgen_edge.push.rtmp < ORDER AND PACKETS
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.flv import Tags, on_meta_data
from streamgen_edge.push.reach import greeted, why
from streamgen_edge.push.sender import main, resolved
from streamgen_edge.push.target import Failure, by_rtmp, publishing, target_of
from streamgen_edge.rtmp import amf0
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import (
    PING_REQUEST,
    PING_RESPONSE,
    acknowledgement,
    chunk_size,
    chunked,
    user_control,
)
from streamgen_edge.rtmp.handshake import SIZE, VERSION
from streamgen_edge.rtmp.limits import Limits, ProtocolError
from streamgen_edge.rtmp.messages import (
    COMMAND,
    COMMAND_AMF3,
    DATA,
    USER_CONTROL,
    VIDEO,
    WINDOW_SIZE,
    Message,
)
from streamgen_edge.rtmp.publisher import LOOPS

OPENS_S = 10.0
"""From the connection to the first byte of media."""
STALLED_S = 10.0
"""A target that does not take what is buffered in so long is left."""
CLOSES_S = 1.0
MOST_HOPS = 3
OUT_CHUNK = 60_000
BUFFER = 256 << 10
"""Bytes in this process that a slow target has not taken; then the edge waits, and sheds."""
_COMMANDS, _MEDIA = 3, 4
"""Chunk stream ids."""
_ENDS = ("NetStream.Publish.BadName", "NetStream.Unpublish.", "NetConnection.Connect.")
_WINDOW = 2_500_000


class Redirected(Failure):
    """The server says: go there. Where that is was not checked."""

    def __init__(self, url: str) -> None:
        super().__init__("the target sends elsewhere", refused=True)
        self.url = url


class RtmpPush:
    """Implements `sender.Sending`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: Url,
        order: Mapping[str, Any],
    ) -> None:
        self.bytes = self.pictures = 0
        self._reader = reader
        self._writer = writer
        self._target = target
        self._order = order
        self._chunks = Chunks(Limits(), proven=True)
        self._tags = Tags(order["sound"])
        self._stream = 0
        self._told = False
        """The metadata is sent."""
        self._received = self._acknowledged = 0
        self._window = _WINDOW
        self._pending: list[Message] = []
        writer.transport.set_write_buffer_limits(high=BUFFER)

    @classmethod
    async def open(
        cls, target: Url, addresses: Sequence[str], order: Mapping[str, Any]
    ) -> RtmpPush:
        """Connect to the first address that answers, and publish. Raises `Failure`."""
        try:
            async with asyncio.timeout(OPENS_S):
                ours = bytes([VERSION]) + bytes(8) + os.urandom(SIZE - 8)
                reader, writer, version = await greeted(target, addresses, ours)
                push = cls(reader, writer, target, order)
                with ExitStack() as failing:
                    failing.callback(writer.transport.abort)
                    if version[0] != VERSION:
                        raise Failure("the target does not speak RTMP")
                    await push._shake_hands()
                    await push._publish()
                    failing.pop_all()
        except TimeoutError:
            raise Failure("the target does not answer") from None
        return push

    async def send(self, packets: Sequence[Packet]) -> None:
        """Raises `Failure`. Waits while the target takes less than comes."""
        parts: list[bytes] = []
        for packet in packets:
            try:
                if not self._told and packet.keyframe and packet.track.startswith("video/"):
                    about = on_meta_data(self._order, bytes(packet.data))
                    body = amf0.encode(["@setDataFrame", "onMetaData", about])
                    parts.append(chunked(_MEDIA, DATA, self._stream, body, OUT_CHUNK))
                    self._told = True
                for kind, at, body in self._tags.of(packet):
                    parts.append(chunked(_MEDIA, kind, self._stream, body, OUT_CHUNK, at))
                    self.pictures += kind == VIDEO and body[1] == 1
            except OutputError:
                continue  # a key frame whose parameter sets are broken
        data = b"".join(parts)
        self.bytes += len(data)
        await self._out(data)

    async def lost(self) -> Failure:
        """Listens to the target until it, or the way to it, ends; why."""
        try:
            while True:
                await self._until(lambda _: False)  # hears all that comes
        except Failure as failure:
            return failure

    async def close(self) -> None:
        """Say that the stream is over."""
        _, key = publishing(self._target)
        try:
            async with asyncio.timeout(CLOSES_S):
                await self._out(
                    self._command(0, "FCUnpublish", 6, None, key)
                    + self._command(0, "deleteStream", 7, None, self._stream)
                )
                self._writer.close()
                await self._writer.wait_closed()
        except (TimeoutError, Failure, OSError):
            await self.abort()

    async def abort(self) -> None:
        self._writer.transport.abort()

    async def _out(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size() == 0:
                return
            async with asyncio.timeout(STALLED_S):
                await self._writer.drain()
        except TimeoutError:
            raise Failure("the target is too slow") from None
        except OSError as error:
            raise Failure(why(error)) from None

    # What is said before the media.

    async def _publish(self) -> None:
        app, key = publishing(self._target)
        address = f"{self._target.shown}/{app}"
        about = {"app": app, "type": "nonprivate", "flashVer": "FMLE/3.0 (compatible; streamgen)"}
        about["cdnLoop"] = self._order.get("via", "")
        await self._out(
            chunk_size(OUT_CHUNK) + self._command(0, "connect", 1, {**about, "tcUrl": address})
        )
        await self._answer(1)
        await self._out(
            self._command(0, "releaseStream", 2, None, key)
            + self._command(0, "FCPublish", 3, None, key)
            + self._command(0, "createStream", 4, None)
        )
        answer = await self._answer(4)
        number = answer[3] if len(answer) > 3 else None
        if not isinstance(number, float) or not 0 < number < 1 << 32:
            raise Failure("the target gives no stream")
        self._stream = int(number)
        await self._out(self._command(self._stream, "publish", 5, None, key, "live"))
        await self._until(_started)

    async def _shake_hands(self) -> None:
        """What is left of it after the first byte of the answer."""
        try:
            theirs = await self._reader.readexactly(SIZE)
            await self._out(theirs)
            await self._reader.readexactly(SIZE)
        except (asyncio.IncompleteReadError, OSError):
            raise Failure("the target closed the connection") from None

    def _command(self, stream: int, *values: Any) -> bytes:
        return chunked(_COMMANDS, COMMAND, stream, amf0.encode(values), OUT_CHUNK)

    async def _answer(self, transaction: int) -> list[Any]:
        """The result of a call. Raises `Failure` for an error."""
        found = await self._until(
            lambda said: said[0] in ("_result", "_error") and said[1:2] == [transaction]
        )
        if found[0] == "_error":
            raise _refusal(found)
        return found

    async def _until(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """The first command that is wanted; the others are heard."""
        while True:
            messages = self._pending or await self._messages()
            self._pending = []
            for at, message in enumerate(messages):
                said = self._hear(message)
                if said and wanted(said):
                    self._pending = messages[at + 1 :]
                    return said

    # What the target says.

    async def _messages(self) -> list[Message]:
        try:
            data = await self._reader.read(65536)
        except OSError as error:
            raise Failure(why(error)) from None
        if not data:
            raise Failure("the target closed the connection")
        self._received += len(data)
        if self._received - self._acknowledged >= self._window:
            self._acknowledged = self._received
            self._writer.write(acknowledgement(self._received))
        try:
            return self._chunks.feed(data)
        except ProtocolError:
            raise Failure("the target does not speak RTMP as it should") from None

    def _hear(self, message: Message) -> list[Any]:
        """Answer what wants an answer; a command's values. Raises `Failure`."""
        body = message.body
        if message.kind == WINDOW_SIZE and len(body) >= 4:
            self._window = max(int.from_bytes(body[:4], "big"), 1 << 16)
        elif message.kind == USER_CONTROL and len(body) >= 6:
            if int.from_bytes(body[:2], "big") == PING_REQUEST:
                self._writer.write(user_control(PING_RESPONSE, int.from_bytes(body[2:6], "big")))
        elif message.kind in (COMMAND, COMMAND_AMF3):
            return self._said(body[1:] if message.kind == COMMAND_AMF3 else body)
        return []

    def _said(self, body: bytes | bytearray) -> list[Any]:
        try:
            said = amf0.decode(body)
        except ProtocolError:
            return []
        if not said or not isinstance(said[0], str):
            return []
        if said[0] == "close":
            raise Failure("the target closed the stream")
        if said[0] == "onStatus":
            level, code = _status(said)
            if code == "NetConnection.Connect.ReconnectRequest":  # E-RTMP v2: it is about to stop
                raise Failure("the target asks to come again")
            success = code.endswith((".Start", ".Success"))
            if level == "error" or (code.startswith(_ENDS) and not success):
                raise _refusal(said)
            if code.startswith("NetStream.Unpublish."):
                raise Failure("the target ended the stream")
        return said


def _status(said: list[Any]) -> tuple[str, str]:
    """Level and code of an information object."""
    about = said[-1] if isinstance(said[-1], dict) else {}
    return str(about.get("level")), str(about.get("code"))


def _started(said: list[Any]) -> bool:
    return said[0] == "onStatus" and _status(said)[1] == "NetStream.Publish.Start"


def _refusal(said: list[Any]) -> Failure:
    """Its code is told where it is one of the protocol's; all else is the target's own words."""
    about = said[-1] if isinstance(said[-1], dict) else {}
    more = about.get("ex")
    if isinstance(more, dict) and isinstance(more.get("redirect"), str):
        return Redirected(more["redirect"])
    if about.get("description") == LOOPS:
        return Failure(LOOPS, refused=True)
    code = _status(said)[1]
    known = code if code in _CODES else ""
    return Failure(f"the target refuses the stream {known}".strip(), refused=True)


_CODES = frozenset(
    {"NetConnection.Connect.Rejected", "NetConnection.Connect.InvalidApp"}
    | {"NetConnection.Connect.Failed", "NetConnection.Connect.AppShutdown"}
    | {"NetConnection.Connect.Closed", "NetConnection.Call.Failed"}
    | {"NetStream.Publish.BadName", "NetStream.Publish.Denied", "NetStream.Publish.Rejected"}
    | {"NetStream.Publish.Failed", "NetStream.Failed"}
)


async def opened(order: Mapping[str, Any]) -> RtmpPush:
    """Raises `Failure`."""
    target = target_of(order["url"])
    outbound = OutboundSettings(allow=order["allow"])
    for _ in range(MOST_HOPS):
        addresses = await resolved(target, outbound)
        try:
            return await RtmpPush.open(target, addresses, order)
        except Redirected as redirected:
            target = elsewhere(target, redirected.url)
    raise Failure("the target sends from place to place", refused=True)


def elsewhere(target: Url, url: str) -> Url:
    """Where a server sends us, with the key that we have. Raises `Failure`."""
    _, key = publishing(target)
    try:
        there = target_of(f"{url.rstrip('/')}/{key}")
    except ValueError:
        raise Failure("the target sends to what is no address", refused=True) from None
    if not by_rtmp(there) or (target.secure and not there.secure):
        raise Failure("the target sends to where it is not safe", refused=True)
    return there


if __name__ == "__main__":
    main(opened)
