"""What a leader knows, as plain values for the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from streamgen.control.coordinator import seeking
from streamgen.control.coordinator.cluster import Cluster, Holding, Stream
from streamgen.control.coordinator.coordinator import WARM_MODELS
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.homes import Home
from streamgen.control.coordinator.nodes import Node
from streamgen.control.placement.resources import DIMENSIONS, Profile, Standing

STATES = ("running", "starting", "moving", "waiting")
STANDINGS = ("up", "draining", "drained", "resting", "suspect")


def nodes(desk: Desk, cluster: Cluster, now_ms: int) -> dict[str, Any]:
    """All nodes with their load, and all edges."""
    demand = cluster.demand(WARM_MODELS)
    rows = [
        node_row(desk, cluster, node, now_ms) | {"cold": cold(cluster, node, demand)}
        for node in cluster.nodes
    ]
    edges = [
        {
            "name": one.edge,
            "place": one.place,
            "public_key": one.public_key,
            "mirror": one.mirror,
            "homes": desk.homes.number(one.edge),
        }
        for one in desk.directory.all().edges
    ]
    return {
        "leader_epoch": desk.epoch,
        "nodes": sorted(rows, key=lambda row: str(row["name"])),
        "edges": edges,
    }


def streams(desk: Desk, cluster: Cluster, now_ms: int) -> list[dict[str, Any]]:
    names, room_ms = sorted(cluster.streams), room(cluster, now_ms)
    return [stream_row(desk, name, cluster.streams[name], now_ms, room_ms) for name in names]


def room(cluster: Cluster, now_ms: int) -> Callable[[Stream], int | None]:
    """Says in how many milliseconds there is room for a stream that waits, if nothing else happens.
    Many of them take the same: that is looked at once."""
    known: dict[tuple[Profile, Standing], int | None] = {}

    def of(stream: Stream) -> int | None:
        work = stream.work
        kind = work.profile, work.standing
        if kind not in known:
            at_ms = seeking.earliest(cluster, work, now_ms)
            known[kind] = None if at_ms is None else max(at_ms - now_ms, 0)
        return known[kind]

    return of


def state(stream: Stream) -> str:
    """One of `STATES`."""
    if stream.here is None:
        return "waiting"
    if stream.coming is not None:
        return "moving"
    return "running" if stream.here.attached else "starting"


def node_row(desk: Desk, cluster: Cluster, node: Node, now_ms: int) -> dict[str, Any]:
    bins = cluster.scheduler.bins
    slot = bins.slots[node.name]
    limit, free = bins.limit[:, slot].tolist(), bins.free[:, slot].tolist()
    return {
        "name": node.name,
        "state": standing(node),
        "draining": node.draining,
        "silent_ms": now_ms - node.heard_ms,
        "load": {
            dimension: {
                "used": limit[i] - free[i],
                "limit": limit[i],
                "capacity": getattr(node.capacity, dimension),
            }
            for i, dimension in enumerate(DIMENSIONS)
            if limit[i] or free[i]
        },
        "streams": sorted(cluster.scheduler.names(node.name)),
        "pieces": node.pieces,
        "models": list(node.models),
        "profiles": [_measured(one) for one in node.profiles],
        "boot": node.boot,
    }


def _measured(profile: Profile) -> dict[str, Any]:
    """What a node has measured; dimensions that it has not are left out."""
    size = {} if profile.subject is None else asdict(profile.subject)
    whole = profile.needs[0]
    needs = {name: value for name in DIMENSIONS if (value := getattr(whole, name))}
    return {"name": profile.name, **size, "needs": needs}


def cold(cluster: Cluster, node: Node, models: Iterable[str]) -> list[str]:
    """Those of the networks that are not loaded there."""
    bins = cluster.scheduler.bins
    return [model for model in models if not bins.has(bins.slots[node.name], [model])]


def standing(node: Node) -> str:
    """One of `STANDINGS`: `up`, or why no work comes to it."""
    if node.draining:
        return "drained" if node.empty else "draining"
    if node.resting:
        return "resting"
    return "suspect" if node.suspect else "up"


def stream_row(
    desk: Desk, name: str, stream: Stream, now_ms: int, room_ms: Callable[[Stream], int | None]
) -> dict[str, Any]:
    """`room_ms` is what `room` gives."""
    wait = desk.waits.get(name) if stream.here is None else None
    return {
        "name": name,
        "state": state(stream),
        "profile": stream.work.profile.name,
        "standing": stream.work.standing.name.lower(),
        "edge": desk.edge_of.get(name),
        "home": _home(desk.homes.get(name)),
        "owner": _owner(stream.here, now_ms),
        "next": _owner(stream.coming, now_ms),
        "reason": None if wait is None else wait.reason,
        "earliest_in_ms": None if wait is None else room_ms(stream),
    }


def _home(home: Home | None) -> dict[str, Any] | None:
    """The edge where its publisher is, or was last."""
    return None if home is None else {"edge": home.edge, "epoch": home.epoch}


def _owner(held: Holding | None, now_ms: int) -> dict[str, Any] | None:
    if held is None:
        return None
    return {
        "node": held.node,
        "epoch": held.epoch,
        "attached": held.attached,
        "given_up": held.cut.name.lower(),
        "for_ms": now_ms - held.since_ms,
    }
