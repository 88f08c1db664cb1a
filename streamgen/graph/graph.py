"""`Graph`: the planned nodes of one stream, built with their stages, and what they remember."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from streamgen.errors import ConfigError, StreamGenError
from streamgen.graph.blame import Blame
from streamgen.graph.breaker import Breaker
from streamgen.graph.job import Call, Job
from streamgen.graph.params import Knobs
from streamgen.graph.plan import THE_SOURCE, Edge, Plan, PlannedNode, plan
from streamgen.graph.spec import SOURCE, EdgeKind, EdgeSpec, NodeSpec
from streamgen.media.frame import Color
from streamgen.media.port import PICTURE, Contract
from streamgen.media.vigil import UnderWay
from streamgen.protocols import Stage
from streamgen.telemetry import Telemetry

Build = Callable[[PlannedNode, Any], Stage]
"""Makes the stage of a planned node with the parameters given."""
Size = tuple[int, int]


class Node:
    """One node at work: its stage, its readers, and what it remembers between frames.

    All fields but `stage` belong to the executor, under its lock.
    """

    def __init__(
        self, index: int, planned: PlannedNode, stage: Stage, telemetry: Telemetry
    ) -> None:
        self.index = index
        self.name = planned.name
        self.planned = planned
        self.contract = planned.contract
        self.main = planned.contract.main
        self.edges = planned.edges
        self.stage = stage
        self.ordered = planned.contract.state == "ordered"
        self.every_ns = planned.spec.every or 0
        self.times = telemetry.times(f"stage/{planned.name}")
        """Submission to completion, per picture."""
        self.breaker: Breaker | None = None
        """Set in live runs."""
        self.size: Size | None = None
        """Of its picture, as prepared."""
        # What it is doing.
        self.busy = False
        self.turns: deque[Job] = deque()
        self.parked: deque[Job] = deque()
        self.held: deque[Job] = deque()
        """Pictures taken in whose outputs come later, by its latency."""
        self.call_ns = 0.0
        """How long a call keeps its thread, smoothed."""
        # What it remembers.
        self.memo: Call | None = None
        self.newest: Call | None = None
        self.due: Call | None = None
        self.next_due_ns: int | None = None
        self.reset_at = 0
        """The frame before which it forgets the past; done up to `reset_done`."""
        self.reset_done = 0
        self.repeats = False
        """Something before it may give the same picture twice: remember the last call."""
        self.read_late = False
        """Some edge reads its newest outputs."""
        self.good = 0
        self.failed = 0
        self.calls: dict[Call, Stage] = {}
        """Under way, the oldest first."""
        self.proven: Stage | None = None
        """The last stage that has given something."""
        self.error: StreamGenError | None = None

    def remember(self, call: Call) -> None:
        """Keep a good call for what may ask for it: repeats, `last_good`, `latest` edges."""
        if self.repeats or self.planned.spec.fallback == "last_good":
            self.memo = call
        else:
            call.inputs = {}
        if self.read_late and (self.newest is None or call.number > self.newest.number):
            self.newest = call

    def under_way(self) -> UnderWay | None:
        """Its oldest call, for a `Vigil`; from any thread."""
        for call, stage in self.calls.copy().items():
            return UnderWay(f"stage {self.name}", call, first=stage is not self.proven)
        return None

    def reader_edges(self, of: int) -> Iterator[Edge]:
        """Its edges from the node with this index."""
        return (edge for edge in self.edges if edge.node == of)


class Graph:
    """The stages of one stream, joined. `prepare` before the first frame, `close` at the end."""

    def __init__(self, planned: Plan, build: Build, params: Sequence[Any], telemetry: Telemetry):
        self.plan = planned
        self._build = build
        nodes: list[Node] = []
        with ExitStack() as undo:
            for index, (one, values) in enumerate(zip(planned.nodes, params, strict=True)):
                with Blame(one.name):
                    nodes.append(Node(index, one, build(one, values), telemetry))
                undo.callback(nodes[-1].stage.close)
            undo.pop_all()
        self.nodes = tuple(nodes)
        self.readers: tuple[tuple[tuple[Node, Edge], ...], ...] = tuple(
            tuple((n, e) for n in nodes for e in n.reader_edges(index))
            for index in range(len(nodes))
        )
        """By index of a node: the nodes that read it, with the edge."""
        self.knobs = Knobs(
            {node.name: values for node, values in zip(nodes, params, strict=True)},
            {node.name: node.contract.fixed for node in nodes},
            self._rebuild,
        )
        for node in nodes:
            above = [nodes[edge.node] for edge in node.edges if edge.node != THE_SOURCE]
            node.repeats = any(one.repeats or getattr(one.stage, "repeats", False) for one in above)
            for edge in node.edges:
                if edge.kind is EdgeKind.LATEST:
                    nodes[edge.node].read_late = True
        self._prepared: tuple[int, int, Color] | None = None
        self._retired: list[tuple[Stage, int]] = []
        self._lock = threading.Lock()
        self.oldest_job: Callable[[], int] = lambda: 0
        """Number of the oldest frame at work; set by the executor."""

    @classmethod
    def chain(
        cls, stages: Sequence[tuple[str, Stage, Any]], telemetry: Telemetry | None = None
    ) -> Graph:
        """Built stages one after the other: the simplest graph."""
        names = [name for name, _, _ in stages]
        specs = {
            name: NodeSpec.model_validate({"stage": name, "from": {"": EdgeSpec(node=before)}})
            for name, before in zip(names, [SOURCE, *names], strict=False)
        }
        contracts = {name: Contract.of(stage) for name, stage, _ in stages}
        built = {name: stage for name, stage, _ in stages}
        planned = plan(specs, names[-1] if names else SOURCE, contracts)
        params = [value for _, _, value in stages]
        return cls(planned, lambda node, _: built[node.name], params, telemetry or Telemetry())

    def __len__(self) -> int:
        return len(self.nodes)

    def output_size(self, width: int, height: int) -> Size:
        """Size of the picture that leaves, for an input of this size. Raises `ConfigError`."""
        size = self._sizes((width, height))[self.plan.output.node]
        if size is None:
            raise ConfigError("the graph's output has no size")
        return size

    def _sizes(self, source: Size) -> dict[int, Size | None]:
        """The picture size of every node (None: gives no picture), checked where several meet."""
        sizes: dict[int, Size | None] = {THE_SOURCE: source}
        for node in self.nodes:
            sizes[node.index] = self._size(node, sizes)
        return sizes

    def _size(self, node: Node, sizes: Mapping[int, Size | None]) -> Size | None:
        main: Size | None = None
        met: list[tuple[str, Size]] = []
        for edge in node.edges:
            size = sizes[edge.node]
            if node.contract.inputs[edge.port].kind != PICTURE or size is None:
                continue
            met.append((edge.port, size))
            if edge.port == node.main:
                main = size
        for port, size in met:
            if main is not None and size != main and not getattr(node.stage, "any_size", False):
                raise ConfigError(
                    f"node '{node.name}': '{node.main}' is {main[0]}x{main[1]}, "
                    f"'{port}' is {size[0]}x{size[1]}; put a resize between"
                )
        if main is None:
            main = met[0][1] if met else next((s for s in sizes.values() if s), None)
        if main is None:
            return None
        with Blame(node.name):
            width, height = node.stage.output_size(*main)
            return width, height

    def prepare(self, width: int, height: int, color: Color) -> None:
        """Load and compile what pictures of this size need, before the first one is waiting."""
        sizes = self._sizes((width, height))
        for node in self.nodes:
            self._prepare(node, node.stage, sizes, color)
            node.size = sizes[node.index]
        self._prepared = (width, height, color)

    def _prepare(
        self, node: Node, stage: Stage, sizes: Mapping[int, Size | None], color: Color
    ) -> None:
        prepare = getattr(stage, "prepare", None)
        size = next((sizes[e.node] for e in node.edges if e.port == node.main), None)
        if prepare is not None and size is not None:
            with Blame(node.name):
                prepare(*size, color)

    def _rebuild(self, name: str, params: Any) -> Stage:
        """Another stage for a node, with parameters that a running one cannot take on.

        On the thread that asked for the change: it may load and compile.
        """
        self.sweep()
        node = next(node for node in self.nodes if node.name == name)
        with Blame(name):
            stage = self._build(node.planned, params)
        if self._prepared is not None:
            width, height, color = self._prepared
            self._prepare(node, stage, self._sizes((width, height)), color)
            if node.size is not None and stage.output_size(width, height) != node.stage.output_size(
                width, height
            ):
                stage.close()
                raise ConfigError(f"{name}: a running stream keeps its size")
        return stage

    def swap(self, name: str, stage: Stage, number: int) -> None:
        """From frame `number` on this is the node's stage; the old one is closed by `sweep`."""
        node = next(node for node in self.nodes if node.name == name)
        with self._lock:
            self._retired.append((node.stage, number))
        node.stage = stage
        node.memo = None

    def sweep(self) -> None:
        """Close stages that no frame uses any more."""
        oldest = self.oldest_job()
        with self._lock:
            gone = [stage for stage, number in self._retired if number <= oldest]
            self._retired = [(s, number) for s, number in self._retired if number > oldest]
        _close(gone)

    def close(self) -> None:
        """Close every stage, whatever the others raise; raises the first error."""
        unused = [stage for _, stage in self.knobs.close()]
        retired = [stage for stage, _ in self._retired]
        _close([*(node.stage for node in self.nodes), *retired, *unused])


def _close(stages: Sequence[Stage]) -> None:
    first: StreamGenError | None = None
    for stage in stages:
        try:
            with Blame(f"close of {type(stage).__name__}"):
                stage.close()
        except StreamGenError as error:
            first = first or error
    if first is not None:
        raise first
