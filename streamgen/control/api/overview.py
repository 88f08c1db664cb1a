"""`Overview`: a cluster on one page, as one answer: made once a second, however many look."""

from __future__ import annotations

import asyncio
from collections import Counter
from heapq import nsmallest
from typing import Any

from streamgen import __version__
from streamgen.control.api.views import STATES, node_row, room, standing, state, stream_row
from streamgen.control.coordinator.chronicle import Entry
from streamgen.control.coordinator.cluster import Cluster, Stream
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.lead import NAME
from streamgen.control.coordinator.office import Office
from streamgen.control.jobs.glance import glance
from streamgen.control.placement.resources import DIMENSIONS
from streamgen.control.store import Lease, Store
from streamgen.errors import StoreError

FRESH_MS = 900
"""An answer is given again for so long."""
MOST_KEPT = 8
"""Answers to different questions that are kept."""
STORE_S = 2.0
"""A store that does not answer within that is away."""
MOST_NEWS = 40
MOST_JOBS = 12
_FIRST = {"waiting": 0, "starting": 1, "moving": 2, "running": 3}
_BAD_FIRST = {"suspect": 0, "resting": 1, "draining": 2, "drained": 3, "up": 4}
Answer = dict[str, Any]


class Overview:
    """Of one coordinator, on its loop."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._kept: dict[tuple[str, int], tuple[int, Answer]] = {}
        self._asking = asyncio.Lock()
        self._stored: tuple[int, Answer] = (-FRESH_MS, {})

    async def show(self, find: str, most: int) -> Answer:
        """Nodes and streams with `find` in a name, so many of each: what is not as it should be
        comes first. A standby says who leads, and no more."""
        now_ms = self._office.now_ms()
        at_ms, answer = self._kept.get((find, most), (-FRESH_MS, {}))
        if now_ms - at_ms < FRESH_MS:
            return answer
        stored = await self._of_store()
        cluster = self._office.desk.coordinator.cluster if self._office.leads() else None
        answer = self._head(stored, cluster, now_ms)
        if cluster is not None:
            answer |= self._of_cluster(cluster, find.lower(), most, now_ms)
        self._kept[find, most] = now_ms, answer
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return answer

    def _head(self, stored: Answer, cluster: Cluster | None, now_ms: int) -> Answer:
        desk = self._office.desk
        leader: Answer | None = stored["leader"]
        if cluster is not None:
            for_ms = now_ms - desk.chronicle.since_ms
            leader = {"name": self._office.owner, "epoch": desk.epoch, "for_ms": for_ms}
        elif leader is not None and leader["name"] == self._office.owner:
            leader = None  # it reads the rows, or its lease has just ended
        return {
            "name": self._office.owner,
            "version": __version__,
            "leads": cluster is not None,
            "leader": leader,
            "store": {"answers": stored["answers"], "unwritten_rows": self._office.unwritten},
            "jobs": stored["jobs"],
            "events": [_event(one, now_ms) for one in desk.chronicle.latest(MOST_NEWS)],
        }

    async def _of_store(self) -> Answer:
        async with self._asking:
            now_ms = self._office.now_ms()
            at_ms, found = self._stored
            if now_ms - at_ms >= FRESH_MS:
                found = await _asked(self._office.store)
                self._stored = now_ms, found
            return found

    def _of_cluster(self, cluster: Cluster, find: str, most: int, now_ms: int) -> Answer:
        desk = self._office.desk
        edges = desk.directory.all().edges
        wanted = Counter(desk.edge_of.values())
        nodes = [one for one in cluster.nodes if find in one.name.lower()]
        streams = [
            (name, one)
            for name, one in cluster.streams.items()
            if not find or find in _words(desk, name, one)
        ]
        worst = nsmallest(most, nodes, key=lambda one: (_BAD_FIRST[standing(one)], one.name))
        room_ms = room(cluster, now_ms)
        first = nsmallest(most, streams, key=lambda one: (_FIRST[state(one[1])], one[0]))
        return {
            "load": _load(cluster),
            "nodes": {
                "states": Counter(standing(one) for one in cluster.nodes),
                "found": len(nodes),
                "rows": [node_row(desk, cluster, one, now_ms) for one in worst],
            },
            "streams": {
                "states": dict.fromkeys(STATES, 0)
                | Counter(state(one) for one in cluster.streams.values()),
                "found": len(streams),
                "rows": [stream_row(desk, name, one, now_ms, room_ms) for name, one in first],
            },
            "edges": [
                {"name": one.edge, "place": one.place, "streams": wanted[one.edge]} for one in edges
            ],
        }


async def _asked(store: Store | None) -> Answer:
    """Who leads, as the store has it, and its jobs."""
    away: Answer = {"answers": False, "leader": None, "jobs": None}
    if store is None:
        return away
    try:
        async with asyncio.timeout(STORE_S):
            lease, jobs = await store.leases.holder(NAME), await glance(store, MOST_JOBS)
    except (StoreError, TimeoutError):
        return away
    return {"answers": True, "leader": _leader(lease), "jobs": jobs}


def _leader(lease: Lease | None) -> Answer | None:
    return None if lease is None else {"name": lease.owner, "epoch": lease.epoch}


def _words(desk: Desk, name: str, stream: Stream) -> str:
    """What a stream is found by."""
    held = (one.node for one in (stream.here, stream.coming) if one is not None)
    return " ".join([name, desk.edge_of.get(name, ""), *held]).lower()


def _load(cluster: Cluster) -> Answer:
    """Of all nodes together."""
    bins = cluster.scheduler.bins
    limit, used = bins.limit.sum(axis=1).tolist(), bins.load().sum(axis=1).tolist()
    return {
        dimension: {"used": used[i], "limit": limit[i]}
        for i, dimension in enumerate(DIMENSIONS)
        if limit[i]
    }


def _event(one: Entry, now_ms: int) -> Answer:
    return {
        "kind": one.kind.value,
        "ago_ms": max(0, now_ms - one.at_ms),  # another leader's clock may have been ahead
        "name": one.name,
        "source": one.source,
        "node": one.node,
        "reason": one.reason,
        "epoch": one.epoch,
    }
