"""Defragmentation: now and then a few streams move, at key frames, so that a stream that waits
gets in or a whole node becomes empty; never only to look better.

While streams leave a node nothing new comes to it; and a stream that was moved stays for a while.
"""

from __future__ import annotations

from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.nodes import Node
from streamgen.control.placement.packing import Clearing, free_a_node, let_in


def tidy(cluster: Cluster, now_ms: int) -> None:
    """One node at a time is cleared, and the next look is set."""
    cluster.alarms.set(About.DEFRAGMENT, "", now_ms + cluster.limits.tidy_ms)
    for name in list(cluster.clearing):
        node = cluster.nodes.get(name)
        if node is not None:
            cleared(cluster, node)
    if not cluster.settled or cluster.clearing:
        return
    found = _for_who_waits(cluster, now_ms)
    if found is None:
        found = free_a_node(
            cluster.scheduler, cluster.limits.tidy_moves, lambda name: _may(cluster, name, now_ms)
        )
    if found is None:
        return
    source = cluster.nodes.get(found.node)
    assert source is not None
    source.reserved = True
    cluster.clearing[found.node] = tuple(work.name for work, _ in found.moves)
    cluster.opened(source)
    for work, placed in found.moves:
        cluster.own(cluster.streams[work.name], placed, now_ms)


def cleared(cluster: Cluster, node: Node) -> None:
    """Whether a node may be used again: all that was to leave has left, or will not."""
    if node.reserved and not _leaving(cluster, node.name):
        node.reserved = False
        cluster.clearing.pop(node.name, None)
        cluster.opened(node)


def _for_who_waits(cluster: Cluster, now_ms: int) -> Clearing | None:
    """Live streams only, and the first of each kind."""
    for kind in cluster.waiting.kinds():
        [name] = cluster.waiting.of(kind, 1)
        stream = cluster.streams[name]
        if stream.work.standing.live and stream.here is None:
            found = let_in(
                cluster.scheduler,
                stream.work,
                cluster.limits.tidy_moves,
                lambda name: _may(cluster, name, now_ms),
            )
            if found is not None:
                return found
    return None


def _may(cluster: Cluster, name: str, now_ms: int) -> bool:
    """A live stream that runs well and was not moved of late."""
    stream = cluster.streams[name]
    if not stream.work.standing.live or stream.coming is not None:
        return False
    if stream.here is None or not stream.here.attached:
        return False
    return stream.moved_ms is None or now_ms - stream.moved_ms >= cluster.limits.moved_ms


def _leaving(cluster: Cluster, node: str) -> bool:
    """Whether any stream is still on its way from there."""
    found = (cluster.streams.get(name) for name in cluster.clearing.get(node, ()))
    moving = (one.here for one in found if one is not None and one.coming is not None)
    return any(here is not None and here.node == node for here in moving)
