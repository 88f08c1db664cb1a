"""`Plan`: nodes in an order in which they can run, their edges checked, conversions put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamgen.errors import ConfigError
from streamgen.graph.spec import SOURCE, EdgeKind, EdgeSpec, NodeSpec, stage_class
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.plugins import find

THE_SOURCE = -1
"""Index of the decoded picture, in place of a node's."""
CONVERT = "convert"
"""The stage of a conversion: `value` in (and the picture it is `like`, where needed) and out."""


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

    def stage_class(self) -> Any:
        """What builds its stage, as `Class(params, context)`. Raises `ConfigError`."""
        if self.conversion:
            return find("conversion", self.spec.stage)
        return stage_class(self.spec)


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that can run: every edge leads to an earlier node and fits its port."""

    nodes: tuple[PlannedNode, ...]
    output: Edge
    """Whose value leaves the graph: a picture. Its `port` is empty."""

    @property
    def latency(self) -> int:
        """Frames that must be inside before the first comes out: the longest way's sum."""
        ways = {THE_SOURCE: 0}
        for index, node in enumerate(self.nodes):
            before = max((ways[edge.node] for edge in node.edges), default=0)
            ways[index] = before + node.contract.latency
        return ways[self.output.node]


def plan(nodes: Mapping[str, NodeSpec], output: str, contracts: Mapping[str, Contract]) -> Plan:
    """Order and check a graph; `contracts` is by node.

    Nodes keep the order in which they are written where their edges let them. The main input of
    a node is always `sync`: it gives its results their times, and passes on when it steps aside.
    A conversion that several edges need is there once, as often as what it converts.

    Raises `ConfigError` naming the node and the edge, with `at` leading to it: an unknown node,
    input or output, a missing or doubled input, a circle, kinds that no conversion joins, `sync`
    from a node that runs only `every` so often, an output that is no picture, a node that nothing
    reads.
    """
    wires = {name: _wires(name, spec, contracts[name], nodes) for name, spec in nodes.items()}
    drawing = _Drawing()
    for name in _in_order(wires):
        drawing.add(name, nodes[name], contracts[name], wires[name])
    end = drawing.end(output)
    _refuse_unread(drawing.planned, end)
    return Plan(tuple(drawing.planned), end)


Wires = dict[str, tuple[EdgeSpec, str]]
"""By input: its edge, and the name that input has in the file (empty where it is implied)."""


def _refused(node: str, why: str, port: str = "", written: str | None = None) -> ConfigError:
    where = f"node '{node}', input '{port}'" if port else f"node '{node}'"
    at = (node,) if written is None else (node, "from", written)
    return ConfigError(f"{where}: {why}", at=at)


def _wires(name: str, spec: NodeSpec, contract: Contract, nodes: Mapping[str, NodeSpec]) -> Wires:
    """The edges of one node by input, as its stage names them."""
    _refuse_contract(name, spec, contract)
    main = contract.main
    found: Wires = {}
    for written, edge in spec.inputs.items():
        port = written or main
        if port not in contract.inputs:
            known = ", ".join(contract.inputs)
            raise _refused(name, f"{spec.stage} has no such input (there are: {known})", port, port)
        if port in found:
            raise _refused(name, "stands twice", port, written)
        if edge.node != SOURCE and edge.node not in nodes:
            known = ", ".join((SOURCE, *nodes))
            raise _refused(name, f"unknown node '{edge.node}' (there are: {known})", port, written)
        _refuse_kind(name, port, edge, written, main=port == main)
        found[port] = (edge, written)
    for port, declared in contract.inputs.items():
        if port not in found and (port == main or not declared.optional):
            raise _refused(name, f"is not connected; say where it comes from ({declared})", port)
    return found


