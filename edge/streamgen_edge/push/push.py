"""`Push`: one target of one session, and the process that sends to it.

The loop puts packets into a bounded backlog and never waits. What becomes of the process, killed
or hung, is the matter of one task, which starts another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

from streamgen.errors import ConfigError
from streamgen_edge.attachment import OutTrack
from streamgen_edge.feed import Feed
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.push import wire
from streamgen_edge.push.backlog import Backlog
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.push.source import offered, sound_of
from streamgen_edge.push.target import by_rtmp

_MODULE = "streamgen_edge.push"
STARTS_S = 40.0
"""Until its first word: on a busy machine a process takes its time to come up."""
SILENT_S = 10.0
"""A process that has said nothing for so long hangs: it is killed. It speaks once a second."""
ENDS_S = 1.8
"""It may take so long to take leave of its target."""
AGAIN_S = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Before a process that died is started again; the last one for every further time."""
HEALTHY_S = 10.0
GATHER_S = 0.1
"""RTMP is for servers with buffers of seconds. Its process is woken for all of so much time: each
time costs it about as much as ten pictures do."""
SOUNDS, LIVE_SOUNDS = 8, 2
"""Pieces of sound that may wait for the next picture: 170 ms by RTMP, 40 ms by WHIP."""
_LINE = 1 << 16
log = logging.getLogger("streamgen.edge.push")


class State(Enum):
    WAITING = "waiting"
    """For the next try."""
    CONNECTING = "connecting"
    LIVE = "live"
    UNFIT = "unfit"
    """The stream has nothing that this target could get."""
    ENDED = "ended"


class Source(Protocol):
    """What viewers get of a session (`viewing.Viewing`)."""

    @property
    def tracks(self) -> Sequence[OutTrack]: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def resting(self) -> Collection[str]: ...


class Counting(Protocol):
    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...

    def gauge(self, name: str, label: str, value: float | None) -> None: ...


