"""`Mirrors`: the streams of other edges, as far as anybody here wants them. On the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import zmq.asyncio

from streamgen.control.coordinator.homes import Home
from streamgen.control.keys import LinkKey, public_key
from streamgen.control.wire import BEAT_S
from streamgen.errors import ConfigError
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.mirror.line import Line
from streamgen_edge.mirror.replica import Replica
from streamgen_edge.mirror.row import brief, row
from streamgen_edge.viewing import Viewing

DEMAND_S = 3.0
"""A viewer waits so long for a stream to come from elsewhere."""
MOST = 1_000
"""Streams that are sought or here; of those that nobody has the oldest make room."""
LEAST_S = 2.0
"""One that was sought for less makes no room, so that many names cost the coordinators little."""
MOST_WAITING = 2_000
"""Viewers that wait for one to come."""
IDLE_S = 10.0
"""A way to another edge on which nothing is wanted is left."""
log = logging.getLogger("streamgen.edge.mirror")


class Seeking(Protocol):
    """Who knows where streams are (`cluster.homes.ClusterHomes`)."""

    @property
    def edge(self) -> str: ...

    def seek(self, stream: str, changed: Callable[[Home], None], /) -> None: ...

    def forget(self, stream: str, /) -> None: ...


def address(place: str) -> str:
    """Where an edge's door for others is: at a port, or in a folder."""
    return place if place.startswith("tcp://") else f"ipc://{Path(place) / 'mirror.sock'}"


