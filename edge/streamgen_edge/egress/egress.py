"""`Egress`: one process of viewers, as the edge has it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from streamgen.media.envelope import Envelope, LinkError
from streamgen.media.packet import Packet
from streamgen_edge.egress import wire
from streamgen_edge.feed import Feed
from streamgen_edge.webrtc.channel import Playable
from streamgen_edge.webrtc.http import Refusal

ANSWERS_S = 10.0
STARTS_S = 40.0
"""Until its first word: on a busy machine a process takes its time to come up."""
SILENT_S = 10.0
"""A process that has said nothing for so long hangs: it is killed. It speaks often."""
QUIET_S = 2.0
"""One that has said nothing for so long gets no viewers."""
ENDS_S = 3.0
"""One that is let end may take so long to say goodbye to its viewers."""
MOST_BEHIND = 16 << 20
"""Bytes that wait for a process; one that has so many does not read."""
log = logging.getLogger("streamgen.edge.egress")


class Source(Playable, Protocol):
    """A live stream, whose feed can be joined without a queue."""

    @property
    def feed(self) -> Feed: ...


class _Outlet:
    """One stream's way into the process. Implements `feed.Subscriber`."""

    def __init__(self, number: int, stream: Source, egress: Egress) -> None:
        self.number = number
        self.stream = stream
        self.joined: set[str] = set()
        self._egress = egress
        self._resting: frozenset[str] = frozenset()
        self._numbers = {track.name: at for at, track in enumerate(stream.tracks)}

    def facts(self) -> dict[str, Any]:
        names = ("name", "kind", "codec", "width", "height", "bitrate_bps")
        tracks = [
            {**{name: getattr(one, name) for name in names}, "config": one.config.hex()}
            for one in self.stream.tracks
        ]
        told = {"name": self.stream.name, "session": self.stream.session}
        return {"number": self.number, **told, "tracks": tracks}

    def want(self, track: str, on: bool) -> None:
        if track not in self._numbers or on == (track in self.joined):
            return
        if on:
            self.joined.add(track)
            self.stream.feed.join(track, self)
        else:
            self.joined.discard(track)
            self.stream.feed.leave(track, self)

    def put(self, packet: Packet) -> None:
        resting = frozenset(self.stream.resting)
        if resting != self._resting:
            self._resting = resting
            self._egress.say({"resting": self.number, "rungs": sorted(resting)})
        self._egress.send(wire.packet(packet, self.number, self._numbers[packet.track]))

    def end(self) -> None:
        self._egress.over(self.number)

    def close(self) -> None:
        for track in tuple(self.joined):
            self.want(track, False)


