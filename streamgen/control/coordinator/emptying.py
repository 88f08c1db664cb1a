"""Draining: a node is emptied, its live streams one at a time. Batch work ends by itself."""

from __future__ import annotations

from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.commands import Drained
from streamgen.control.coordinator.nodes import Node
from streamgen.control.coordinator.seeking import place


def drain(cluster: Cluster, node: Node, wanted: bool) -> None:
    """Begin, or leave it after all."""
    if node.draining != wanted:
        node.draining, node.empty = wanted, False
        cluster.changed.nodes[node.name] = None
        cluster.opened(node)


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
    if not works and not node.empty:
        node.empty = True
        cluster.said.append(Drained(node.name))
