"""Real coordinators, as processes, and nodes and edges that only act as if they carried streams."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from streamgen.control.coordinator.commands import (
    Assign,
    Change,
    Cordon,
    Drained,
    Move,
    Refuse,
    Revoke,
)
from streamgen.control.coordinator.directory import EdgeRegistered, Edges
from streamgen.control.coordinator.events import (
    NodeRegistered,
    NodeReport,
    Running,
    StreamAttached,
    StreamReleased,
    StreamWanted,
)
from streamgen.control.coordinator.messages import FromCoordinator, ToCoordinator
from streamgen.control.coordinator.peer import Peer
from streamgen.control.coordinator.places import Kind
from streamgen.control.keys import LinkKey, new_key
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from tests.ports import free_port

WITHIN_S = 60.0
"""No test is about how fast something is; but all of them end."""
CAPACITY = Resources(cpu_ms=4_000, memory_mb=8_000)
SMALL = Profile("small", (Resources(cpu_ms=500, memory_mb=500),))


def work(name: str, profile: Profile = SMALL) -> Work:
    return Work(name, profile, Standing.LIVE_FREE)


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a state."""
    ends = time.monotonic() + WITHIN_S
    while not await asyncio.to_thread(true):
        assert time.monotonic() < ends, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.02)


class Wire(Protocol):
    """Coordinators that a peer may come to."""

    def peer(
        self,
        name: str,
        kind: Kind,
        heard: Callable[[FromCoordinator], None],
        hello: Callable[[], tuple[ToCoordinator, ...]],
    ) -> AbstractAsyncContextManager[Peer]: ...


