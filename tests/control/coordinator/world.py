"""Nodes, an edge and a store around a coordinator; what is said arrives in order, when let."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from streamgen.control.coordinator.commands import (
    Assign,
    Change,
    Command,
    Cordon,
    Drained,
    Move,
    Persist,
    Refuse,
    Revoke,
)
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    Event,
    Heard,
    KnownNode,
    KnownStream,
    LeaseGained,
    NodeRegistered,
    NodeReport,
    Running,
    StreamAttached,
    StreamWanted,
    Tick,
)
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work

SECRET = b"of the cluster"
NODE = Resources(cpu_ms=4000, gpu_ms=1000, memory_mb=8000, gpu_memory_mb=4000, encoder_ms=1000)
PROFILES = (
    Profile("style", (Resources(400, 210, 900, 700, 0, 190),), frozenset({"starry"})),
    Profile(
        "enhance",
        (
            Resources(900, 430, 1800, 1500, 0, 420),
            Resources(500, 130, 900, 700, 0, 420),
            Resources(300, 130, 800, 600, 0, 140),
        ),
    ),
    Profile("whole", (Resources(gpu_ms=900),)),
)


def work(
    name: str, profile: Profile = PROFILES[0], standing: Standing = Standing.LIVE_PAID
) -> Work:
    return Work(name, profile, standing)


@dataclass
class Machine:
    """A node as it is, whatever the coordinator thinks of it."""

    boot: int = 0
    up: bool = True
    cut_off: bool = False
    """It runs, and neither hears nor is heard."""
    pieces: int = 0
    """Of jobs, that it has not given back yet."""
    cordoned: bool = False
    carries: dict[str, Running] = field(default_factory=dict)
    inbox: deque[Command] = field(default_factory=deque)


class World:
    def __init__(self, leader: int = 1) -> None:
        self.now_ms = 0
        self.leader = leader
        self.machines: dict[str, Machine] = {}
        self.measured: dict[str, tuple[Profile, ...]] = {}
        """What nodes say that they have measured."""
        self.rows: dict[str, KnownNode] = {}
        self.streams: dict[str, KnownStream] = {}
        self.wanted: dict[str, StreamWanted] = {}
        self.fence: dict[str, int] = {}
        """The epoch whose pictures the edge takes."""
        self.owners: dict[int, tuple[str, str]] = {}
        self.refused: list[Refuse] = []
        self.drained: list[str] = []
        self.log: list[list[tuple[Event, int, list[Command]]]] = []
        self.lead()

    def lead(self) -> None:
        """Another coordinator takes over, with what the store holds."""
        self.coordinator = Coordinator(SECRET)
        self.log.append([])
        self.say(LeaseGained(self.leader, tuple(self.rows.values()), tuple(self.streams.values())))
        self.leader += 1
        for wish in list(self.wanted.values()):
            epoch = self.fence.get(wish.work.name, 0)
            self.say(StreamWanted(wish.work, wish.until_ms, epoch))

    def say(self, event: Event) -> list[Command]:
        commands = self.coordinator.handle(event, self.now_ms)
        self.log[-1].append((event, self.now_ms, commands))
        for command in commands:
            self._take(command)
        return commands

    def register(self, name: str) -> list[Command]:
        machine = self.machines.setdefault(name, Machine())
        running = tuple(machine.carries.values())
        profiles = self.measured.get(name, ())
        return self.say(NodeRegistered(name, str(machine.boot), NODE, (), running, profiles))

    def restart(self, name: str) -> list[Command]:
        machine = self.machines[name]
        machine.boot += 1
        self.measured.pop(name, None)
        machine.up, machine.cut_off, machine.cordoned = True, False, False
        machine.carries.clear()
        machine.inbox.clear()
        return self.register(name)

    def want(self, name: str, *kind: object, patience_ms: int | None = 0) -> list[Command]:
        until = None if patience_ms is None else self.now_ms + patience_ms
        wish = StreamWanted(work(name, *kind), until)  # type: ignore[arg-type]
        self.wanted[name] = wish
        return self.say(wish)

    def deliver(self, name: str) -> None:
        """What was sent to a node arrives, and the edge sees the pictures that come of it."""
        machine = self.machines[name]
        if machine.cut_off:
            return
        while machine.inbox:
            command = machine.inbox.popleft()
            if not machine.up:
                continue
            match command:
                case Assign() | Move():
                    known = machine.carries.get(command.work.name)
                    if known is None or known.epoch <= command.epoch:
                        one = Running(command.work, command.epoch, command.cut)
                        machine.carries[command.work.name] = one
                    self._picture(name, command.work.name, command.epoch)
                case Change() if command.work.name in machine.carries:
                    one = Running(command.work, command.epoch, command.cut)
                    machine.carries[command.work.name] = one
                case Cordon():
                    machine.cordoned = command.wanted
                case Revoke():
                    known = machine.carries.get(command.stream)
                    if known is not None and known.epoch <= command.epoch:
                        del machine.carries[command.stream]

    def report(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.up or machine.cut_off:
            return
        cluster = self.coordinator.cluster
        if cluster is not None and cluster.nodes.get(name) is None:
            self.register(name)
        else:
            left = machine.cordoned and not machine.pieces
            running = tuple(machine.carries.values())
            self.say(NodeReport(name, running, pieces=machine.pieces, cordoned=left))

    def pass_time(self, ms: int) -> None:
        """With heartbeats of all that can be heard."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + 500, end_ms)
            alive = [n for n, one in self.machines.items() if one.up and not one.cut_off]
            self.say(Heard(tuple(alive)))
            self.say(Tick())

    def settle(self, rounds: int = 8) -> None:
        """Everything that is under way arrives."""
        for _ in range(rounds):
            for name, machine in self.machines.items():
                self.deliver(name)
                # A worker ends by itself what no edge speaks of.
                for stream in machine.carries.keys() - self.wanted.keys():
                    del machine.carries[stream]
                self.report(name)
            self.pass_time(500)

    def owner(self, stream: str) -> str | None:
        cluster = self.coordinator.cluster
        assert cluster is not None
        known = cluster.streams.get(stream)
        return known.here.node if known is not None and known.here is not None else None

    def _picture(self, node: str, stream: str, epoch: int) -> None:
        if stream in self.wanted and epoch > self.fence.get(stream, 0):
            self.fence[stream] = epoch
            self.say(StreamAttached(stream, node, epoch))

    def _take(self, command: Command) -> None:
        match command:
            case Assign() | Move():
                owner = (command.work.name, command.node)
                assert self.owners.setdefault(command.epoch, owner) == owner, "two owners"
                self.machines[command.node].inbox.append(command)
            case Revoke() | Change() | Cordon():
                if command.node in self.machines:
                    self.machines[command.node].inbox.append(command)
            case Refuse():
                if not command.reason.startswith("unchanged"):
                    self.wanted.pop(command.stream, None)
                    self.fence.pop(command.stream, None)
                self.refused.append(command)
            case Drained():
                self.drained.append(command.node)
            case Persist():
                self.rows |= {one.name: one for one in command.nodes}
                self.streams |= {one.work.name: one for one in command.streams}
                for name in command.gone_nodes:
                    self.rows.pop(name, None)
                for name in command.gone_streams:
                    self.streams.pop(name, None)
