"""`Cluster`: what one leader knows, and the few changes to it that keep all its parts in step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streamgen.control.coordinator.alarms import About, Alarms
from streamgen.control.coordinator.commands import (
    Assign,
    Change,
    Command,
    Move,
    Persist,
    Refuse,
    Revoke,
)
from streamgen.control.coordinator.events import Held, KnownNode, KnownStream
from streamgen.control.coordinator.fencing import Epochs
from streamgen.control.coordinator.nodes import Node, Nodes, Strikes
from streamgen.control.coordinator.waiting import Waiting
from streamgen.control.placement.catalogue import Catalogue
from streamgen.control.placement.resources import Cut
from streamgen.control.placement.scheduler import Placed, Scheduler, Work


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a coordinator waits for what, in milliseconds."""

    silence_ms: int = 3_000
    """A node that was not heard for so long is dead."""
    attach_ms: int = 10_000
    """From the command to a new owner's first picture; networks may have to be loaded."""
    deaf_ms: int = 1_500
    """A leader that has heard no node at all for so long is cut off itself."""
    return_ms: int = 8_000
    """So long nodes have to be heard again after that."""
    settle_ms: int = 2_000
    """How long a new leader listens to nodes before it places what it does not see running."""
    resend_ms: int = 1_000
    """A command that a node does not show after so long is said again."""
    orphan_ms: int = 20_000
    """How long a stream that ran waits for room before its edge is told no."""
    stable_ms: int = 60_000
    """Who ran so long did not fail at the start."""
    soon_ms: int = 2_000
    """Who was shown, and loses its node after so long, is not taken for the cause: nodes die by
    themselves, too. Edges have the same rule."""
    retry_ms: int = 500
    """After the second failure in a row; doubled with each further one."""
    move_again_ms: int = 5_000
    """After a move that failed."""
    failures: int = 6
    """In a row; then the stream is at fault, and refused."""
    drain_ms: int = 60_000
    """Batch work on a node that is emptied may go on for so long."""
    tidy_ms: int = 10_000
    """Between looks for moves that would free a node or let somebody in."""
    tidy_moves: int = 8
    """At once, at most."""
    moved_ms: int = 600_000
    """A stream that was moved stays for so long, as far as that is a matter of choice."""
    back_off_ms: int = 2_000
    back_off_most_ms: int = 300_000
    forget_ms: int = 600_000
    """What nodes did wrong before is forgotten."""


@dataclass(slots=True)
class Holding:
    """One owner of a stream."""

    node: str
    epoch: int
    cut: Cut
    since_ms: int
    attached: bool = False
    shown: bool = False
    """Its node has said that it carries the stream."""
    was: Work | None = None
    """As in `Held`."""

    def held(self) -> Held:
        return Held(self.node, self.epoch, self.cut, self.was)


@dataclass(slots=True)
class Stream:
    """A stream as it stands: with an owner, waiting for one, or changing from one to another."""

    work: Work
    until_ms: int | None
    """How long it waits for room."""
    wanted: bool = True
    """Somebody told this leader so; otherwise it runs, and its edge has not spoken yet."""
    here: Holding | None = None
    coming: Holding | None = None
    """The next owner, while the stream is moved."""
    fenced: int = 0
    """Owners up to this epoch are none any more."""
    failures: int = 0
    avoid: str | None = None
    """Where it failed last."""
    moved_ms: int | None = None
    ends_ms: int | None = None
    """When it is over if nothing happens, as far as that is known."""


@dataclass(slots=True)
class Changed:
    """What the store has to be told."""

    nodes: dict[str, None] = field(default_factory=dict)
    streams: dict[str, None] = field(default_factory=dict)


