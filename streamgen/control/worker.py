"""`Worker`: the process that decodes, runs graphs and encodes, for many streams of one edge.

One thread owns the sockets (ZeroMQ's are not thread safe); each stream's session has threads of
its own and hands packets over by its queue and a wake. It listens to nobody: it connects to the
sockets of its edge, and stops all streams when that falls silent.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import zmq

from streamgen.config import cache_dir, cores
from streamgen.control.hosted import TRACKS, Attachment, HostedStream, rehearse
from streamgen.control.keys import LinkKey
from streamgen.control.memory import Returning
from streamgen.control.warm import WarmEngines
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
from streamgen.graph.lane import Lane
from streamgen.media.envelope import LinkError, opened, seal
from streamgen.protocols import Mode
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.telemetry import Telemetry

STATS_S = 1.0
MOST_RECEIVED = 64
"""Messages taken from a socket before the other one gets its turn."""
TICK_MS = 20
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


class Worker:
    """`serve` runs until `stop`, or until `lifeline` ends: whoever started it is gone."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        now: Callable[[], datetime],
        proof: Proof | None = None,
        lifeline: int | None = None,
    ) -> None:
        """`place` is where the edge listens; `lifeline` is a pipe's reading end."""
        self.name = name
        self._place = place
        self._proof = proof
        self._now = now
        self._context = zmq.Context()
        self._media = self._connected(place.media, control=False)
        self._control = self._connected(place.control, control=True)
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)
        self._lifeline = lifeline
        self._returning = Returning()
        self._streams: dict[tuple[int, int], HostedStream] = {}
        self._engines = WarmEngines(
            MeasuredEngines(Mode.LIVE, cache=cache_dir(), cores=cores(), telemetry=Telemetry()),
            MeasuredEngines(Mode.LIVE, cache=cache_dir(), cores=cores(), tune="never"),
        )
        self._outbox: deque[Mapping[str, Any]] = deque()
        self._heard_ns = time.monotonic_ns()
        self._answered = False
        self._knocked_ns = 0
        self._complained_ns = self._heard_ns - round(SAY_AGAIN_S * 1e9)
        self._beat_ns = self._stats_ns = 0
        self._blocked = False
        self._stopping = False

    def _connected(self, address: str, *, control: bool) -> Any:
        socket: Any = self._context.socket(zmq.DEALER)
        prepare(socket, control=control)
        if self._proof is not None:
            prove(socket, self._proof.key, edge=self._proof.edge)
        socket.setsockopt(zmq.IDENTITY, self.name.encode())
        socket.connect(address)
        return socket

    def stop(self) -> None:
        """End soon; from a signal handler or any thread."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it is awake already
            os.write(self._waking, b"\0")

    def serve(self) -> None:
        """Serve the edge until stopped; then end every stream."""
        self._say({"type": "hello", "worker": self.name, "pid": os.getpid()})
        with Lane() as lane:
            self._lane = lane
            try:
                while not self._stopping:
                    self._turn()
            finally:
                self._end_all()
                self._flush()
                self._engines.close()
        self._media.close()
        self._control.close()
        self._context.term()

    def _turn(self) -> None:
        poller = zmq.Poller()
        poller.register(self._woken, zmq.POLLIN)
        poller.register(self._control, zmq.POLLIN)
        poller.register(self._media, zmq.POLLIN | (zmq.POLLOUT if self._blocked else 0))
        if self._lifeline is not None:
            poller.register(self._lifeline, zmq.POLLIN)
        ready = dict(poller.poll(TICK_MS))
        if self._woken in ready:
            os.read(self._woken, 4096)
        lifeline = self._lifeline
        if lifeline is not None and lifeline in ready and not os.read(lifeline, 64):
            log.info("whoever started this worker is gone")
            self._stopping = True
        if self._control in ready:
            self._receive_control()
        if self._media in ready:
            self._receive_media()
        self._send_media()
        self._say_news()
        self._flush()

    # Receiving.

    def _receive_control(self) -> None:
        for _ in range(MOST_RECEIVED):
            try:
                head, *parts = self._control.recv_multipart(zmq.NOBLOCK)
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
            log.info("the edge at %s answers", self._place.control)

    def _obey(self, message: Mapping[str, Any], parts: list[bytes]) -> None:
        kind = message["type"]
        if kind == "beat":
            return
        if kind == "attach":
            self._attach(message, parts)
            return
        if kind == "anew":  # what we do is of an edge that is gone, or was given to others
            for former in self._streams.values():
                former.stop()
            return
        if kind == "warm":
            wanted = Attachment.of({"stream": 0, "term": 0, **message}, parts[0] if parts else b"")
            rehearse(wanted, self._lane, self._engines.rehearsing, self._now)
            return
        stream = self._streams.get((message.get("stream", -1), message.get("term", -1)))
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
        for (number, term), former in list(self._streams.items()):
            if number == wanted.stream and term < wanted.term:
                former.stop()
        self._streams[wanted.stream, wanted.term] = HostedStream(
            wanted, self._lane, self._engines, self._say, self._wake, self._now
        )

    def _receive_media(self) -> None:
        for _ in range(MOST_RECEIVED):
            try:
                header, payload = self._media.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames
            try:
                envelope = opened(header, payload)
            except LinkError as error:
                log.warning("%s", error)
                continue
            stream = self._streams.get((envelope.stream, envelope.term))
            if stream is not None and envelope.track in TRACKS:
                track = TRACKS[envelope.track]
                stream.feed(envelope, replace(envelope.packet, track=track))

    # Sending.

    def _say(self, message: Mapping[str, Any]) -> None:
        """Queue a message for the edge; any thread, followed by `_wake`."""
        self._outbox.append(message)

    def _flush(self) -> None:
        while self._outbox:
            message = self._outbox[0]
            try:
                self._control.send(encoded(message), zmq.NOBLOCK)
            except zmq.Again:
                return
            self._outbox.popleft()
            if message["type"] == "ended":
                ended = self._streams.pop((message["stream"], message["term"]), None)
                if ended is not None:
                    ended.join(0)
                    self._returning.soon()

    def _send_media(self) -> None:
        """One packet of every stream in turn, until none may send or the socket is full."""
        now_ns = time.monotonic_ns()
        self._blocked = False
        sending = list(self._streams.values())
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
                    self._media.send_multipart((header, item.packet.data), zmq.NOBLOCK)
                except zmq.Again:
                    stream.sender.back(item)
                    self._blocked = True
                    return

    def _say_news(self) -> None:
        """Credit when there is some, a beat four times a second, figures once a second."""
        now_ns = time.monotonic_ns()
        for stream in self._streams.values():
            news = stream.news()
            if news is not None:
                ids = {"stream": stream.stream, "term": stream.term}
                self._say({"type": "credit", **ids, "bytes": news[0], "ms": news[1]})
        if now_ns - self._beat_ns > BEAT_S * 1e9:
            self._beat_ns = now_ns
            if not self._outbox:  # else nobody takes it: once is enough
                self._say({"type": "beat", "worker": self.name, "pid": os.getpid()})
            if self._streams and now_ns - self._heard_ns > DEAD_S * 1e9:
                log.warning("the edge is silent: all streams end")
                self._end_all()
            if now_ns - max(self._heard_ns, self._knocked_ns) > KNOCK_S * 1e9:
                self._knock(now_ns)
        if now_ns - self._stats_ns > STATS_S * 1e9:
            self._stats_ns = now_ns
            for stream in list(self._streams.values()):
                stats = stream.stats()
                if stats is not None:
                    ids = {"stream": stream.stream, "term": stream.term}
                    self._say({"type": "stats", **ids, "stats": stats})

    def _knock(self, now_ns: int) -> None:
        """No edge answers."""
        self._knocked_ns = now_ns
        self._answered = False
        if now_ns - self._complained_ns > SAY_AGAIN_S * 1e9:
            self._complained_ns = now_ns
            log.warning("no edge answers at %s%s", self._place.control, self._doubts())
        if self._proof is not None:
            ends = (self._media, self._place.media), (self._control, self._place.control)
            for socket, address in ends:
                socket.disconnect(address)
                socket.connect(address)

    def _doubts(self) -> str:
        if self._proof is None:
            return ""
        edge, ours = self._proof.edge.hex(), self._proof.key.public.hex()
        return f": is it there, has it the key {edge}, and is our {ours} in its link.workers?"

    def _end_all(self) -> None:
        for stream in self._streams.values():
            stream.stop()
        for stream in self._streams.values():
            if not stream.join(5.0):
                log.warning("stream %s does not end", stream.name)