class Coordinator:
    """One process."""

    def __init__(self, arguments: list[str], port: int, http: int) -> None:
        self.place = f"127.0.0.1:{port}"
        self.http = http
        line = [sys.executable, "-m", "streamgen.cli", "coordinator", *arguments]
        line += ["--listen", self.place, "--http", str(http)]
        self._process = subprocess.Popen(line, stderr=subprocess.PIPE)

    def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """Status and value; 0: nobody is there."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text, status = answer.read().decode(), answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
        except OSError:
            return 0, None
        return status, text if path == "/metrics" else json.loads(text)

    def leads(self) -> bool:
        return self.get("/readyz")[0] == 200

    def stands_by(self) -> bool:
        return self.get("/readyz")[0] == 503

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        _, told = self._process.communicate(timeout=WITHIN_S)
        assert b"Traceback" not in told, told.decode()
        return self._process.returncode


class Cluster:
    """Coordinators of one store, with keys."""

    def __init__(self, folder: Path, url: str, lease: str = "5s") -> None:
        self.folder, self.url, self._lease = folder, url, lease
        self.key = new_key(folder / "coordinator.key")
        self._ports = [(free_port(), free_port()) for _ in range(2)]
        self.places = [f"127.0.0.1:{port}" for port, _ in self._ports]
        (folder / "peers").write_text("# who may come in\n")
        self.running: list[Coordinator] = []

    def start(self, number: int) -> Coordinator:
        """The first or the second one."""
        arguments = ["--store", self.url, "--key", str(self.folder / "coordinator.key")]
        arguments += ["--peers", str(self.folder / "peers"), "--lease", self._lease]
        one = Coordinator(arguments, *self._ports[number])
        self.running.append(one)
        return one

    def end(self, one: Coordinator, number: signal.Signals) -> int:
        self.running.remove(one)
        return one.end(number)

    def known(self, name: str) -> LinkKey:
        key = new_key(self.folder / f"{name}.key")
        with (self.folder / "peers").open("a") as peers:
            peers.write(f"{key.public.hex()} {name}\n")
        return key

    def close(self) -> None:
        for one in list(self.running):
            self.end(one, signal.SIGKILL)

    @asynccontextmanager
    async def peer(
        self,
        name: str,
        kind: Kind,
        heard: Callable[[FromCoordinator], None],
        hello: Callable[[], tuple[ToCoordinator, ...]],
        key: LinkKey | None = None,
    ) -> AsyncIterator[Peer]:
        peer = Peer(
            name,
            kind=kind,
            places=self.places,
            key=key or self.known(name),
            coordinator_key=self.key.public,
            heard=heard,
            hello=hello,
        )
        task = asyncio.create_task(peer.run())
        try:
            yield peer
        finally:
            task.cancel()
            await asyncio.wait([task])


@dataclass
class Node:
    """Carries what it is told to."""

    name: str
    running: dict[str, Running] = field(default_factory=dict)
    edges: tuple[EdgeRegistered, ...] = ()
    revoked: list[str] = field(default_factory=list)
    cordoned: bool = False
    drained: bool = False
    peer: Peer | None = None

    def hello(self) -> tuple[ToCoordinator, ...]:
        running = tuple(self.running.values())
        return (NodeRegistered(self.name, f"{self.name}-boot", CAPACITY, (), running),)

    def heard(self, command: FromCoordinator) -> None:
        match command:
            case Assign() | Move() | Change():
                name = command.work.name
                self.running[name] = Running(command.work, command.epoch, command.cut)
                self.report()
            case Revoke():
                held = self.running.get(command.stream)
                if held is not None and held.epoch == command.epoch:
                    del self.running[command.stream]
                    self.revoked.append(command.stream)
            case Edges():
                self.edges = command.edges
            case Cordon():
                self.cordoned = command.wanted
                self.report()
            case Drained():
                self.drained = True

    def report(self) -> None:
        assert self.peer is not None
        running = tuple(self.running.values())
        self.peer.say(NodeReport(self.name, running, cordoned=self.cordoned))

    @asynccontextmanager
    async def there(self, cluster: Wire) -> AsyncIterator[Node]:
        async with cluster.peer(self.name, "worker", self.heard, self.hello) as self.peer:
            yield self


@dataclass
class Edge:
    """Takes the pictures of whoever it is told owns a stream."""

    name: str
    wanted: dict[str, Work] = field(default_factory=dict)
    owners: dict[str, tuple[str, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    told: list[FromCoordinator] = field(default_factory=list)
    peer: Peer | None = None

    def hello(self) -> tuple[ToCoordinator, ...]:
        here = EdgeRegistered(self.name, f"tcp://10.0.0.9:{7000 + len(self.name)}", "ab" * 32)
        wanted = (StreamWanted(one, None, self._epoch(one.name)) for one in self.wanted.values())
        return (here, *wanted)

    def _epoch(self, name: str) -> int:
        return self.owners.get(name, ("", 0))[1]

    def want(self, *names: str) -> None:
        assert self.peer is not None
        for name in names:
            self.wanted[name] = work(name)
            self.peer.say(StreamWanted(self.wanted[name], None))

    def release(self, name: str) -> None:
        assert self.peer is not None
        del self.wanted[name]
        self.owners.pop(name, None)
        self.peer.say(StreamReleased(name))

    def heard(self, command: FromCoordinator) -> None:
        assert self.peer is not None
        self.told.append(command)
        match command:
            case Assign() | Move() if command.epoch >= self._epoch(command.work.name):
                name = command.work.name
                self.owners[name] = command.node, command.epoch
                self.peer.say(StreamAttached(name, command.node, command.epoch))
            case Refuse():
                self.refused[command.stream] = command.reason

    async def gets(self, *names: str) -> None:
        await until(lambda: set(names) <= set(self.owners), f"owners of {names}")

    @asynccontextmanager
    async def there(self, cluster: Wire) -> AsyncIterator[Edge]:
        async with cluster.peer(self.name, "edge", self.heard, self.hello) as self.peer:
            yield self


def owners(leader: Coordinator) -> dict[str, tuple[str, int]]:
    """Of the streams that run, as the leader says."""
    _, streams = leader.get("/v1/streams")
    return {
        one["name"]: (one["owner"]["node"], one["owner"]["epoch"])
        for one in streams or ()
        if one["state"] == "running"
    }