class Push:
    """On the loop's thread, from its making to `end`."""

    def __init__(
        self,
        id: str,
        settings: PushSettings,
        outbound: OutboundSettings,
        ids: Mapping[str, str],
        telemetry: Counting,
        *,
        via: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> None:
        """`ids` are for the log; `via` are the marks that the target is told; `command` stands in
        for the process."""
        self.id = id
        self.settings = settings
        self.outbound = outbound
        self.state = State.WAITING
        self.reason = ""
        """Why it does not go, as far as that is known."""
        self.restarts = -1
        """Processes after the first one."""
        self.connections = 0
        self.bytes = self.pictures = self.dropped = 0
        """Sent, and left out as the target was too slow."""
        self._ids = {**ids, "push": id}
        self._telemetry = telemetry
        self._via = ", ".join(via)
        protocol = "rtmp" if by_rtmp(settings.target) else "whip"
        self._command = command or (sys.executable, "-m", f"{_MODULE}.{protocol}")
        self._source: Source | None = None
        self._ask: Callable[[], None] = _nothing
        self._backlog: Backlog | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_s = 0.0
        self._sent: tuple[int, int] = (0, 0)
        """Of this process so far."""

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def over(self) -> bool:
        return self.state is State.ENDED

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def follow(self, source: Source, ask: Callable[[], None]) -> None:
        """The session has begun; `ask` is called where the target needs a key frame."""
        if self.over or self._task is not None:
            return
        self._source, self._ask = source, ask
        try:
            told = self._order(source)
        except ConfigError as error:
            self._be(State.UNFIT, str(error))
            return
        for what in ("push_bytes", "push_dropped", "push_restarts"):
            self._telemetry.count(what, self.id, 0)  # so that /metrics has it before it grows
        self._task = asyncio.create_task(self._keep(wire.order(told)), name=f"push {self.id}")

    def end(self, *, moved: bool = False) -> None:
        """Nothing more is taken; the target hears that it is over, unless the stream has `moved`:
        then another edge goes on with it there."""
        if self.over:
            return
        self._be(State.ENDED)
        process, backlog = self._process, self._backlog
        inlet = None if process is None else process.stdin
        if moved:
            self._stop_pump()
            if inlet is not None:
                inlet.close()
        elif backlog is not None:
            self._leave(backlog)
            backlog.end()  # its pump says the rest
        elif inlet is not None:
            inlet.write(wire.end())
        if process is not None:
            asyncio.get_running_loop().call_later(ENDS_S, _kill, process)
        elif self._task is not None:
            self._task.cancel()

    def facts(self) -> dict[str, Any]:
        """For the API; nothing secret."""
        waits = self.state is State.WAITING and self._task is not None
        return {
            "id": self.id,
            "target": self.settings.target.shown,
            "state": self.state.value,
            "reason": self.reason or None,
            "next_try_s": round(max(0.0, self._next_s - time.monotonic()), 1) if waits else None,
            "rung": self._backlog.rung.removeprefix("video/") if self._backlog else None,
            "bytes": self.bytes,
            "frames": self.pictures,
            "dropped": self.dropped,
            "behind_bytes": self._backlog.bytes if self._backlog else 0,
            "connections": self.connections,
            "restarts": max(0, self.restarts),
        }

    def _order(self, source: Source) -> dict[str, Any]:
        settings = self.settings
        rungs = offered(source.tracks, settings)
        top, sound = rungs[0], sound_of(source.tracks, settings.target)
        return {
            "url": settings.url,
            "token": settings.token,
            "via": self._via,
            "allow": list(self.outbound.allow),
            "rate": None if top.rate is None else float(top.rate),
            "bitrate_bps": top.bitrate_bps,
            "sound": None
            if sound is None
            else {
                "config": sound.config.hex(),
                "rate_hz": sound.rate_hz,
                "channels": sound.channels,
                "bitrate_bps": sound.bitrate_bps,
            },
        }

    async def _keep(self, order: bytes) -> None:
        """One process after the other."""
        deaths = 0
        while not self.over:
            began = time.monotonic()
            await self._serve(order)
            if self.over:
                return
            deaths = 0 if time.monotonic() - began > HEALTHY_S else deaths
            wait_s = AGAIN_S[min(deaths, len(AGAIN_S) - 1)]
            deaths += 1
            self._wait("its process died", wait_s)
            await asyncio.sleep(wait_s)

    async def _serve(self, order: bytes) -> None:
        """From the start of a process to its end."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, env=_environment(), limit=_LINE
            )
        except OSError as error:
            log.error("no process for a push: %s", error.strerror, extra=self._ids)
            return
        self._process = process
        self._sent = (0, 0)
        self.restarts += 1
        if self.restarts:
            self._telemetry.count("push_restarts", self.id)
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(order)
            if self.over:  # meanwhile
                process.stdin.write(wire.end())
            await self._hear(process.stdout)
        finally:
            self._stop_pump()
            _kill(process)
            process.stdin.close()
            await process.wait()
            self._process = None

    async def _hear(self, out: asyncio.StreamReader) -> None:
        """What the process says, until it ends or says nothing any more."""
        patience_s = STARTS_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    line = await out.readline()
                    patience_s = SILENT_S
            except (TimeoutError, ValueError):
                log.warning("the process of a push hangs", extra=self._ids)
                return
            if not line:
                return
            self._told(json.loads(line))

    def _told(self, said: Mapping[str, Any]) -> None:
        if "bytes" in said:
            self._count(int(said["bytes"]), int(said["pictures"]))
        if said.get("keyframe"):
            self._ask()
        if self.over:
            return
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(wire.beat())
        match said.get("state"):
            case "live":
                self.connections += 1
                self._be(State.LIVE)
                self._begin()
            case "connecting":
                self._be(State.CONNECTING, self.reason)
            case "waiting":
                self._stop_pump()
                self._wait(str(said["reason"]), float(said["wait_s"]))

    def _count(self, sent: int, pictures: int) -> None:
        more = sent - self._sent[0]
        self.bytes += more
        self.pictures += pictures - self._sent[1]
        self._sent = (sent, pictures)
        self._telemetry.count("push_bytes", self.id, more)

    def _begin(self) -> None:
        """The target takes pictures, from the next key frame on."""
        source, process = self._source, self._process
        assert source is not None and process is not None and process.stdin is not None
        self._stop_pump()
        rungs = [one.name for one in offered(source.tracks, self.settings)]
        rtmp = by_rtmp(self.settings.target)
        sounds = SOUNDS if rtmp else LIVE_SOUNDS
        backlog = Backlog(rungs, lambda: source.resting, self._drop, sounds=sounds)
        self._backlog = backlog
        for track in self._tracks(source):
            source.feed.join(track, backlog)
        self._pump = asyncio.create_task(_pumped(backlog, process.stdin, GATHER_S if rtmp else 0.0))

    def _tracks(self, source: Source) -> list[str]:
        rungs = [one.name for one in offered(source.tracks, self.settings)]
        sound = sound_of(source.tracks, self.settings.target)
        return rungs if sound is None else [*rungs, sound.name]

    def _leave(self, backlog: Backlog) -> None:
        source = self._source
        if source is not None:
            for track in self._tracks(source):
                source.feed.leave(track, backlog)

    def _stop_pump(self) -> None:
        backlog, self._backlog = self._backlog, None
        if backlog is not None:
            self._leave(backlog)
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None

    def _drop(self, number: int) -> None:
        if number:
            self.dropped += number
            self._telemetry.count("push_dropped", self.id, number)

    def _wait(self, reason: str, wait_s: float) -> None:
        if self.state is State.LIVE or reason != self.reason:
            log.warning("not pushing: %s", reason, extra=self._ids)
        self._next_s = time.monotonic() + wait_s
        self._be(State.WAITING, reason)

    def _be(self, state: State, reason: str = "") -> None:
        if state is State.LIVE:
            log.info("pushing", extra=self._ids)
        self.state, self.reason = state, reason
        gone = state is State.ENDED
        self._telemetry.gauge("push", self.id, None if gone else float(state is State.LIVE))


async def _pumped(backlog: Backlog, into: asyncio.StreamWriter, gather_s: float) -> None:
    with suppress(ConnectionError):  # the process has ended, which is seen elsewhere
        while packets := await backlog.take():
            into.write(wire.packed(packets))
            await into.drain()
            if gather_s and not backlog.ended:
                await asyncio.sleep(gather_s)
        into.write(wire.end())


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


def _environment() -> dict[str, str]:
    """Without the secrets of the server."""
    return {key: value for key, value in os.environ.items() if not key.startswith("STREAMGEN_")}


def _nothing() -> None:
    """Nobody to ask."""
