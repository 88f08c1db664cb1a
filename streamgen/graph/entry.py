"""`Entry`: where pictures come into a graph: breaks are seen here, and who runs on which one."""

from __future__ import annotations

from streamgen.graph.cuts import CutDetector
from streamgen.graph.graph import Graph, Node
from streamgen.graph.job import Job
from streamgen.telemetry import Telemetry


def left_out(node: Node, job: Job) -> bool:
    """Whether the governor leaves this node out for this picture."""
    return not node.planned.conversion and (job.raw or node.name in job.skipped)


class Entry:
    """What is known of the pictures so far. Called in frame order, by one thread at a time."""

    def __init__(self, graph: Graph, telemetry: Telemetry, *, live: bool) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self._live = live
        self._past: tuple[int, int, int] | None = None
        remembers = any(node.ordered for node in graph.nodes)
        self._cuts = CutDetector() if remembers else None
        self._left_out: set[str] = set()

    def meet(self, job: Job) -> None:
        """Nodes forget the past where it no longer fits: another epoch or size; and those that
        remember at a cut, and when they come back after being left out."""
        frame = job.frame
        present = (frame.epoch, frame.width, frame.height)
        broken = self._past is not None and present != self._past
        self._past = present
        if broken and self._cuts is not None:
            self._cuts.reset()
        cut = self._cuts is not None and self._cuts.cut(frame)
        if cut:
            self._telemetry.count("cuts")
        for node in self._graph.nodes:
            out = left_out(node, job)
            resumed = not out and node.name in self._left_out
            if broken or ((cut or resumed) and node.ordered):
                node.reset_at = job.number
            if broken:
                node.next_due_ns = None
        self._left_out = {node.name for node in self._graph.nodes if left_out(node, job)}

    def due(self, node: Node, job: Job) -> bool:
        """Whether a node with a rate of its own runs on this picture."""
        base = job.frame.time_base
        time_ns = job.pts * base.numerator * 1_000_000_000 // base.denominator
        if node.next_due_ns is not None and time_ns < node.next_due_ns:
            return False
        if self._live and node.due is not None and not node.due.done:
            self._telemetry.count("skipped", node.name)  # slower than its rate: the next will do
            return False
        node.next_due_ns = time_ns - time_ns % node.every_ns + node.every_ns
        return True
