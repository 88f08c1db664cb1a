"""`WebRtcApp`: WHIP and WHEP as a plain ASGI application.

POST   /whip/{stream}        an offer; 201 with the session's place and the answer
POST   /whep/{stream}        the same for viewers; `?rung=480p` or `?size=854x480`
PATCH  {place}               candidates of the client (RFC 8840)
DELETE {place}               the end
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.sdp import candidate_from_sdp

from streamgen_edge.crowd import Crowd
from streamgen_edge.rtmp.address import Publish, is_name, marks, printable
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Ended, Looped, Publisher, Refused, Sink
from streamgen_edge.webrtc import http, stack
from streamgen_edge.webrtc.channel import Channel, Playable
from streamgen_edge.webrtc.choice import NoRung
from streamgen_edge.webrtc.http import Asked, Receive, Refusal, Scope, Send
from streamgen_edge.webrtc.network import Network, NoPort
from streamgen_edge.webrtc.offer import (
    MOST_BYTES,
    BadOffer,
    Offer,
    read_offer,
    rebuilt,
    usable,
)
from streamgen_edge.webrtc.session import Session, Share, Viewer, new_etag, new_place
from streamgen_edge.webrtc.whep import Viewing
from streamgen_edge.webrtc.whip import Incoming

CONNECT_S = 15.0
"""Longest time from the answer to media flowing."""
LAST_WORD_S = 0.5
"""A publisher whose connection has ended may still say by DELETE that it meant to: a page that is
closed sends both at once."""
CERTIFICATE_S = 20 * 86_400
MALFORMED = (
    *(ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError),
    *(StopIteration, RuntimeError),
)
"""What the stack's SDP parser raises for nonsense; the last is the last but one in a coroutine."""
log = logging.getLogger("streamgen.edge.webrtc")


class Streams(Protocol):
    """The server's streams: who plays, who publishes."""

    async def find(self, name: str, /) -> Playable | None:
        """Once it is here: it may have to come from elsewhere."""
        ...

    async def may_play(self, viewer: Any, /) -> int | None: ...

    async def publish(self, publisher: Publisher, /) -> Sink: ...


