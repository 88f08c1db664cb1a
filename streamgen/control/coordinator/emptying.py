"""Draining: a node is emptied, its live streams one at a time. Batch work may end by itself."""

from __future__ import annotations

from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.commands import Cordon, Drained
from streamgen.control.coordinator.events import NodeReport
from streamgen.control.coordinator.nodes import Node
from streamgen.control.coordinator.seeking import place, seek


def drain(cluster: Cluster, node: Node, wanted: bool, now_ms: int) -> None:
    """Begin, or leave it after all."""
    if node.draining != wanted:
        node.draining, node.empty, node.cordoned = wanted, False, False
        cluster.said.append(Cordon(node.name, wanted))
        cluster.changed.nodes[node.name] = None
        cluster.opened(node)
        if wanted:
            begin(cluster, node, now_ms)
        else:
            cluster.alarms.clear(About.DRAIN, node.name)


def begin(cluster: Cluster, node: Node, now_ms: int) -> None:
    """Streams leave from now on; batch work has some time to end by itself."""
    cluster.touched[node.name] = None
    cluster.alarms.set(About.DRAIN, node.name, now_ms + cluster.limits.drain_ms)


def reported(cluster: Cluster, node: Node, report: NodeReport) -> None:
    """Its pieces of jobs end before it is empty. A word about them that was lost is said again."""
    if report.cordoned and not node.cordoned:
        cluster.touched[node.name] = None
    node.pieces, node.cordoned = report.pieces, report.cordoned
    if node.cordoned != node.draining:
        cluster.said.append(Cordon(node.name, node.draining))


def out_of_time(cluster: Cluster, node: Node, now_ms: int) -> None:
    """Batch work that is still there begins anew elsewhere."""
    for work in cluster.scheduler.there(node.name):
        stream = cluster.streams[work.name]
        if not work.standing.live and stream.coming is None and stream.here is not None:
            cluster.drop(stream, stream.here, "its node is drained")
            seek(cluster, stream, now_ms)


def go_on(cluster: Cluster, node: Node, now_ms: int) -> None:
    """The next stream of a node that is drained leaves, if none is leaving now."""
    moving = cluster.streams.get(node.moving)
    here = moving.here if moving is not None and moving.coming is not None else None
    if here is not None and here.node == node.name:
        return
    node.moving = ""
    works = cluster.scheduler.there(node.name)
    for work in works:
        stream = cluster.streams[work.name]
        if not work.standing.live or stream.coming is not None or not cluster.settled:
            continue
        if place(cluster, stream, now_ms) is None:
            node.moving = work.name
            return
        cluster.waiting.add(work)
    if not works and node.cordoned and not node.empty:
        node.empty = True
        cluster.said.append(Drained(node.name))