def _refuse_contract(name: str, spec: NodeSpec, contract: Contract) -> None:
    """What no graph can do with a stage that declares this."""
    main = contract.inputs.get(contract.main)
    if main is None:
        raise _refused(name, f"{spec.stage} takes nothing, so its results have no times")
    gives = any(port.kind == PICTURE for port in contract.outputs.values())
    if gives and main.kind != PICTURE:
        raise _refused(
            name,
            f"{spec.stage} gives a picture and takes none; its size, times and colour are those "
            "of an input, so it needs one of kind picture (named 'like', if it serves for nothing "
            "else)",
        )
    if spec.every is not None and contract.latency:
        raise _refused(
            name, f"{spec.stage} is {contract.latency} frames late, so it cannot run 'every'"
        )


def _refuse_kind(name: str, port: str, edge: EdgeSpec, written: str, *, main: bool) -> None:
    if edge.edge is EdgeKind.SYNC:
        return
    kind = edge.edge.value
    if edge.node == SOURCE:
        raise _refused(
            name, f"an edge from {SOURCE} is always sync, got {kind}: it is there", port, written
        )
    if main:
        raise _refused(
            name,
            f"the main input gives the results their size and times, so its edge is sync, "
            f"got {kind}",
            port,
            written,
        )


def _in_order(wires: Mapping[str, Wires]) -> list[str]:
    """Every node after those it reads, otherwise as written."""
    order: list[str] = []
    waiting = list(wires)
    while waiting:
        for name in waiting:
            before = {edge.node for edge, _ in wires[name].values()} - {SOURCE}
            if before <= set(order):
                break
        else:
            raise _circle(waiting, wires)
        order.append(name)
        waiting.remove(name)
    return order


def _circle(waiting: list[str], wires: Mapping[str, Wires]) -> ConfigError:
    """The error that draws the circle; each waiting node reads another waiting one."""
    way = [waiting[0]]
    while True:
        reads = (edge.node for edge, _ in wires[way[-1]].values())
        step = next(node for node in reads if node in waiting)
        if step in way:
            circle = [*way[way.index(step) :], step]
            return _refused(step, f"stands in a circle: {' reads '.join(circle)}")
        way.append(step)


