"""What nodes measure counts from the next place on: for who waits, and for who is taken over. What
runs keeps what was planned for it, so nothing moves or ends by a measurement."""

from __future__ import annotations

from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.nodes import Node
from streamgen.control.coordinator.seeking import place
from streamgen.control.placement.resources import Profile

LOOK = 32
"""Waiting streams of one kind that are tried at once."""


def measured(cluster: Cluster, node: Node, profiles: tuple[Profile, ...], now_ms: int) -> None:
    """All that this node has measured by now."""
    if profiles == node.profiles:
        return
    node.profiles = profiles
    cluster.changed.nodes[node.name] = None
    known(cluster, node.name, profiles, now_ms)


def known(cluster: Cluster, node: str, profiles: tuple[Profile, ...], now_ms: int) -> None:
    """So much of it counts; of a node that is gone, nothing."""
    changed = cluster.catalogue.told(node, profiles)
    if not changed or not cluster.settled:
        return
    for kind in cluster.waiting.kinds():
        for name in cluster.waiting.of(kind, LOOK):
            stream = cluster.streams[name]
            if stream.work.profile.subject not in changed:
                break
            if stream.here is None and place(cluster, stream, now_ms) is not None:
                break
