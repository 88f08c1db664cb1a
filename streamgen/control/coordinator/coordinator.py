"""`Coordinator`: who carries which stream. Events in, commands out.

It does no I/O and reads no clock, so the same events at the same times give the same commands. It
says nothing before it leads and nothing after: streams run on without it, new ones wait.

    coordinator = Coordinator(secret)
    coordinator.handle(LeaseGained(epoch=1), now_ms=0)
    coordinator.handle(NodeRegistered("node-1", "boot-1", capacity), now_ms=10)
    coordinator.handle(StreamWanted(work, until_ms=5_000), now_ms=20)    # [Assign(...), ...]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from streamgen.control.coordinator import emptying, measuring, seeking, taking_up, tidying
from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster, Limits, Stream
from streamgen.control.coordinator.commands import Command, Revoke, Warm
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
from streamgen.control.coordinator.nodes import Node
from streamgen.control.placement.scheduler import HEAD_ROOM, Scheduler

LOOK = 32
"""Waiting streams of one kind that are tried when a node gets room."""
WARM_MODELS = 3
"""Networks in demand that a new node is asked to load."""


class Coordinator:
    """One of a cluster's; the one that has the lease to lead decides."""

    def __init__(
        self, secret: bytes, limits: Limits | None = None, *, head_room: float = HEAD_ROOM
    ) -> None:
        """`secret` makes the tokens of owners; all coordinators and edges of a cluster have it."""
        self._secret = secret
        self._limits = limits or Limits()
        self._head_room = head_room
        self._cluster: Cluster | None = None
        self._prepared: tuple[LeaseGained, Cluster] | None = None

    @property
    def cluster(self) -> Cluster | None:
        """What it knows, to be looked at; None: it does not lead."""
        return self._cluster

    def prepare(self, event: LeaseGained, now_ms: int) -> Iterator[None]:
        """Most of what `handle` does with this event, some of it at a time, so that others get
        their turns where there are very many rows. Nothing is decided by that."""
        scheduler = Scheduler(self._head_room)
        cluster = Cluster(event.epoch, self._secret, self._limits, scheduler)
        yield from taking_up.restore(cluster, event, now_ms)
        self._prepared = event, cluster

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """What is to be done now that this happened."""
        if isinstance(event, LeaseLost):
            self._cluster = None
        elif isinstance(event, LeaseGained):
            self._cluster = self._taken_up(event, now_ms)
            taking_up.begin(self._cluster, now_ms, whole=event.whole)
        cluster = self._cluster
        if cluster is None:
            return []
        if self._later_leader(cluster, event):
            self._cluster = None
            return []
        _apply(cluster, event, now_ms)
        _use_room(cluster, now_ms)
        return cluster.take()

    def _taken_up(self, event: LeaseGained, now_ms: int) -> Cluster:
        if self._prepared is None or self._prepared[0] is not event:
            for _ in self.prepare(event, now_ms):
                pass
        assert self._prepared is not None
        (_, cluster), self._prepared = self._prepared, None
        return cluster

    def _later_leader(self, cluster: Cluster, event: Event) -> bool:
        """Somebody shows an epoch of a leader after this one."""
        match event:
            case NodeRegistered() | NodeReport():
                return any(cluster.epochs.later(one.epoch) for one in event.running)
            case StreamWanted() | StreamAttached() | StreamLost():
                return cluster.epochs.later(event.epoch)
        return False


def _apply(cluster: Cluster, event: Event, now_ms: int) -> None:
    match event:
        case LeaseGained() | LeaseLost():
            pass
        case Tick():
            _time_went_by(cluster, now_ms)
        case Heard():
            _heard(cluster, event.nodes, now_ms)
        case NodeRegistered():
            _registered(cluster, event, now_ms)
        case NodeReport():
            _heard(cluster, (event.node,), now_ms)
            node = cluster.nodes.get(event.node)
            if node is not None:
                cluster.scheduler.loaded(event.node, event.models)
                taking_up.reported(cluster, node, event.running, now_ms)
                emptying.reported(cluster, node, event)
        case NodeMeasured():
            node = cluster.nodes.get(event.node)
            if node is not None:
                measuring.measured(cluster, node, event.profiles, now_ms)
        case Drain():
            node = cluster.nodes.get(event.node)
            if node is not None:
                emptying.drain(cluster, node, event.wanted, now_ms)
        case NodeLeft() | WorkerLost():
            if cluster.nodes.get(event.node) is not None:
                failed = isinstance(event, WorkerLost)
                _gone(cluster, event.node, now_ms, failed=failed)
        case StreamWanted():
            _wanted(cluster, event, now_ms)
        case StreamChanged():
            _changed(cluster, event, now_ms)
        case StreamReleased():
            stream = cluster.streams.get(event.stream)
            if stream is not None:
                cluster.forget(stream)
        case StreamEnds():
            stream = cluster.streams.get(event.stream)
            if stream is not None:
                stream.ends_ms = event.ends_ms
                cluster.expect(stream)
        case StreamAttached():
            _attached(cluster, event, now_ms)
        case StreamLost():
            _lost(cluster, event, now_ms)
        case _:
            assert_never(event)