class _Drawing:
    """The graph while it is put together."""

    def __init__(self) -> None:
        self.planned: list[PlannedNode] = []
        self._index = {SOURCE: THE_SOURCE}
        self._converted: dict[tuple[int, str, Port], int] = {}

    def add(self, name: str, spec: NodeSpec, contract: Contract, wires: Wires) -> None:
        """Connect one node; all it reads are there."""
        edges = []
        for port, wanted in contract.inputs.items():
            if port not in wires:
                continue
            edge, written = wires[port]
            try:
                self._refuse_rate(spec, edge)
                edges.append(self._edge(port, wanted, edge))
            except ConfigError as error:
                raise _refused(name, str(error), port, written) from error
        self._put(PlannedNode(name, spec, contract, tuple(edges)))

    def end(self, output: str) -> Edge:
        """The edge out of the graph."""
        spec = EdgeSpec.model_validate(output)
        if spec.node not in self._index:
            known = ", ".join(self._index)
            raise ConfigError(f"output: unknown node '{output}' (there are: {known})")
        try:
            if (every := self._every(self._index[spec.node])) is not None:
                raise ConfigError(
                    f"'{spec.node}' runs every {every / 1e6:g}ms only, and every picture needs one"
                )
            return self._edge("", Port(), spec)
        except ConfigError as error:
            raise ConfigError(f"output: {error}") from error

    def _put(self, node: PlannedNode) -> int:
        self.planned.append(node)
        self._index[node.name] = len(self.planned) - 1
        return len(self.planned) - 1

    def _every(self, index: int) -> int | None:
        return None if index == THE_SOURCE else self.planned[index].spec.every

    def _refuse_rate(self, reader: NodeSpec, edge: EdgeSpec) -> None:
        """Of a node that runs only so often there is no value for each picture."""
        every = self._every(self._index[edge.node])
        if every is not None and edge.edge is not EdgeKind.LATEST and every != reader.every:
            raise ConfigError(
                f"'{edge.node}' runs every {every / 1e6:g}ms only, so this edge cannot be "
                f"{edge.edge.value}; write {{node: {edge.node}, edge: latest, max_age: ...}}"
            )

    def _edge(self, port: str, wanted: Port, spec: EdgeSpec) -> Edge:
        """An edge that fits: straight, or from a conversion."""
        node = self._index[spec.node]
        output, given = self._output(node, spec)
        if not wanted.takes(given):
            if not wanted.convertible(given):
                raise ConfigError(f"takes {wanted}, and '{spec.node}' gives {given}")
            node, output = self._conversion(node, output, given, wanted), "value"
        return Edge(port, node, output, spec.edge, spec.limit_ns)

    def _output(self, node: int, spec: EdgeSpec) -> tuple[str, Port]:
        outputs = {PICTURE: Port()} if node == THE_SOURCE else self.planned[node].contract.outputs
        name = spec.output or (next(iter(outputs)) if len(outputs) == 1 else PICTURE)
        if name not in outputs:
            known = ", ".join(f"{spec.node}.{output}" for output in outputs)
            said = f"has no output '{name}'" if spec.output else "has several outputs; name one"
            raise ConfigError(f"'{spec.node}' {said} (there are: {known})")
        return name, outputs[name]

    def _conversion(self, node: int, output: str, given: Port, wanted: Port) -> int:
        """The node that turns this output into what is wanted, made when first needed."""
        wanted = replace(wanted, optional=False)
        key = (node, output, wanted)
        if key not in self._converted:
            self._converted[key] = self._put(self._new_conversion(node, output, given, wanted))
        return self._converted[key]

    def _new_conversion(self, node: int, output: str, given: Port, wanted: Port) -> PlannedNode:
        producer = SOURCE if node == THE_SOURCE else self.planned[node].name
        several = node != THE_SOURCE and len(self.planned[node].contract.outputs) > 1
        of = f"({producer}.{output})" if several and output != PICTURE else f"({producer})"
        name = wanted.kind + of
        inputs = {"value": replace(given, optional=False)}
        edges = [Edge("value", node, output)]
        written = {"value": EdgeSpec(node=producer, output=output)}
        if wanted.kind == PICTURE or given.kind == "boxes":
            like = self._seen_by(node)
            inputs["like"] = Port()
            edges.append(Edge("like", like.node, like.output))
            like_name = SOURCE if like.node == THE_SOURCE else self.planned[like.node].name
            written["like"] = EdgeSpec(node=like_name, output=like.output)
        spec = NodeSpec.model_validate(
            {"stage": CONVERT, "params": _as_params(given, wanted), "from": written}
        )
        spec = spec.model_copy(update={"every": self._every(node)})
        return PlannedNode(
            name=name if name not in self._index else f"{wanted}{of}",
            spec=spec,
            contract=Contract(inputs=inputs, outputs={"value": wanted}),
            edges=tuple(edges),
            conversion=True,
        )

    def _seen_by(self, node: int) -> Edge:
        """The picture that a node's results speak of: its main input, or that one's."""
        while node != THE_SOURCE:
            planned = self.planned[node]
            main = next(edge for edge in planned.edges if edge.port == planned.contract.main)
            if planned.contract.inputs[main.port].kind == PICTURE:
                return main
            node = main.node
        return Edge("", THE_SOURCE, PICTURE)


def _as_params(given: Port, wanted: Port) -> dict[str, Any]:
    """What a conversion is told."""
    params: dict[str, Any] = {"to": wanted.kind}
    if given.range is not None:
        params["given_range"] = list(given.range)
    if given.kind == "rgb":
        params["given_planar"] = given.planar
    if wanted.range is not None:
        params |= {"dtype": wanted.dtype, "range": list(wanted.range)}
    if wanted.kind == "rgb":
        params["planar"] = wanted.planar
    return params


def _refuse_unread(planned: list[PlannedNode], end: Edge) -> None:
    read = {end.node}
    for index in reversed(range(len(planned))):
        if index in read:
            read |= {edge.node for edge in planned[index].edges}
    for index, node in enumerate(planned):
        if index not in read and not node.conversion:
            raise _refused(node.name, "nothing reads it, and it is not the output")