class Egress:
    """On the loop's thread. `run` lasts as long as the process."""

    def __init__(
        self,
        network: Mapping[str, Any],
        count: Callable[[str, str], None],
        left: Callable[[str], None],
    ) -> None:
        """`network` is what `webrtc.network.Network` is made of; `left` hears of each session that
        is over: the address of its client."""
        self.load = 0.0
        """Part of a core that it has used of late."""
        self.sessions: dict[str, tuple[str, str]] = {}
        """By place: stream, and address of the client."""
        self.viewers: Counter[str] = Counter()
        """By stream."""
        self.idle_since = time.monotonic()
        self.pid: int | None = None
        self._heard_s: float | None = None
        self._network = network
        self._count = count
        self._left = left
        self._writer: asyncio.StreamWriter | None = None
        self._outlets: dict[int, _Outlet] = {}
        self._last = 0
        self._answers: dict[int, tuple[asyncio.Future[dict[str, Any]], str, str]] = {}
        """What was asked, for which stream, by the client of which address."""
        self._asked = 0
        self._closing = False

    @property
    def ready(self) -> bool:
        """For viewers: it is up, and has said so, or anything else, of late."""
        return self._heard_s is not None and time.monotonic() - self._heard_s < QUIET_S

    async def run(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "streamgen_edge.egress.process"), stdin=theirs.fileno()
            )
        except OSError as error:
            log.error("no process for viewers: %s", error.strerror)
            ours.close()
            return
        finally:
            theirs.close()
        self.pid = process.pid
        log.info("a process for viewers runs as %d", process.pid)
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=wire.READ_AHEAD)
        self.say({"network": self._network})
        try:
            await self._hear(reader)
        finally:
            self._lose()
            self._writer.close()
            await _ended(process, ENDS_S if self._closing else 0.0)
            if not self._closing:
                log.error("a process for viewers (%d) ended", process.pid)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        heard = wire.heard(reader)
        patience_s = STARTS_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    told = await anext(heard)
                    patience_s = SILENT_S
            except StopAsyncIteration:
                return
            except (TimeoutError, LinkError):
                log.warning("a process for viewers hangs, or talks nonsense")
                return
            self._heard_s = time.monotonic()
            if not isinstance(told, Envelope):
                self._told(told)

    def _told(self, told: dict[str, Any]) -> None:
        if "answer" in told:
            self._answered(told)
        elif "want" in told and told["want"] in self._outlets:
            self._outlets[told["want"]].want(told["track"], told["on"])
        elif "keyframe" in told and told["keyframe"] in self._outlets:
            self._outlets[told["keyframe"]].stream.request_keyframe(told["reason"])
        elif "count" in told:
            self._count(told["count"], told["reason"])
        elif "ready" in told:
            log.info("a process for viewers is ready")
        elif "load" in told:
            self.load = told["load"]
            for place in told["gone"]:
                self._leave(place)
            self._sweep()

    def _answered(self, told: dict[str, Any]) -> None:
        answer, name, address = self._answers.get(told["answer"], (None, "", ""))
        if answer is None or answer.done():
            return  # too late: who does not connect is forgotten there
        if told["status"] == 201:
            self.sessions[wire.place(told)] = name, address
            self.viewers[name] += 1
        answer.set_result(told)

    def _leave(self, place: str) -> None:
        found = self.sessions.pop(place, None)
        if found is not None:
            name, address = found
            self.viewers[name] -= 1
            if not self.viewers[name]:
                del self.viewers[name]
            self._left(address)
            self.idle_since = time.monotonic()

    def _sweep(self) -> None:
        """Forget streams that nobody here watches."""
        if self._answers:
            return  # somebody comes
        for number, outlet in list(self._outlets.items()):
            if not outlet.joined and outlet.stream.name not in self.viewers:
                self.over(number)

    def say(self, told: Mapping[str, Any]) -> None:
        self.send(wire.message(told))

    def send(self, data: bytes) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > MOST_BEHIND:
            log.warning("a process for viewers does not read")
            writer.transport.abort()
            return
        writer.write(data)

    def over(self, number: int) -> None:
        """A stream has ended, or nobody here has it any more."""
        outlet = self._outlets.pop(number, None)
        if outlet is not None:
            outlet.close()
            self.say({"over": number})

    async def ask(self, asked: Mapping[str, Any], stream: Source | None = None) -> dict[str, Any]:
        """A request handed on: `status`, `headers` and `body` of the answer. Raises `Refusal`."""
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        name = "" if stream is None else stream.name
        self._answers[number] = answer, name, asked["address"]
        facts = {} if stream is None else {"stream": self._outlet(stream).facts()}
        self.say({"ask": number, **asked, **facts})
        try:
            await asyncio.wait({answer}, timeout=ANSWERS_S)
        finally:
            del self._answers[number]
        if not answer.done() or answer.cancelled():
            raise Refusal(503, "no answer in time", ("retry-after", "1"))
        return answer.result()

    def _outlet(self, stream: Source) -> _Outlet:
        for found in self._outlets.values():
            if (found.stream.name, found.stream.session) == (stream.name, stream.session):
                return found
        self._last += 1
        made = self._outlets[self._last] = _Outlet(self._last, stream, self)
        return made

    def _lose(self) -> None:
        self._heard_s = None
        for place in tuple(self.sessions):
            self._leave(place)
        for outlet in self._outlets.values():
            outlet.close()
        self._outlets.clear()
        for answer, _, _ in self._answers.values():
            answer.cancel()

    def close(self) -> None:
        """Let it end: its viewers hear that it is over."""
        self._closing = True
        if self._writer is not None:
            self._writer.close()


async def _ended(process: asyncio.subprocess.Process, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