class Cluster:
    """Everything of one leader; the next one begins with another."""

    def __init__(self, leader: int, secret: bytes, limits: Limits, scheduler: Scheduler) -> None:
        self.limits = limits
        self.scheduler = scheduler
        self.epochs = Epochs(leader, secret)
        self.nodes = Nodes()
        self.catalogue = Catalogue()
        self.strikes = Strikes(limits.back_off_ms, limits.back_off_most_ms, limits.forget_ms)
        self.streams: dict[str, Stream] = {}
        self.waiting = Waiting()
        self.alarms = Alarms()
        self.whole = True
        """The store knew all nodes there are."""
        self.settled = False
        """Nodes have told what they carry: what has no owner may get one."""
        self.said: list[Command] = []
        self.changed = Changed()
        self.touched: dict[str, None] = {}
        """Nodes on which something became free, to be looked at when the event is dealt with."""
        self.resting: dict[str, int] = {}
        """Nodes that failed of late, and when they are trusted again."""
        self.clearing: dict[str, tuple[str, ...]] = {}
        """Nodes that some streams leave so that there is room, and these streams."""
        self.deaf_ms: int | None = None
        """When it was cut off last."""
        self._demand: Counter[str] = Counter()

    def add(self, stream: Stream) -> Stream:
        """One that was not known."""
        self.streams[stream.work.name] = stream
        self._demand.update(stream.work.profile.models)
        self.changed.streams[stream.work.name] = None
        return stream

    def demand(self, number: int) -> list[str]:
        """The networks that most streams need."""
        return sorted(self._demand, key=lambda model: (-self._demand[model], model))[:number]

    def own(self, stream: Stream, placed: Placed, now_ms: int) -> list[Stream]:
        """A place that the scheduler has booked becomes the stream's; who had to make way for it
        and has no place now is returned."""
        name = stream.work.name
        self.waiting.discard(name)
        self.alarms.clear(About.PATIENCE, name)
        self.alarms.clear(About.RETRY, name)
        preempted = self.make_way(placed)
        holding = Holding(placed.node, self.epochs.next(), placed.cut, now_ms)
        if stream.here is None:
            stream.here = holding
        else:
            stream.coming = holding
            stream.moved_ms = now_ms
        if stream.work.runs_ms is not None:
            stream.ends_ms = now_ms + stream.work.runs_ms
        self.expect(stream)
        self.tell(stream, holding)
        self.alarms.set(About.ATTACH, name, now_ms + self.limits.attach_ms)
        self.changed.streams[name] = None
        return preempted

    def expect(self, stream: Stream) -> None:
        """Its end is known, or is not any more."""
        for holding in (stream.here, stream.coming):
            if holding is not None:
                slot = self.scheduler.bins.slots[holding.node]
                self.scheduler.ends.expect(stream.work.name, slot, stream.ends_ms)

    def tell(self, stream: Stream, holding: Holding) -> None:
        """Say who the owner is; also once more."""
        token = self.epochs.token(stream.work.name, holding.epoch)
        work = holding.was or stream.work
        if holding is stream.coming and stream.here is not None:
            source = stream.here.node
            self.said.append(Move(work, holding.node, holding.epoch, token, holding.cut, source))
        else:
            self.said.append(Assign(work, holding.node, holding.epoch, token, holding.cut))

    def drop(self, stream: Stream, holding: Holding, reason: str) -> None:
        """This owner is none any more; what it had is free."""
        name = stream.work.name
        if holding is stream.coming:
            stream.coming = None
            self._as_it_was(stream, reason)
        elif stream.coming is not None:
            # The one that was to come is the owner now, and does not wait for a key frame.
            stream.here, stream.coming = stream.coming, None
            if not stream.here.attached:
                self.tell(stream, stream.here)
        else:
            stream.here = None
        stream.fenced = max(stream.fenced, min(holding.epoch, self._lowest(stream) - 1))
        self.changed.streams[name] = None
        if self.nodes.get(holding.node) is not None:
            self.said.append(Revoke(name, holding.node, holding.epoch, reason))
            self.scheduler.release(name, holding.node)
            self.touched[holding.node] = None

    def make_way(self, placed: Placed) -> list[Stream]:
        """Tell those that give something up for a stream; who has no place now is returned."""
        preempted = []
        for name in placed.preempted:
            stream = self.streams[name]
            for holding in (stream.coming, stream.here):
                if holding is not None and holding.node == placed.node:
                    self.drop(stream, holding, "it makes way for what goes first")
            if stream.here is None:
                preempted.append(stream)
        for name, cut in placed.lowered:
            self.cut(self.streams[name], placed.node, cut)
            self.touched[placed.node] = None  # it may be more than was needed
        return preempted

    def rename(self, stream: Stream, work: Work) -> None:
        """The same stream with another profile or standing."""
        self._demand.subtract(stream.work.profile.models)
        self._demand.update(work.profile.models)
        stream.work = work
        self.changed.streams[work.name] = None

    def cut(self, stream: Stream, node: str, cut: Cut) -> None:
        """Tell a node how much a stream gives up there."""
        for holding in (stream.here, stream.coming):
            if holding is not None and holding.node == node:
                holding.cut = cut
                self.said.append(Change(holding.was or stream.work, node, holding.epoch, cut))
                self.changed.streams[stream.work.name] = None

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        name = stream.work.name
        for holding in (stream.coming, stream.here):
            if holding is not None:
                self.drop(stream, holding, "nobody wants it any more")
        self.waiting.discard(name)
        for about in (About.ATTACH, About.PATIENCE, About.RETRY):
            self.alarms.clear(about, name)
        del self.streams[name]
        self._demand.subtract(stream.work.profile.models)
        self.changed.streams[name] = None

    def opened(self, node: Node) -> None:
        """Whether work may come to a node has changed, or may have."""
        self.scheduler.open(node.name, node.open)
        self.touched[node.name] = None

    def take(self) -> list[Command]:
        """What was said since the last time, with what the store has to know of it."""
        changed, self.changed = self.changed, Changed()
        said, self.said = self.said, []
        if changed.nodes or changed.streams:
            nodes = {name: self.nodes.get(name) for name in changed.nodes}
            streams = {name: self.streams.get(name) for name in changed.streams}
            said.append(
                Persist(
                    tuple(_known_node(one) for one in nodes.values() if one is not None),
                    tuple(name for name, one in nodes.items() if one is None),
                    tuple(_known_stream(one) for one in streams.values() if one is not None),
                    tuple(name for name, one in streams.items() if one is None),
                )
            )
        return said

    def _as_it_was(self, stream: Stream, reason: str) -> None:
        """A move by which the stream was to become another came to nothing."""
        here = stream.here
        if here is not None and here.was is not None:
            self.rename(stream, here.was)
            here.was = None
            self.said.append(Refuse(stream.work.name, f"unchanged: {reason}", None))

    def _lowest(self, stream: Stream) -> int:
        """The lowest epoch that is still an owner's."""
        epochs = [one.epoch for one in (stream.here, stream.coming) if one is not None]
        return min(epochs, default=1 << 63)


def _known_node(node: Node) -> KnownNode:
    return KnownNode(
        node.name,
        node.capacity,
        node.models,
        node.boot,
        node.draining,
        node.profiles,
        node.parts,
    )


def _known_stream(stream: Stream) -> KnownStream:
    here, coming = stream.here, stream.coming
    return KnownStream(
        stream.work,
        here.held() if here is not None else None,
        coming.held() if coming is not None else None,
    )