def _heard(cluster: Cluster, names: tuple[str, ...], now_ms: int) -> None:
    for node in cluster.nodes.heard(names, now_ms):
        cluster.opened(node)


def _registered(cluster: Cluster, event: NodeRegistered, now_ms: int) -> None:
    node = cluster.nodes.get(event.node)
    if node is not None and (node.boot, node.capacity) != (event.boot, event.capacity):
        # Its worker was started anew, and nobody has told yet that the former one died.
        _gone(cluster, event.node, now_ms, failed=not node.draining)
        node = None
    if node is None:
        trusted_ms = cluster.strikes.trusted_ms(event.node, now_ms)
        node = Node(event.node, event.boot, event.capacity, event.models, now_ms)
        node.resting = trusted_ms > now_ms
        if node.resting:
            cluster.resting[event.node] = trusted_ms
            cluster.alarms.set(About.BACK_OFF, event.node, trusted_ms)
        cluster.nodes.add(node)
        cluster.scheduler.add(event.node, event.capacity, event.models)
        cluster.changed.nodes[event.node] = None
    if node.parts != event.parts:
        node.parts = event.parts
        bins = cluster.scheduler.bins
        bins.equip(bins.slots[event.node], event.parts)
        cluster.changed.nodes[event.node] = None
    _heard(cluster, (event.node,), now_ms)
    cluster.opened(node)
    taking_up.reported(cluster, node, event.running, now_ms)
    measuring.measured(cluster, node, event.profiles, now_ms)
    wish = tuple(model for model in cluster.demand(WARM_MODELS) if model not in event.models)
    if wish and node.open:
        cluster.said.append(Warm(event.node, wish))


def _gone(cluster: Cluster, name: str, now_ms: int, *, failed: bool) -> None:
    """A node and all that was on it: the streams are taken over, best first."""
    if failed:
        cluster.strikes.add(name, now_ms)
    there = [cluster.streams[work.name] for work in cluster.scheduler.there(name)]
    cluster.scheduler.remove(name)
    cluster.nodes.remove(name)
    cluster.touched.pop(name, None)
    cluster.changed.nodes[name] = None
    cluster.alarms.clear(About.BACK_OFF, name)
    cluster.alarms.clear(About.DRAIN, name)
    cluster.resting.pop(name, None)
    cluster.clearing.pop(name, None)
    for stream in there:
        for holding in (stream.coming, stream.here):
            if holding is not None and holding.node == name:
                cluster.drop(stream, holding, "its node is gone")
    for stream in there:
        if stream.here is None:
            if stream.wanted:
                seeking.orphaned(cluster, stream, now_ms)
            else:
                cluster.forget(stream)
    measuring.known(cluster, name, (), now_ms)
    taking_up.check_settled(cluster, now_ms)


def _wanted(cluster: Cluster, event: StreamWanted, now_ms: int) -> None:
    name = event.work.name
    stream = cluster.streams.get(name)
    if stream is None:
        stream = cluster.add(Stream(event.work, event.until_ms))
        seeking.seek(cluster, stream, now_ms)
        return
    stream.wanted, stream.until_ms = True, event.until_ms
    if event.work.runs_ms is None:  # where its publisher is lost, who wants it says so after this
        stream.ends_ms = None
        cluster.expect(stream)
    if event.work.parts != stream.work.parts and event.work.alike(stream.work):
        cluster.rename(stream, replace(stream.work, parts=event.work.parts))
    if event.epoch:
        for holding in (stream.here, stream.coming):
            if holding is not None and holding.epoch == event.epoch:
                _attached(cluster, StreamAttached(name, holding.node, event.epoch), now_ms)
    if not event.work.alike(stream.work):
        _changed(cluster, StreamChanged(event.work), now_ms)
    elif stream.here is None and (About.RETRY, name) not in cluster.alarms:
        seeking.seek(cluster, stream, now_ms)


def _attached(cluster: Cluster, event: StreamAttached, now_ms: int) -> None:
    stream = cluster.streams.get(event.stream)
    here, coming = (stream.here, stream.coming) if stream is not None else (None, None)
    if stream is not None and coming is not None and coming.epoch == event.epoch:
        coming.attached = True
        if here is not None:
            cluster.drop(stream, here, "it has moved")
    elif stream is not None and here is not None and here.epoch == event.epoch:
        here.attached = True
    else:
        cluster.said.append(Revoke(event.stream, event.node, event.epoch, "not the owner"))
        return
    stream.avoid = None
    cluster.alarms.clear(About.ATTACH, event.stream)


