"""`Plan`: nodes in an order in which they can run, their edges checked, conversions put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamgen.graph.spec import EdgeKind, NodeSpec
from streamgen.media.port import Contract

THE_SOURCE = -1
"""Index of the decoded picture, in place of a node's."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of a planned node."""

    port: str
    """Name of the input."""
    node: int
    """Index in `Plan.nodes` of the node whose value it is, or `THE_SOURCE`."""
    output: str
    """Which of that node's outputs."""
    kind: EdgeKind = EdgeKind.SYNC
    limit_ns: int = 0
    """`max_age` or `deadline`."""


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node: a stage of the pipeline, or a conversion that an edge needs."""

    name: str
    spec: NodeSpec
    """Of a conversion: stage `convert` with what it turns into what."""
    contract: Contract
    edges: tuple[Edge, ...]
    conversion: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that can run: every edge leads to an earlier node and fits its port."""

    nodes: tuple[PlannedNode, ...]
    output: Edge
    """Whose value leaves the graph: a picture. Its `port` is empty."""

    @property
    def latency(self) -> int:
        """Frames that must be inside before the first comes out: the longest way's sum."""
        return 0


def plan(
    nodes: Mapping[str, NodeSpec], output: str, contracts: Mapping[str, Contract]
) -> Plan:
    """Order and check a graph; `contracts` is by node.

    Raises `ConfigError` naming the node and the edge: an unknown node, input or output, a missing
    or doubled input, a circle, kinds that no conversion joins, `sync` from a node that runs only
    `every` so often, an output that is no picture, a node that nothing reads.
    """
