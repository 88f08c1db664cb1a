"""The coordinator's figures for Prometheus; nothing is computed until somebody scrapes. What is of
the whole cluster is told by who leads, alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streamgen.control.api.tallied import Found, Tallied, written
from streamgen.control.api.views import STANDINGS, STATES, standing, state
from streamgen.control.coordinator.chronicle import Kind
from streamgen.control.coordinator.office import Office
from streamgen.control.placement.bins import Bins, Vector
from streamgen.control.placement.resources import DIMENSIONS
from streamgen.control.store.jobs import Tally
from streamgen.errors import StoreError
from streamgen.telemetry import Telemetry

_BOUNDS_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
_COUNTED = {
    "moves": (Kind.MOVES, "Streams that were told to move."),
    "takeovers": (Kind.TAKEOVERS, "Streams that ran and got another owner."),
    "refusals": (Kind.REFUSALS, "Noes."),
    "waits": (Kind.WAITS, "Streams that were told to wait for room."),
    "leases": (Kind.LEADS, "Leases to lead that this process had."),
    "nodes_lost": (Kind.NODE_DIED, "Nodes that fell silent, or whose worker died."),
}


class ClusterMetrics:
    def __init__(self, office: Office, telemetry: Telemetry) -> None:
        self._office, self._telemetry = office, telemetry
        self._jobs = Tallied("streamgen_coordinator", self._tally)

    async def text(self) -> bytes:
        """Exposition format 0.0.4. A thread writes it: nodes may be ten thousand."""
        jobs = await self._jobs.look() if self._office.leads() else ()
        cluster = self._office.desk.coordinator.cluster
        nodes = [] if cluster is None else [_NodeLoad(cluster.scheduler.bins)]
        found = Found([*self._of_process(), *self._of_cluster(), *jobs])
        return await asyncio.to_thread(written, found, *nodes)

    async def _tally(self) -> Tally:
        if self._office.store is None:
            raise StoreError("the store is not there yet")
        return await self._office.store.jobs.tally()

    def _of_process(self) -> Iterator[Metric]:
        desk = self._office.desk
        yield _gauge("leader", "1: this process leads.", float(self._office.leads()))
        yield _gauge("unwritten_rows", "Rows the store has not taken yet.", self._office.unwritten)
        figures = desk.figures
        yield HistogramMetricFamily(
            "streamgen_coordinator_decision_cpu_seconds",
            "Processor time of each decision.",
            buckets=figures.decisions.cumulative(_BOUNDS_S),
            sum_value=figures.decisions.total_ns / 1e9,
        )
        for name, (kind, help_) in _COUNTED.items():
            yield CounterMetricFamily(
                f"streamgen_coordinator_{name}", help_, value=figures.counts[kind.value]
            )
        messages = CounterMetricFamily(
            "streamgen_coordinator_messages_lost",
            "Messages that came to nothing, by reason.",
            labels=["reason"],
        )
        lost = Counter(self._telemetry.counts("messages"))
        lost["not_allowed"] += figures.ignored.total()
        lost["unknown_key"] += self._telemetry.counts("link_refused").get("unknown_key", 0)
        for reason, number in sorted(lost.items()):
            messages.add_metric([reason], number)
        yield messages
        for way in ("heard", "said"):
            kinds = CounterMetricFamily(
                f"streamgen_coordinator_messages_{way}",
                f"Messages {way}, by kind: from and to nodes and edges.",
                labels=["kind"],
            )
            for message, number in sorted(self._telemetry.counts(way).items()):
                kinds.add_metric([message], number)
            yield kinds

    def _of_cluster(self) -> Iterator[Metric]:
        desk = self._office.desk
        cluster = desk.coordinator.cluster
        if cluster is None:
            return
        nodes = Counter(standing(node) for node in cluster.nodes)
        by_standing = dict.fromkeys(STANDINGS, 0) | nodes
        yield _by("nodes", "Nodes, by state.", "state", by_standing)
        streams = Counter(state(stream) for stream in cluster.streams.values())
        by_state = dict.fromkeys(STATES, 0) | streams
        yield _by("streams", "Streams, by state.", "state", by_state)
        yield _gauge("edges", "Edges.", len(desk.directory.all().edges))
        bins = cluster.scheduler.bins
        limit, used = bins.limit.sum(axis=1).tolist(), bins.load().sum(axis=1).tolist()
        yield _by("used", "In use of all nodes.", "dimension", _of(used))
        yield _by("limit", "To be used at most.", "dimension", _of(limit))


class _NodeLoad(Collector):
    """As it is now, to be written by a thread."""

    def __init__(self, bins: Bins) -> None:
        self._slots = dict(bins.slots)
        self._limit, self._used = bins.limit.copy(), bins.load()

    def collect(self) -> Iterator[Metric]:
        yield self._by_node("used", "In use of each node.", self._used)
        yield self._by_node("limit", "To be used of each node at most.", self._limit)

    def _by_node(self, name: str, says: str, amounts: Vector) -> Metric:
        """Dimensions that a node does not have are left out."""
        labels = ["node", "dimension"]
        family = GaugeMetricFamily(f"streamgen_coordinator_node_{name}", says, labels=labels)
        rows, has = amounts.T.tolist(), self._limit.T.tolist()
        for node, slot in self._slots.items():
            for dimension, amount, limit in zip(DIMENSIONS, rows[slot], has[slot], strict=True):
                if limit:
                    family.add_metric([node, dimension], amount)
        return family


def _of(sums: list[int]) -> dict[str, int]:
    return dict(zip(DIMENSIONS, sums, strict=True))


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"streamgen_coordinator_{name}", help_, value=value)


def _by(name: str, help_: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"streamgen_coordinator_{name}", help_, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