def _lost(cluster: Cluster, event: StreamLost, now_ms: int) -> None:
    stream = cluster.streams.get(event.stream)
    if stream is None:
        return
    here, coming = stream.here, stream.coming
    if coming is not None and event.epoch == coming.epoch:
        gone = coming
    elif here is not None and event.epoch >= here.epoch:
        # Higher: its edge had changed over to a move that was given up; this owner is fenced out.
        gone = here
    else:
        return
    if event.silent:
        _doubt(cluster, gone.node, now_ms)
    seeking.failed(cluster, stream, gone, event.reason, now_ms, silent=event.silent)
    taking_up.check_settled(cluster, now_ms)


def _changed(cluster: Cluster, event: StreamChanged, now_ms: int) -> None:
    """The same node, if there is room for what it is now; else another one."""
    stream = cluster.streams.get(event.work.name)
    if stream is not None and not event.work.alike(stream.work):
        seeking.change(cluster, stream, event.work, now_ms)


def _time_went_by(cluster: Cluster, now_ms: int) -> None:
    for name in _dead(cluster, now_ms):
        _gone(cluster, name, now_ms, failed=True)
    for about, name in cluster.alarms.due(now_ms):
        _alarm(cluster, about, name, now_ms)


def _dead(cluster: Cluster, now_ms: int) -> list[str]:
    """Nodes that were not heard for too long. None, where no other is heard: then it is we who are
    cut off, they run on, and there is nowhere else to go. Nothing new goes to them, either."""
    limits, heard_ms = cluster.limits, cluster.nodes.heard_ms
    silent = cluster.nodes.silent(now_ms - limits.silence_ms)
    if heard_ms is not None and now_ms - heard_ms >= limits.deaf_ms:
        cluster.deaf_ms = now_ms
    if cluster.deaf_ms is None or now_ms - cluster.deaf_ms >= limits.return_ms:
        return silent
    for name in silent:
        _doubt(cluster, name, now_ms)
    return []


def _doubt(cluster: Cluster, name: str, now_ms: int) -> None:
    node = cluster.nodes.get(name)
    if node is not None and not node.suspect:
        node.suspect, node.doubted_ms = True, now_ms
        cluster.opened(node)


def _alarm(cluster: Cluster, about: About, name: str, now_ms: int) -> None:
    match about:
        case About.SETTLED:
            taking_up.settle(cluster, now_ms)
        case About.BACK_OFF:
            node = cluster.nodes.get(name)
            del cluster.resting[name]
            if node is not None:
                node.resting = False
                cluster.opened(node)
        case About.DRAIN:
            node = cluster.nodes.get(name)
            if node is not None and node.draining:
                emptying.out_of_time(cluster, node, now_ms)
        case About.ATTACH:
            stream = cluster.streams[name]
            for holding in (stream.coming, stream.here):
                if holding is not None and not holding.attached:
                    seeking.failed(cluster, stream, holding, "it did not begin in time", now_ms)
                    break
        case About.PATIENCE:
            stream = cluster.streams[name]
            if stream.here is None and stream.wanted:
                cluster.waiting.discard(name)
                seeking.seek(cluster, stream, now_ms)
        case About.RETRY:
            seeking.try_again(cluster, cluster.streams[name], now_ms)
        case About.DEFRAGMENT:
            tidying.tidy(cluster, now_ms)
        case _:
            assert_never(about)


def _use_room(cluster: Cluster, now_ms: int) -> None:
    """What became free is used: by waiting streams, then by what gave something up."""
    while cluster.touched:
        name = next(iter(cluster.touched))
        del cluster.touched[name]
        node = cluster.nodes.get(name)
        if node is None:
            continue
        tidying.cleared(cluster, node)
        if node.draining:
            emptying.go_on(cluster, node, now_ms)
        elif (node.open or node.on_trial) and cluster.settled:
            _let_in(cluster, node, now_ms)
            for stream, cut in list(cluster.scheduler.raise_up(name)):
                cluster.cut(cluster.streams[stream], name, cut)


def _let_in(cluster: Cluster, node: Node, now_ms: int) -> None:
    for kind in cluster.waiting.kinds():
        for name in cluster.waiting.of(kind, LOOK):
            stream = cluster.streams[name]
            if stream.here is not None and _leaves_later(cluster, stream):
                continue
            if node.on_trial and not stream.fenced:
                continue
            if seeking.place(cluster, stream, now_ms, only=node.name) is not None:
                break
            if stream.here is not None and stream.coming is not None:
                source = cluster.nodes.get(stream.here.node)
                assert source is not None
                source.moving = name


def _leaves_later(cluster: Cluster, stream: Stream) -> bool:
    """It is to leave a node that is drained, and another one is leaving it now."""
    assert stream.here is not None
    source = cluster.nodes.get(stream.here.node)
    if source is None or not source.draining:
        cluster.waiting.discard(stream.work.name)
        return True
    moving = cluster.streams.get(source.moving)
    return moving is not None and moving.coming is not None