class WebRtcApp:
    """On the event loop whose thread feeds the streams. `close` ends all sessions."""

    def __init__(
        self,
        streams: Streams,
        network: Network,
        *,
        share: Callable[[str], Share] = lambda _: Share(),
        origins: Collection[str] = (),
        count: Callable[[str, str], None] = lambda name, reason: None,
        crowd: Crowd | None = None,
    ) -> None:
        """`count` hears of `webrtc_ended`, by what ended a session, and of viewers `refused`.
        `origins` are the other sites whose pages may publish; watching is for all. `crowd` has the
        sessions of each address."""
        self.sessions: dict[str, Session] = {}
        self.channels: dict[str, Channel] = {}
        self._streams = streams
        self._network = network
        self._share = share
        self._origins = origins
        self._count = count
        self.crowd = crowd or Crowd()
        self._certificate = stack.new_certificate()
        self._certified = time.monotonic()
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            parts = scope["path"].strip("/").split("/")
            if parts[0] == "whip":
                send = http.only_for(self._origins, scope, send)
            if len(parts) == 2 and parts[0] in ("whip", "whep") and is_name(parts[1]):
                await self._endpoint(scope, receive, send, *parts)
            elif len(parts) == 3 and "/" + "/".join(parts) in self.sessions:
                await self._session(scope, receive, send, "/" + "/".join(parts))
            else:
                raise Refusal(404, "no such session")
        except Refusal as refusal:
            await http.refuse(send, refusal)

    async def _endpoint(
        self, scope: Scope, receive: Receive, send: Send, protocol: str, stream: str
    ) -> None:
        if scope["method"] == "OPTIONS":
            await http.preflight(send, http.SDP)
            return
        if scope["method"] != "POST":
            raise Refusal(405, "only POST and OPTIONS", ("allow", "POST, OPTIONS"))
        asked = Asked.of(scope)
        asked.needs(http.SDP)
        text = await http.body(receive, MOST_BYTES)
        begin = self._publish if protocol == "whip" else self._play
        session, sdp = await begin(stream, asked, text)
        links = [("link", link) for link in self._network.links(stream)]
        headers = [("location", asked.located(session.place)), ("etag", session.etag), *links]
        await http.answer(send, 201, *headers, content=sdp.encode(), content_type=http.SDP)

    # WHEP.

    async def _play(self, name: str, asked: Asked, text: str) -> tuple[Session, str]:
        stream = await self.admitted(name, asked)
        offer = _read(text, ("recvonly",), self._network.checks_clients)
        channel = self._channel(stream)
        session = self._begin("whep", name, asked)
        peer = session.peer
        viewing = Viewing(peer, channel, lambda: self._end(session, "the stream ended", "closed"))
        session.media = viewing
        try:
            viewing.prepare(offer)
            await _set_offer(peer, offer)
            viewing.attach(offer, asked.query)
            answer = await self._answer(session, offer)
        except Refusal:
            self._end(session, "refused", "refused")
            raise
        except NoRung as error:
            self._end(session, "refused", "refused")
            raise Refusal(406, str(error)) from error
        return session, answer

    async def admitted(self, name: str, asked: Asked) -> Playable:
        """The stream, if this client may watch it, and has room. Raises `Refusal`."""
        status = await self._streams.may_play(Viewer(name, asked.token, asked.address))
        if status is not None:
            raise http.denied(status, "this viewer may not play this stream, or not now")
        stream = await self._streams.find(name)
        if stream is None or not stream.tracks or stream.over:
            raise Refusal(404, "nobody publishes this stream", ("retry-after", "1"))
        if self.watching(name) >= self._share(name).viewers:
            self._count("refused", "viewers")
            raise Refusal(503, "too many viewers", ("retry-after", "10"))
        return stream

    def _channel(self, stream: Playable) -> Channel:
        found = self.channels.get(stream.name)
        if found is None or found.stream.session != stream.session:
            found = self.channels[stream.name] = Channel(stream, self._close_channel, self._count)
        return found

    def _close_channel(self, channel: Channel) -> None:
        if self.channels.get(channel.stream.name) is channel:
            del self.channels[channel.stream.name]

    def watching(self, name: str) -> int:
        """How many viewers a stream has here."""
        channel = self.channels.get(name)
        return 0 if channel is None else len(channel.viewers)

    # WHIP.

    async def _publish(self, name: str, asked: Asked, text: str) -> tuple[Session, str]:
        if asked.foreign and (asked.token is None or asked.origin not in self._origins):
            raise Refusal(403, "a page of another site needs http.origins and a token to publish")
        offer = _read(text, ("sendonly",), self._network.checks_clients)
        software = printable(
            offer.software or asked.headers.get(b"user-agent", b"").decode("latin-1")
        )
        via = marks(asked.headers.get(b"cdn-loop", b"").decode("latin-1"))
        request = Publish("whip", name, asked.token, asked.address, software, via)
        session = self._begin("whip", name, asked)
        peer = session.peer
        line = _Line(lambda reason: self._end(session, reason, "closed"))
        publisher = Publisher(request, line, Limits())
        share = self._share(name)
        incoming = Incoming(
            peer, publisher, share.bitrate_bps, lambda reason: self._lose(session, reason)
        )
        session.media = incoming
        line.request_keyframe = incoming.ask
        try:
            incoming.prepare(offer)
            await _set_offer(peer, offer)
            incoming.attach(await self._streams.publish(publisher))
            stack.watch_certificate(peer, lambda: self._blame(session))
            answer = await self._answer(session, offer, start_kbps=share.bitrate_bps // 4000)
        except Refused as refused:
            self._end(session, "refused", "refused")
            status = 503 if refused.later else 401 if asked.token is None else 403
            status = 508 if isinstance(refused, Looped) else status
            raise http.denied(status, str(refused), refused.wait_s) from refused
        except Refusal:
            self._end(session, "refused", "refused")
            raise
        return session, answer

    def _blame(self, session: Session) -> None:
        if not session.fault:
            session.fault = stack.P256_HINT
            log.error("whip %s: %s", session.stream, stack.P256_HINT)

    # Both.

    async def _answer(self, session: Session, offer: Offer, start_kbps: int = 0) -> str:
        peer, network = session.peer, self._network
        stack.use_network(peer, network)
        peer.on("connectionstatechange", lambda: self._changed(session))
        try:
            await peer.setLocalDescription(await peer.createAnswer())
        except NoPort as error:
            log.error("%s", error)
            raise Refusal(503, "no port is free", ("retry-after", "10")) from error
        pictures = set(offer.payload_types("video", "H264")) if start_kbps else set()

        def fmtp(kind: int) -> str:
            # Else a browser begins at 0.3 Mbit/s, whatever it was told it may send.
            return f";x-google-start-bitrate={min(start_kbps, 2500)}" if kind in pictures else ""

        self.sessions[session.place] = session
        session.deadline = asyncio.get_running_loop().call_later(
            CONNECT_S, self._end, session, "the client did not connect in time", "timeout"
        )
        return rebuilt(peer.localDescription.sdp, offer, network.told, fmtp)

    def _changed(self, session: Session) -> None:
        state = session.peer.connectionState
        if state == "connected" and session.deadline is not None:
            session.deadline.cancel()
        elif state in ("failed", "closed"):
            self._lose(session, session.fault or f"the connection {state}")

    async def _session(self, scope: Scope, receive: Receive, send: Send, place: str) -> None:
        session, asked = self.sessions[place], Asked.of(scope)
        if scope["method"] != "OPTIONS" and not asked.shows(session.token):
            raise http.denied(401, "the token that began this session is needed")
        match scope["method"]:
            case "OPTIONS":
                await http.preflight(send, http.TRICKLE)
            case "DELETE":
                self._end(session, "the client ended it", "ended")
                await http.answer(send, 200)
            case "PATCH":
                await self._trickle(session, asked, receive)
                await http.answer(send, 204)
            case _:
                raise Refusal(405, "only PATCH and DELETE", ("allow", "PATCH, DELETE, OPTIONS"))

    async def _trickle(self, session: Session, asked: Asked, receive: Receive) -> None:
        """Candidates that came later (RFC 9725, 4.3.1). ICE restarts are not supported."""
        asked.needs(http.TRICKLE)
        text = await http.body(receive, MOST_BYTES)
        match = asked.headers.get(b"if-match", b"").decode("latin-1")
        if match == "*":
            raise Refusal(501, "ICE restarts are not supported; begin a new session")
        if not match:
            raise Refusal(428, "If-Match is needed")
        if match != session.etag:
            raise Refusal(412, "another ICE session is in use")
        if not self._network.checks_clients:
            return
        for line in text.splitlines()[:64]:
            if line.startswith("a=candidate:") and usable(line):
                try:
                    candidate = candidate_from_sdp(line.removeprefix("a=candidate:"))
                except MALFORMED as error:
                    raise Refusal(400, "not a candidate") from error
                await stack.add_candidate(session.peer, candidate)

    def _lose(self, session: Session, reason: str) -> None:
        """The connection is gone; nobody has said that the session is over."""
        if not isinstance(session.media, Incoming):
            self._end(session, reason, "lost")
        elif not session.media.closed:
            session.media.close()
            if session.deadline is not None:
                session.deadline.cancel()
            loop = asyncio.get_running_loop()
            session.deadline = loop.call_later(LAST_WORD_S, self._end, session, reason, "lost")

    def _end(self, session: Session, reason: str, kind: str) -> None:
        """The session is over; its peer is closed in the background."""
        self.sessions.pop(session.place, None)
        if session.deadline is not None:
            session.deadline.cancel()
        media = session.media
        if session.fault == "ended":
            return
        session.fault = "ended"
        media.close()
        if isinstance(media, Incoming):
            media.publisher.end(Ended(kind == "ended", reason))
        self.crowd.leave(session.address)
        self._count("webrtc_ended", kind)
        protocol = session.place.split("/")[1]
        log.info("a %s session ended: %s", protocol, reason, extra={"stream": session.stream})
        task = asyncio.get_running_loop().create_task(session.peer.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _begin(self, protocol: str, name: str, asked: Asked) -> Session:
        """A session, still without media, that is in the crowd until `_end`."""
        if not self.crowd.enter(asked.address):
            raise Refusal(503, "too many sessions of this address", ("retry-after", "10"))
        if time.monotonic() - self._certified > CERTIFICATE_S:
            self._certificate, self._certified = stack.new_certificate(), time.monotonic()
        peer = stack.open_peer(self._network, self._certificate)
        place, etag = new_place(protocol, name), new_etag()
        return Session(place, name, peer, etag, None, asked.token, asked.address)  # type: ignore[arg-type]

    async def close(self) -> None:
        """End all sessions and wait for their sockets."""
        for session in list(self.sessions.values()):
            self._end(session, "the server stops", "closed")
        for channel in list(self.channels.values()):
            channel.close()
        if self._ending:
            await asyncio.wait(self._ending, timeout=5)


class _Line:
    """What the owner of a publisher may ask of it (`rtmp.publisher.Line`)."""

    def __init__(self, leave: Callable[[str], None]) -> None:
        self.leave = leave
        self.request_keyframe: Callable[[], None] = lambda: None

    def hold(self, held: bool) -> None:
        """Nothing to hold: what comes too fast is dropped to the next key frame."""

    def ask_to_reconnect(self, url: str | None) -> bool:
        return False


def _read(text: str, direction: tuple[str, ...], candidates: bool) -> Offer:
    try:
        return read_offer(text, direction=direction, candidates=candidates)
    except BadOffer as error:
        raise Refusal(400, str(error)) from error


async def _set_offer(peer: RTCPeerConnection, offer: Offer) -> None:
    try:
        await peer.setRemoteDescription(RTCSessionDescription(offer.text, "offer"))
    except OperationError as error:
        raise Refusal(406, "no codec in common: H.264 Constrained Baseline and Opus") from error
    except (InvalidStateError, *MALFORMED) as error:
        raise Refusal(400, "the offer cannot be read") from error