class Mirrors:
    """Implements `viewers.Copies`. Runs on the loop that enters it."""

    def __init__(
        self,
        homes: Seeking,
        grace_s: Callable[[str], float],
        telemetry: Telemetry,
        metrics: Metrics,
        key: LinkKey | None = None,
    ) -> None:
        """`grace_s` is how long a stream lasts without its home; `key` is ours."""
        self.broken: Callable[[], None] = lambda: None
        """Called when it cannot go on."""
        self._homes = homes
        self._grace_s = grace_s
        self._telemetry = telemetry
        self._metrics = metrics
        self._key = key
        self._context = zmq.asyncio.Context()
        self._replicas: dict[str, Replica] = {}
        self._lines: dict[tuple[str, str], Line] = {}
        self._idle: dict[tuple[str, str], float] = {}
        self._waiting = 0

    async def __aenter__(self) -> Mirrors:
        self._task = asyncio.get_running_loop().create_task(self._beat())
        self._task.add_done_callback(self._stopped)
        return self

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the streams of other edges broke", exc_info=error)
            self.broken()

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for replica in list(self._replicas.values()):
            self._drop(replica)
        for line in self._lines.values():
            line.close()
        self._context.term()

    # `viewers.Copies`.

    def __iter__(self) -> Iterator[Replica]:
        return iter([one for one in self._replicas.values() if one.begun])

    def get(self, name: str, /, *, hls: bool) -> Replica | None:
        replica = self._replicas.get(name)
        if replica is None or not replica.usable(hls=hls):
            return None
        replica.touch(hls=hls)
        return replica

    async def demand(self, name: str, /, *, hls: bool) -> Replica | None:
        replica = self._replicas.get(name) or self._seek(name)
        if replica is None or self._waiting >= MOST_WAITING:
            return None
        replica.touch(hls=hls)
        self._waiting += 1
        try:
            await replica.until(lambda: replica.usable(hls=hls) or replica.nowhere, DEMAND_S)
        finally:
            self._waiting -= 1
        return replica if replica.usable(hls=hls) else None

    def request_keyframe(self, name: str, reason: str, /) -> None:
        replica = self._replicas.get(name)
        if replica is not None and replica.line is not None:
            replica.line.say({"type": "keyframe", "stream": name, "reason": reason})

    def briefs(self, watching: Callable[[str], int], /) -> Iterator[dict[str, Any]]:
        """Each in a few words; so many are `watching` it by WebRTC."""
        for replica in self:
            yield brief(replica, watching(replica.name))

    def row(self, name: str, watching: int, /) -> dict[str, Any] | None:
        """All that is known of one here."""
        replica = self.find(name)
        return None if replica is None else row(replica, watching)

    def find(self, name: str) -> Replica | None:
        """The copy that is here, whoever needs it."""
        replica = self._replicas.get(name)
        return replica if replica is not None and replica.begun else None

    # Whose streams become ours, and ours become others' (`homing.Copies`).

    def give_up(self, name: str) -> Viewing | None:
        """The stream has its home here now: what viewers here have of it, which is the home's from
        now on. None: there is nothing."""
        replica = self._replicas.get(name)
        if replica is None:
            return None
        self._drop(replica)
        return replica.give_up()

    def adopt(self, name: str, viewing: Viewing) -> None:
        """The stream has its home elsewhere now: its viewers here go on with what comes of it."""
        former = self._replicas.get(name)
        if former is not None:
            self._drop(former)
        if self._seek(name, viewing) is None:
            viewing.end()

    # Where they are.

    async def ask(self, name: str, request: Mapping[str, Any]) -> tuple[Home, Any] | None:
        """Of the API of the stream's home: which that is, and its answer, None where it gave none.
        None: nobody else has the stream."""
        replica = self._replicas.get(name) or self._seek(name)
        if replica is None:
            return None
        replica.touch(hls=False)
        await replica.until(lambda: replica.home is not None, DEMAND_S)
        home = replica.home
        if home is None or not home.edge or home.edge == self._homes.edge:
            return None
        return home, None if replica.line is None else await replica.line.ask(request)

    def _seek(self, name: str, viewing: Viewing | None = None) -> Replica | None:
        """None: so many are sought that there is no place for more."""
        if len(self._replicas) >= MOST:
            idle = next((one for one in self._replicas.values() if not one.begun), None)
            if idle is None or time.monotonic() - idle.since < LEAST_S:
                return None
            self._drop(idle)
        replica = self._replicas[name] = Replica(name, self._grace_s(name), viewing)
        self._homes.seek(name, lambda home: self._found(replica, home))
        return replica

    def _show(self, replica: Replica) -> None:
        if replica.begun and self._replicas.get(replica.name) is replica:
            self._metrics.add(replica.name, replica.telemetry)

    def _found(self, replica: Replica, home: Home) -> None:
        if self._replicas.get(replica.name) is not replica:
            return
        line = None
        if home.place and home.edge != self._homes.edge:
            line = self._line(home)
        replica.live_at(home, line, ours=home.edge == self._homes.edge)

    def _line(self, home: Home) -> Line | None:
        place = home.place, home.public_key
        line = self._lines.get(place)
        if line is None:
            try:
                key = public_key(home.public_key) if home.public_key else None
            except ConfigError as error:
                log.error("edge %s: %s", home.edge, error)
                return None
            where, count = address(home.place), self._telemetry.count
            line = self._lines[place] = Line(self._context, where, count, self._key, key)
        return line

    def _drop(self, replica: Replica) -> None:
        if self._replicas.get(replica.name) is replica:
            del self._replicas[replica.name]
            self._homes.forget(replica.name)
            if replica.begun:
                self._metrics.remove(replica.name)
        replica.leave()

    async def _beat(self) -> None:
        """Say that we live, and let go of what nobody needs any more."""
        while True:
            await asyncio.sleep(BEAT_S)
            for replica in list(self._replicas.values()):
                if replica.look():
                    self._show(replica)
                else:
                    self._drop(replica)
            now = time.monotonic()
            for place, line in list(self._lines.items()):
                line.beat()
                if line.subs:
                    self._idle[place] = now
                elif now - self._idle.setdefault(place, now) > IDLE_S:
                    del self._lines[place], self._idle[place]
                    line.close()
            self._telemetry.gauge("mirrored", "here", sum(1 for _ in self))
