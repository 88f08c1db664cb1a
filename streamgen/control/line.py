"""`EdgeLine`: a worker's line to one edge: its two sockets, and the streams it has from there."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import zmq

from streamgen.control.hosted import TRACKS, Attachment, HostedStream
from streamgen.control.keys import LinkKey
from streamgen.control.sender import Say
from streamgen.control.wire import (
    BEAT_S,
    DEAD_S,
    Place,
    decoded,
    encoded,
    prepare,
    prove,
)
from streamgen.errors import ConfigError
from streamgen.media.envelope import LinkError, opened, seal

STATS_S = 1.0
MOST_RECEIVED = 64
"""Messages taken from a socket before the other one gets its turn."""
KNOCK_S = 5.0
"""Silence after which a worker says that no edge answers, and knocks anew: ZeroMQ does not by
itself after a refusal, and the edge may know our key by now."""
SAY_AGAIN_S = 60.0
log = logging.getLogger("streamgen.worker")


@dataclass(frozen=True, slots=True)
class Proof:
    """What lets a worker in where others could come, too."""

    key: LinkKey
    edge: bytes
    """The public key of the edge: nobody else is talked to."""


class Host(Protocol):
    """The worker, as its lines see it."""

    name: str

    def host(self, wanted: Attachment, say: Say, grant: Any) -> HostedStream | None:
        """Begin a stream; `say` is for its messages, `grant` the coordinator's word for it. None:
        it may not begin here. Raises `ConfigError`."""
        ...

    def home(self, name: str) -> int:
        """Epoch of the newest home of a stream that was seen; 0: none was."""
        ...

    def warm(self, wanted: Attachment, networks: Sequence[str]) -> None:
        """Load what the stream would need: `networks`, as the coordinators call them."""
        ...

    def ended(self, stream: HostedStream) -> None:
        """It is over, and its edge has been told."""
        ...


class EdgeLine:
    """On the worker's I/O thread; `say` from any thread."""

    def __init__(
        self, context: zmq.Context[Any], host: Host, place: Place, proof: Proof | None
    ) -> None:
        """`place` is where the edge listens; `proof` opens its door."""
        self.streams: dict[tuple[int, int], HostedStream] = {}
        """By the number that the edge gave the stream, and the term."""
        self.place, self.proof = place, proof
        self._host = host
        self._context = context
        self.media = self._connected(place.media, control=False)
        self.control = self._connected(place.control, control=True)
        self.blocked = False
        """The media socket is full."""
        self._outbox: deque[Mapping[str, Any]] = deque()
        self._heard_ns = time.monotonic_ns()
        self._answered = False
        self._knocked_ns = 0
        self._complained_ns = self._heard_ns - round(SAY_AGAIN_S * 1e9)
        self._beat_ns = self._stats_ns = 0
        self.say({"type": "hello", "worker": host.name, "pid": os.getpid()})

    def _connected(self, address: str, *, control: bool) -> Any:
        socket: Any = self._context.socket(zmq.DEALER)
        prepare(socket, control=control)
        if self.proof is not None:
            prove(socket, self.proof.key, edge=self.proof.edge)
        socket.setsockopt(zmq.IDENTITY, self._host.name.encode())
        socket.connect(address)
        return socket

    def close(self) -> None:
        self.media.close()
        self.control.close()

    # Receiving.

    def receive_control(self) -> None:
        for _ in range(MOST_RECEIVED):
            try:
                head, *parts = self.control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard()
            try:
                self._obey(decoded(head), parts)
            except (LinkError, ConfigError, KeyError, TypeError, ValueError) as error:
                log.warning("a message of the edge is not understood: %s", error)

    def _heard(self) -> None:
        self._heard_ns = time.monotonic_ns()
        if not self._answered:
            self._answered = True
            log.info("the edge at %s answers", self.place.control)

    def _obey(self, message: Mapping[str, Any], parts: list[bytes]) -> None:
        kind = message["type"]
        if kind == "beat":
            return
        if kind == "attach":
            self._attach(message, parts)
            return
        if kind == "anew":  # what we do is of an edge that is gone, or was given to others
            self.stop_all()
            return
        if kind == "warm":
            head = parts[0] if parts else b""
            networks = [str(one) for one in message.get("models", ())]
            self._host.warm(Attachment.of({"stream": 0, "term": 0, **message}, head), networks)
            return
        stream = self.streams.get((message.get("stream", -1), message.get("term", -1)))
        if stream is None:
            return  # ended meanwhile
        match kind:
            case "credit":
                stream.sender.credit(message)
            case "keyframe":
                stream.request_keyframe()
            case "params":
                stream.change(message)
            case "detach":
                stream.stop()
            case _:
                log.warning("an unknown message: %s", kind)

    def _attach(self, message: Mapping[str, Any], parts: list[bytes]) -> None:
        wanted = Attachment.of(message, parts[0] if parts else b"")
        for (number, term), former in list(self.streams.items()):
            if number == wanted.stream and term < wanted.term and not wanted.beside:
                former.stop()
        stream = self._host.host(wanted, self.say, message.get("grant"))
        if stream is None:
            ids = {"stream": wanted.stream, "term": wanted.term}
            home = self._host.home(wanted.name)
            self.say({"type": "ended", **ids, "error": "", "stats": None, "home": home})
        else:
            self.streams[wanted.stream, wanted.term] = stream

    def receive_media(self) -> None:
        for _ in range(MOST_RECEIVED):
            try:
                header, payload = self.media.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames
            try:
                envelope = opened(header, payload)
            except LinkError as error:
                log.warning("%s", error)
                continue
            stream = self.streams.get((envelope.stream, envelope.term))
            if stream is not None and envelope.track in TRACKS:
                track = TRACKS[envelope.track]
                stream.feed(envelope, replace(envelope.packet, track=track))

    # Sending.

    def say(self, message: Mapping[str, Any]) -> None:
        """Queue a message for the edge; any thread, which then wakes the worker."""
        self._outbox.append(message)

    def flush(self) -> None:
        while self._outbox:
            message = self._outbox[0]
            try:
                self.control.send(encoded(message), zmq.NOBLOCK)
            except zmq.Again:
                return
            self._outbox.popleft()
            if message["type"] == "ended":
                ended = self.streams.pop((message["stream"], message["term"]), None)
                if ended is not None:
                    ended.join(0)
                    self._host.ended(ended)

    def send_media(self) -> None:
        """One packet of every stream in turn, until none may send or the socket is full."""
        now_ns = time.monotonic_ns()
        self.blocked = False
        sending = list(self.streams.values())
        while sending:
            for stream in list(sending):
                item = stream.sender.take(now_ns)
                if item is None:
                    sending.remove(stream)
                    continue
                header = seal(
                    item.packet,
                    stream=stream.stream,
                    term=stream.term,
                    track=item.track,
                    kind=item.kind,
                )
                try:
                    self.media.send_multipart((header, item.packet.data), zmq.NOBLOCK)
                except zmq.Again:
                    stream.sender.back(item)
                    self.blocked = True
                    return

    def say_news(self) -> None:
        """Credit when there is some, a beat four times a second, figures once a second."""
        now_ns = time.monotonic_ns()
        for stream in self.streams.values():
            news = stream.news()
            if news is not None:
                ids = {"stream": stream.stream, "term": stream.term}
                self.say({"type": "credit", **ids, "bytes": news[0], "ms": news[1]})
        if now_ns - self._beat_ns > BEAT_S * 1e9:
            self._beat_ns = now_ns
            if not self._outbox:  # else nobody takes it: once is enough
                self.say({"type": "beat", "worker": self._host.name, "pid": os.getpid()})
            if self.streams and self._silent(now_ns):
                log.warning("the edge is silent: all its streams end")
                self.stop_all()
            if now_ns - max(self._heard_ns, self._knocked_ns) > KNOCK_S * 1e9:
                self._knock(now_ns)
        if now_ns - self._stats_ns > STATS_S * 1e9:
            self._stats_ns = now_ns
            for stream in list(self.streams.values()):
                stats = stream.stats()
                if stats is not None:
                    ids = {"stream": stream.stream, "term": stream.term}
                    self.say({"type": "stats", **ids, "stats": stats})

    def _silent(self, now_ns: int) -> bool:
        """Not if what it said lies here: then it was we who did not listen, on a busy machine."""
        if now_ns - self._heard_ns > DEAD_S * 1e9:
            self.receive_control()
        return now_ns - self._heard_ns > DEAD_S * 1e9

    def _knock(self, now_ns: int) -> None:
        """No edge answers."""
        self._knocked_ns = now_ns
        self._answered = False
        if now_ns - self._complained_ns > SAY_AGAIN_S * 1e9:
            self._complained_ns = now_ns
            log.warning("no edge answers at %s%s", self.place.control, self._doubts())
        if self.proof is not None:
            ends = (self.media, self.place.media), (self.control, self.place.control)
            for socket, address in ends:
                socket.disconnect(address)
                socket.connect(address)

    def _doubts(self) -> str:
        if self.proof is None:
            return ""
        edge, ours = self.proof.edge.hex(), self.proof.key.public.hex()
        return f": is it there, has it the key {edge}, and is our {ours} in its link.workers?"

    def stop_all(self) -> None:
        """Every stream of this edge ends soon."""
        for stream in self.streams.values():
            stream.stop()
