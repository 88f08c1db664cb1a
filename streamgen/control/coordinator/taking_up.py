"""A leader takes up what runs: rows of the store, and what nodes say they carry.

Nothing that runs is moved or ended for a new leader's sake. Of two owners of one stream the one
with the higher epoch is the owner; what this leader gave and took back stays taken back.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamgen.control.coordinator import emptying
from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster, Holding, Stream
from streamgen.control.coordinator.commands import Change, Refuse, Revoke
from streamgen.control.coordinator.events import Held, LeaseGained, Running
from streamgen.control.coordinator.nodes import Node
from streamgen.control.coordinator.seeking import failed, seek

SLICE = 250
"""Rows that are taken up at a time."""


def restore(cluster: Cluster, rows: LeaseGained, now_ms: int) -> Iterator[None]:
    """The rows of former leaders, some at a time."""
    for number, one in enumerate(rows.nodes):
        if number % SLICE == 0:
            yield
        node = Node(
            one.name, one.boot, one.capacity, one.models, now_ms, one.draining, one.profiles
        )
        node.parts = one.parts
        cluster.nodes.add(node)
        cluster.catalogue.told(one.name, one.profiles)
        cluster.scheduler.add(one.name, one.capacity, one.models, one.parts)
        cluster.scheduler.open(one.name, node.open)
    for number, row in enumerate(rows.streams):
        if number % SLICE == 0:
            yield
        name = row.work.name
        until_ms = now_ms + cluster.limits.orphan_ms if row.work.standing.live else None
        stream = cluster.add(Stream(row.work, until_ms, wanted=False))
        del cluster.changed.streams[name]
        held = _booked(cluster, stream, row.here, now_ms, attached=True)
        coming = _booked(cluster, stream, row.coming, now_ms, attached=False)
        stream.here, stream.coming = (held, coming) if held is not None else (coming, None)
        if held is not None and coming is None and held.was is not None:
            cluster.rename(stream, held.was)
            held.was = None
        if coming is not None:
            cluster.alarms.set(About.ATTACH, name, now_ms + cluster.limits.attach_ms)
        if stream.here is None:
            seek(cluster, stream, now_ms)


def begin(cluster: Cluster, now_ms: int, *, whole: bool) -> None:
    """All rows are taken up. Nodes have the usual time to be heard."""
    cluster.whole = whole
    for node in cluster.nodes:
        node.heard_ms = now_ms
    cluster.alarms.set(About.SETTLED, "", now_ms + cluster.limits.settle_ms)
    check_settled(cluster, now_ms)


def check_settled(cluster: Cluster, now_ms: int) -> None:
    """Once all nodes have told what they carry, what has no owner gets one. Nobody waits for a node
    of which an edge hears nothing: its streams would wait with it. Where the store has forgotten
    nodes, nobody knows which are all."""
    if (
        cluster.whole
        and not cluster.settled
        and all(node.reported or node.suspect for node in cluster.nodes)
    ):
        settle(cluster, now_ms)


def settle(cluster: Cluster, now_ms: int) -> None:
    cluster.settled = True
    cluster.alarms.clear(About.SETTLED, "")
    cluster.alarms.set(About.DEFRAGMENT, "", now_ms + cluster.limits.tidy_ms)
    for name in list(cluster.waiting):
        stream = cluster.streams[name]
        cluster.waiting.discard(name)
        if not stream.wanted and stream.here is None:
            cluster.forget(stream)  # its edge would have said so by now
        elif stream.here is None:
            seek(cluster, stream, now_ms)
    for node in cluster.nodes:
        if node.draining:
            emptying.begin(cluster, node, now_ms)


def reported(cluster: Cluster, node: Node, running: tuple[Running, ...], now_ms: int) -> None:
    """Put right what a node carries against what it should."""
    shown: dict[str, int] = {}
    for one in running:
        shown[one.work.name] = max(one.epoch, shown.get(one.work.name, 0))
        _shown(cluster, node, one, now_ms)
    for name in cluster.scheduler.names(node.name):
        stream = cluster.streams[name]
        for holding in (stream.coming, stream.here):
            if holding is not None and holding.node == node.name and name not in shown:
                _missing(cluster, stream, holding, now_ms)
    node.reported = True
    check_settled(cluster, now_ms)


def _shown(cluster: Cluster, node: Node, one: Running, now_ms: int) -> None:
    """A node carries a stream: as it should, or as an owner that is none any more, or as one of
    whom this leader has not heard."""
    name = one.work.name
    stream = cluster.streams.get(name)
    if stream is not None:
        for holding in (stream.here, stream.coming):
            if holding is not None and (holding.node, holding.epoch) == (node.name, one.epoch):
                holding.shown = True
                work = holding.was or stream.work
                if (one.work, one.cut) != (work, holding.cut):  # that was not heard
                    cluster.said.append(Change(work, node.name, holding.epoch, holding.cut))
                return
    mine, newer = cluster.epochs.mine(one.epoch), _newer(stream, one.epoch)
    if mine or not newer or (stream is None and not _room(cluster, node, one)):
        cluster.said.append(Revoke(name, node.name, one.epoch, "it has another owner, or none"))
        return
    if stream is None:
        stream = cluster.add(Stream(one.work, now_ms, wanted=False))
    for old in (stream.coming, stream.here):
        if old is not None:
            cluster.drop(stream, old, "a later owner has it")
    if not stream.work.alike(one.work):
        cluster.said.append(Refuse(name, "unchanged: it runs as it was", None))
    if stream.work != one.work:
        cluster.rename(stream, one.work)
    stream.here = _booked(
        cluster, stream, Held(node.name, one.epoch, one.cut), now_ms, attached=True
    )
    cluster.waiting.discard(name)
    cluster.alarms.clear(About.PATIENCE, name)
    cluster.changed.streams[name] = None


def _room(cluster: Cluster, node: Node, one: Running) -> bool:
    """Whether a stream that nobody has spoken of may go on: what this leader has seen there once
    and does not know now it has ended itself."""
    return not node.reported and cluster.scheduler.room(one.work, node.name, one.cut)


def _newer(stream: Stream | None, epoch: int) -> bool:
    if stream is None:
        return True
    known = [one.epoch for one in (stream.here, stream.coming) if one is not None]
    return epoch > max([stream.fenced, *known])


def _missing(cluster: Cluster, stream: Stream, holding: Holding, now_ms: int) -> None:
    """A node does not carry what it should: it lost it, or has not heard yet. Its word may be older
    than an edge's that has the first picture already."""
    if holding.attached and holding.shown:
        failed(cluster, stream, holding, "its node does not carry it any more", now_ms)
    elif now_ms - holding.since_ms >= cluster.limits.resend_ms:
        cluster.tell(stream, holding)


def _booked(
    cluster: Cluster, stream: Stream, held: Held | None, now_ms: int, *, attached: bool
) -> Holding | None:
    """An owner that is there already, whether there is room or not."""
    if held is None or cluster.nodes.get(held.node) is None:
        return None
    cluster.scheduler.book(held.was or stream.work, held.node, held.cut)
    return Holding(held.node, held.epoch, held.cut, now_ms, attached, attached, held.was)
