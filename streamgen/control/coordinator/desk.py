"""`Desk`: who may say what, who is told what, and what was counted, around the pure `Coordinator`.

No I/O, as it: messages come in with who says them, and go out by `say` and `persist`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from streamgen.control.coordinator.chronicle import Chronicle
from streamgen.control.coordinator.cluster import Holding
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
    Wait,
    Warm,
)
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.directory import Directory, EdgeLeft, EdgeRegistered
from streamgen.control.coordinator.events import (
    Drain,
    Event,
    Heard,
    LeaseGained,
    LeaseLost,
    NodeLeft,
    NodeMeasured,
    NodeRegistered,
    NodeReport,
    StreamAttached,
    StreamChanged,
    StreamEnds,
    StreamLost,
    StreamReleased,
    StreamWanted,
    Tick,
    WorkerLost,
)
from streamgen.control.coordinator.fencing import Epochs, leader_shown
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.homes import (
    FromEdge,
    Homes,
    StreamClaimed,
    StreamLeft,
    StreamSought,
    StreamUnsought,
)
from streamgen.control.coordinator.messages import (
    Alive,
    FromCoordinator,
    HeardLater,
    Letter,
    ToCoordinator,
)
from streamgen.control.coordinator.places import Kind
from streamgen.control.coordinator.questions import ApiAsked, RoomAsked, RoomTold
from streamgen.control.coordinator.seeking import no_room

LISTEN_MS = 3_000
"""A new leader listens so long before it tells nodes which edges there are."""
EDGE_GONE_MS = 10_000
"""An edge that was silent for so long is gone; what it wanted and nobody carries is over."""


class Say(Protocol):
    def __call__(self, kind: Kind, name: str | None, message: FromCoordinator) -> None:
        """To one peer, or (None) to all of a kind."""
        ...


class Desk:
    def __init__(
        self,
        coordinator: Coordinator,
        figures: Figures,
        say: Say,
        persist: Callable[[Persist], None],
    ) -> None:
        self.coordinator, self.figures = coordinator, figures
        self.epoch = 0
        """Of the lease under which it leads; 0: it does not."""
        self.outdone = 0
        """The latest leader that peers have shown."""
        self.directory = Directory()
        self.homes = Homes(Epochs(0, b""))
        self.edge_of: dict[str, str] = {}
        """Who wants each stream."""
        self.waits: dict[str, Wait] = {}
        """What those that wait were told last."""
        self.asked: Callable[[str, ApiAsked], None] = lambda edge, asked: None
        """Answers what an edge's administrators ask."""
        self._say, self._persist = say, persist
        self.chronicle = Chronicle()
        self._since_ms = 0
        self._told = False
        """Nodes know the edges."""

    # Leading.

    def gained(self, rows: LeaseGained, now_ms: int) -> None:
        self.lost(now_ms)
        self.epoch, self._since_ms, self._told = rows.epoch, now_ms, False
        self.homes = Homes(Epochs(rows.epoch, b""), rows.homes, now_ms)
        self._handle(rows, now_ms)

    def lost(self, now_ms: int) -> None:
        self._handle(LeaseLost(), now_ms)
        self.epoch = 0
        self.directory = Directory()
        self.homes = Homes(Epochs(0, b""))
        self.edge_of.clear()
        self.waits.clear()

    def tick(self, alive: Iterable[str], silent_ms: dict[str, int], now_ms: int) -> None:
        """Some times a second: the nodes that were heard since the last one, and for how long
        each edge was not."""
        if not self.epoch:
            return
        self._handle(Heard(tuple(alive)), now_ms)
        self._handle(Tick(), now_ms)
        if not self._told and now_ms - self._since_ms >= LISTEN_MS:
            self._told = True
            self._say("worker", None, self.directory.all())
            self.homes.listened()
        known = {one.edge for one in self.directory.all().edges}
        gone = {name for name in known if silent_ms.get(name, EDGE_GONE_MS) >= EDGE_GONE_MS}
        if gone and self.directory.remove(gone):
            self._tell_edges()
        self.homes.gone(gone, now_ms)
        self.homes.time_went_by(now_ms)
        self._tell_homes()
        if now_ms - self._since_ms >= EDGE_GONE_MS:
            self._forget_orphans(silent_ms, now_ms)

    def _forget_orphans(self, silent_ms: dict[str, int], now_ms: int) -> None:
        """Streams that do not run, of edges that are gone. What runs has an edge that is only
        not heard here."""
        cluster = self.coordinator.cluster
        for name, edge in list(self.edge_of.items()):
            if cluster is None or silent_ms.get(edge, EDGE_GONE_MS) < EDGE_GONE_MS:
                continue
            owner = self._owner(name)
            if name in cluster.streams and (owner is None or not owner.attached):
                self._handle(StreamReleased(name), now_ms)

    def unknown(self, kind: Kind, name: str) -> bool:
        """Whether a peer that lives has to say hello (once more)."""
        cluster = self.coordinator.cluster
        if cluster is None:
            return False
        if kind == "edge":
            return name not in self.directory
        node = cluster.nodes.get(name)
        return node is None or not node.reported

    # Hearing.

    def hear(self, kind: Kind, name: str, letter: Letter, now_ms: int) -> None:
        """What a peer says. What was meant for another leader is not listened to: to this one
        the peer says hello first."""
        message = letter.message
        if isinstance(message, HeardLater):
            if message.leader > self.epoch > 0:
                self._outdone_by(message.leader, now_ms)
            return
        if isinstance(message, Alive) or not self.epoch or letter.leader != self.epoch:
            return
        if not isinstance(message, ToCoordinator) or not self._may(kind, name, message):
            self.figures.not_listened(type(message).__name__)
            return
        match message:
            case EdgeRegistered():
                if self.directory.add(message):
                    self._tell_edges()
                self.homes.registered(message, now_ms)
            case EdgeLeft():
                if self.directory.remove([name]):
                    self._tell_edges()
                self.homes.gone([name], now_ms)
            case StreamClaimed() | StreamLeft() | StreamSought() | StreamUnsought():
                self._of_home(message, now_ms)
            case StreamWanted():
                self.edge_of[message.work.name] = name
                owner = self._owner(message.work.name)
                self._handle(message, now_ms)
                if owner is not None and owner.epoch != message.epoch:
                    self._tell_owner(message.work.name, owner)
            case RoomAsked():
                self._say("edge", name, self._room(message, now_ms))
            case ApiAsked():
                self.asked(name, message)
            case NodeRegistered():
                self._handle(message, now_ms)
                if self._told:
                    self._say("worker", name, self.directory.all())
            case _:
                self._handle(message, now_ms)
        self._tell_homes()

    def _room(self, asked: RoomAsked, now_ms: int) -> RoomTold:
        cluster = self.coordinator.cluster
        wait = None if cluster is None else no_room(cluster, asked.work, now_ms, runs=asked.runs)
        if wait is None:
            return RoomTold(asked.number, "", None)
        return RoomTold(asked.number, wait.reason, wait.earliest_ms)

    def _of_home(self, message: FromEdge, now_ms: int) -> None:
        if self.homes.later(message):
            self._outdone_by(leader_shown(message), now_ms)
        else:
            self.homes.hear(message)

    def _outdone_by(self, leader: int, now_ms: int) -> None:
        """Somebody showed the epoch of a later leader. Where that one is none of this store, the
        next leader has to be later still, or nobody would listen to it."""
        self.outdone = max(self.outdone, leader)
        self.lost(now_ms)

    def drain(self, node: str, wanted: bool, now_ms: int) -> bool:
        """Empty a node, or leave that after all; False: there is none of that name."""
        cluster = self.coordinator.cluster
        if cluster is None or cluster.nodes.get(node) is None:
            return False
        self._handle(Drain(node, wanted), now_ms)
        return True

    def _may(self, kind: Kind, name: str, message: ToCoordinator) -> bool:
        """Everybody speaks for themselves."""
        match message:
            case NodeRegistered() | NodeReport() | NodeMeasured() | Drain():
                return kind == "worker" and message.node == name
            case NodeLeft() | WorkerLost():
                return kind == "worker" and message.node == name
            case EdgeRegistered() | EdgeLeft() | StreamClaimed() | StreamLeft():
                return kind == "edge" and message.edge == name
            case StreamSought() | StreamUnsought():
                return kind == "edge" and message.edge == name
            case StreamWanted():
                home = self.homes.get(message.work.name)
                return kind == "edge" and (home is None or home.edge == name)  # else it froze
            case RoomAsked() | ApiAsked():
                return kind == "edge"
            case StreamChanged():
                return kind == "edge" and self.edge_of.get(message.work.name) == name
            case StreamLost() if kind == "worker":
                return not message.silent and self._carries(name, message.stream, message.epoch)
            case StreamReleased() | StreamEnds() | StreamAttached() | StreamLost():
                return kind == "edge" and self.edge_of.get(message.stream) == name
        return False

    def _carries(self, node: str, name: str, epoch: int) -> bool:
        cluster = self.coordinator.cluster
        stream = None if cluster is None else cluster.streams.get(name)
        held = () if stream is None else (stream.here, stream.coming)
        return any(one is not None and (one.node, one.epoch) == (node, epoch) for one in held)

    # Saying.

    def _handle(self, event: Event, now_ms: int) -> None:
        began_ns = self.figures.cpu_ns()
        commands = self.coordinator.handle(event, now_ms)
        took_ns = self.figures.cpu_ns() - began_ns
        news = self.chronicle.note(event, commands, now_ms)
        self.figures.handled(event, commands, news, took_ns)
        for command in commands:
            self._pass_on(command)
        if self.epoch and self.coordinator.cluster is None and not isinstance(event, LeaseLost):
            self._outdone_by(leader_shown(event), now_ms)

    def _pass_on(self, command: Command) -> None:
        match command:
            case Assign() | Move():
                name = command.work.name
                self.waits.pop(name, None)
                self._say("worker", command.node, command)
                self._to_edge_of(name, command)
            case Change():  # the edge may wait for it
                self._say("worker", command.node, command)
                self._to_edge_of(command.work.name, command)
            case Revoke() | Warm() | Cordon() | Drained():
                self._say("worker", command.node, command)
            case Wait():
                self.waits[command.stream] = command
                self._to_edge_of(command.stream, command)
            case Refuse():
                self._to_edge_of(command.stream, command)
            case Persist():
                self._persist(command)
                for name in command.gone_streams:
                    self.edge_of.pop(name, None)
                    self.waits.pop(name, None)

    def _to_edge_of(self, stream: str, command: FromCoordinator) -> None:
        edge = self.edge_of.get(stream)
        if edge is not None:
            self._say("edge", edge, command)

    def _tell_edges(self) -> None:
        if self._told:
            self._say("worker", None, self.directory.all())

    def _tell_homes(self) -> None:
        said, known, gone = self.homes.take()
        for edge, home in said:
            self._say("edge", edge, home)
        if known or gone:
            self._persist(Persist(homes=tuple(known), gone_homes=tuple(gone)))

    def _owner(self, name: str) -> Holding | None:
        cluster = self.coordinator.cluster
        stream = None if cluster is None else cluster.streams.get(name)
        return None if stream is None else stream.here

    def _tell_owner(self, name: str, owner: Holding) -> None:
        """A stream that is taken to another edge has an owner already."""
        cluster = self.coordinator.cluster
        if cluster is not None and self._owner(name) is owner:
            token = cluster.epochs.token(name, owner.epoch)
            work = owner.was or cluster.streams[name].work
            told = Assign(work, owner.node, owner.epoch, token, owner.cut)
            self._to_edge_of(name, told)
