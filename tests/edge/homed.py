"""Edges of a cluster and its leader, without wires: a test says what arrives when, and what is
lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.homes import Home, KnownHome, StreamLeft
from streamgen.control.coordinator.messages import (
    FromCoordinator,
    Letter,
    ToCoordinator,
    opened,
    sealed,
)
from streamgen.control.coordinator.places import Kind
from streamgen_edge.cluster.homes import ClusterHomes


class HandLoop(asyncio.SelectorEventLoop):
    """Time goes by when a test says so."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def step(self) -> None:
        """Whatever can go on does."""
        for _ in range(8):
            self.call_soon(self.stop)
            self.run_forever()

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.step()

    def end(self) -> None:
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks))
        self.close()


@dataclass
class Site:
    """An edge with its end of the wire, as `Peer` is: what is said while nobody leads is lost, and
    a leader that is new is told all."""

    name: str
    loop: HandLoop
    leader: int = 0
    newest: int = 0
    out: deque[Letter] = field(default_factory=deque)
    coming: deque[Letter] = field(default_factory=deque)
    over: list[StreamLeft] = field(default_factory=list)
    """What no `hello` tells."""
    lost: list[tuple[str, Home]] = field(default_factory=list)
    seen: dict[str, list[Home]] = field(default_factory=dict)
    claims: list[tuple[str, asyncio.Task[Home]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Anew, as after a kill."""
        door = EdgeRegistered(self.name, f"/run/{self.name}", "", f"/run/{self.name}/mirror")
        self.registered = door
        self.homes = homes = ClusterHomes(door)
        homes.say, homes.lost = self.say, lambda stream, home: self.lost.append((stream, home))
        self.leader = self.newest = 0
        for some in (self.out, self.coming, self.over, self.lost, self.seen, self.claims):
            some.clear()  # type: ignore[attr-defined]
        self.task = self.loop.create_task(homes.run())

    def kill(self) -> None:
        for task in (self.task, *(task for _, task in self.claims)):
            task.cancel()
        self.loop.step()
        self.start()

    def say(self, event: ToCoordinator) -> None:
        if self.leader:
            self.out.append(Letter(event, self.leader))
        elif isinstance(event, StreamLeft):
            self.over.append(event)

    def greet(self, leader: int) -> None:
        """A leader is heard."""
        if leader < self.newest:
            return
        over = [*self.over, *(one.message for one in self.out)]
        self.over.clear()
        self.out.clear()
        self.leader = self.newest = leader
        left = [one for one in over if isinstance(one, StreamLeft)]
        for event in (*left, self.registered, *self.homes.hello()):
            self.say(event)

    def hear(self) -> None:
        """The next word of a leader arrives; what an older one said is dropped."""
        letter = self.coming.popleft()
        if letter.leader < self.newest:
            return
        if letter.leader > self.newest:
            self.greet(letter.leader)
        assert not isinstance(letter.message, ToCoordinator)
        self.homes.heard(letter.message)
        self.loop.step()

    def publish(self, stream: str) -> asyncio.Task[Home]:
        """A publisher comes. When it is told that the stream is here it says so, too."""

        async def come() -> Home:
            home = await self.homes.claim(stream)
            if home.edge == self.name:
                self.homes.carry(stream, f"{self.name} has {stream}")
            return home

        return self._started(stream, come())

    def _started(self, stream: str, come: Coroutine[Any, Any, Home]) -> asyncio.Task[Home]:
        task = self.loop.create_task(come)
        self.claims.append((stream, task))
        self.loop.step()
        return task

    def seek(self, stream: str) -> None:
        seen = self.seen.setdefault(stream, [])
        self.homes.seek(stream, seen.append)


class Homeland:
    """Edges and the leader of the moment."""

    def __init__(self, *names: str) -> None:
        self.loop = HandLoop()
        self.sites = {name: Site(name, self.loop) for name in names}
        self.now_ms = 0
        self.rows: dict[str, KnownHome] = {}
        """In the store."""
        self.unwritten: list[Persist] = []
        self.said: list[Home] = []
        """All that any leader said, in its order."""
        self.lead(1)

    def close(self) -> None:
        self.loop.end()

    # Leaders.

    def lead(self, epoch: int) -> None:
        """Another one leads, with what is in the store; edges have not heard it yet."""
        self.unwritten.clear()
        self.desk = Desk(Coordinator(b"secret"), Figures(), self._say, self.unwritten.append)
        self.desk.gained(LeaseGained(epoch, homes=tuple(self.rows.values())), self.now_ms)

    def write(self) -> None:
        """What is to be remembered is in the store."""
        for one in self.unwritten:
            self.rows |= {home.stream: home for home in one.homes}
            for name in one.gone_homes:
                self.rows.pop(name, None)
        self.unwritten.clear()

    def _say(self, kind: Kind, name: str | None, message: FromCoordinator) -> None:
        if isinstance(message, Home) and name is not None:
            self.said.append(message)
            self.sites[name].coming.append(Letter(message, self.desk.epoch))

    # Wires.

    def beat(self, name: str) -> None:
        """The leader is heard by an edge, which greets it if it is new."""
        site = self.sites[name]
        unknown = self.desk.unknown("edge", name)
        if self.desk.epoch and (site.leader != self.desk.epoch or unknown):
            site.greet(self.desk.epoch)

    def take(self, name: str) -> None:
        """The next thing that an edge said arrives, if somebody leads."""
        letter = self.sites[name].out.popleft()
        frames = sealed(letter.message, self.now_ms, letter.leader)
        self.desk.hear("edge", name, opened(frames, self.now_ms), self.now_ms)

    def deliver(self) -> None:
        """All that is under way."""
        while any(one.out or one.coming for one in self.sites.values()):
            for name, site in self.sites.items():
                while site.out:
                    self.take(name)
                while site.coming:
                    site.hear()

    def pass_time(self, seconds: float) -> None:
        """Of the edges' clock and of the leader's."""
        self.now_ms += round(seconds * 1000)
        self.loop.pass_time(seconds)
        self.desk.tick([], dict.fromkeys(self.sites, 100), self.now_ms)

    def settle(self, seconds: int = 40) -> None:
        """Nothing is lost any more: what was, is said again by and by."""
        for _ in range(seconds):
            for name in self.sites:
                self.beat(name)
            self.deliver()
            self.pass_time(1)
