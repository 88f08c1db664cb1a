"""`Worker`: the process that decodes, runs graphs and encodes, for many streams of its edges.

One thread owns the sockets (ZeroMQ's are not thread safe); each stream's session has threads of
its own and hands packets over by its queue and a wake. It listens to nobody: it connects to the
sockets of its edges (`line.py`), and stops an edge's streams when that falls silent.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import zmq

from streamgen.config import cache_dir, cores
from streamgen.control.holdings import Holdings, read
from streamgen.control.hosted import Attachment, HostedStream, rehearse
from streamgen.control.line import EdgeLine, Proof
from streamgen.control.memory import Returning
from streamgen.control.sender import Say
from streamgen.control.warm import WarmEngines, load
from streamgen.control.wire import Place
from streamgen.graph.lane import Lane
from streamgen.protocols import Mode
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.telemetry import Telemetry

TICK_MS = 20
LAST_WORDS_MS = 500
"""For the edges to be told what is stuck."""
END_S = 5.0
"""Longest time for a stream to end with its worker."""
Edges = Mapping[str, tuple[Place, Proof | None]]
"""By name, where each listens, and what opens its door."""
log = logging.getLogger("streamgen.worker")


class Worker:
    """`serve` runs until `stop`, or until `lifeline` ends: whoever started it is gone."""

    def __init__(
        self,
        name: str,
        edges: Edges,
        *,
        now: Callable[[], datetime],
        lifeline: int | None = None,
        holdings: Holdings | None = None,
    ) -> None:
        """`edges` may be others later (`use`); `lifeline` is a pipe's reading end. In a cluster
        streams come by the coordinator's word only, and are kept in `holdings`."""
        self.name = name
        self._holdings = holdings
        self._now = now
        self._context = zmq.Context()
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)
        self._lifeline = lifeline
        self._returning = Returning()
        self._engines = WarmEngines(
            MeasuredEngines(Mode.LIVE, cache=cache_dir(), cores=cores(), telemetry=Telemetry()),
            MeasuredEngines(Mode.LIVE, cache=cache_dir(), cores=cores(), tune="never"),
        )
        self._lines: dict[str, EdgeLine] = {}
        self._leaving: list[EdgeLine] = []
        """To edges that are none any more, until their streams have ended."""
        self._asked: deque[Callable[[], None]] = deque()
        """What other threads want done here."""
        self._stopping = False
        self._follow(edges)

    def stop(self) -> None:
        """End soon; from a signal handler or any thread."""
        self._stopping = True
        self._wake()

    def use(self, edges: Edges) -> None:
        """These edges from now on: streams of others end; from any thread."""
        self.ask(lambda: self._follow(edges))

    def ask(self, act: Callable[[], None]) -> None:
        """Have this done soon by the thread that owns the sockets; from any thread."""
        self._asked.append(act)
        self._wake()

    @property
    def streams(self) -> list[HostedStream]:
        """All that are here; on the thread that owns the sockets."""
        lines = [*self._lines.values(), *self._leaving]
        return [stream for line in lines for stream in line.streams.values()]

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it is awake already
            os.write(self._waking, b"\0")

    def _follow(self, edges: Edges) -> None:
        for name, line in list(self._lines.items()):
            if edges.get(name) != (line.place, line.proof):
                line.stop_all()
                self._leaving.append(self._lines.pop(name))
        for name, (place, proof) in edges.items():
            if name not in self._lines:
                self._lines[name] = EdgeLine(self._context, self, place, proof)

    def serve(self) -> None:
        """Serve the edges until stopped; then end every stream.

        Raises `Stuck`, once the edges have been told: the process is to end, as it is.
        """
        with Lane() as lane:
            self._lane = lane
            try:
                while not self._stopping:
                    self._turn()
            finally:
                self._leave()
        for line in [*self._lines.values(), *self._leaving]:
            line.close()
        self._context.term()

    def _leave(self) -> None:
        """End every stream; where one is stuck, nothing can be waited for."""
        if any(stream.stuck is not None for stream in self.streams):
            for line in self._lines.values():
                line.flush()
            self._context.destroy(linger=LAST_WORDS_MS)
            return
        self._end_all()
        self._engines.close()

    def _turn(self) -> None:
        ready = self._ready()
        while self._asked:
            self._asked.popleft()()
        for line in [*self._lines.values(), *self._leaving]:
            if line.control in ready:
                line.receive_control()
            if line.media in ready:
                line.receive_media()
            line.send_media()
            line.say_news()
            line.flush()
        for line in [one for one in self._leaving if not one.streams]:
            self._leaving.remove(line)
            line.close()
        for stream in self.streams:
            if stream.stuck is not None:
                raise stream.stuck

    def _ready(self) -> dict[Any, int]:
        """Wait until there is something to do."""
        poller = zmq.Poller()
        poller.register(self._woken, zmq.POLLIN)
        for line in [*self._lines.values(), *self._leaving]:
            poller.register(line.control, zmq.POLLIN)
            poller.register(line.media, zmq.POLLIN | (zmq.POLLOUT if line.blocked else 0))
        if self._lifeline is not None:
            poller.register(self._lifeline, zmq.POLLIN)
        ready = dict(poller.poll(TICK_MS))
        if self._woken in ready:
            os.read(self._woken, 4096)
        lifeline = self._lifeline
        if lifeline is not None and lifeline in ready and not os.read(lifeline, 64):
            log.info("whoever started this worker is gone")
            self._stopping = True
        return ready

    def _end_all(self) -> None:
        streams = self.streams
        for stream in streams:
            stream.stop()
        for stream in streams:
            if not stream.join(END_S):
                log.warning("stream %s does not end", stream.name)
        for line in self._lines.values():
            line.flush()

    # `line.Host`.

    def host(self, wanted: Attachment, say: Say, grant: Any) -> HostedStream | None:
        word = None
        if self._holdings is not None:
            word = None if grant is None else read(grant)
            why = "no coordinator says so"
            if word is not None:
                why = self._holdings.refusal(word, wanted.home)
            if why:
                log.warning("stream %s may not begin here: %s", wanted.name, why)
                return None
        stream = HostedStream(wanted, self._lane, self._engines, say, self._wake, self._now)
        if self._holdings is not None and word is not None:
            self._holdings.begin(word, stream, wanted.home)
        return stream

    def home(self, name: str) -> int:
        return 0 if self._holdings is None else self._holdings.newest_home(name)

    def warm(self, wanted: Attachment, networks: Sequence[str]) -> None:
        def ready() -> None:
            for network in networks:
                self._loaded(network)

        rehearse(wanted, self._lane, self._engines.rehearsing, self._now, ready)

    def load(self, networks: Sequence[str]) -> None:
        """Have networks ready that streams to come will need; any thread."""
        load(networks, self._engines.rehearsing, self._loaded)

    def _loaded(self, network: str) -> None:
        log.info("ready for streams to come: %s", network)
        if self._holdings is not None:
            self._holdings.loaded(network)

    def ended(self, stream: HostedStream) -> None:
        self._returning.soon()
        if self._holdings is not None:
            self._holdings.ended(stream)
