"""`rehearse`: grey pictures through every stage before the stream, to know what each one takes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from streamgen.errors import StageError
from streamgen.graph.blame import Blame
from streamgen.graph.fallback import pending
from streamgen.graph.graph import Graph
from streamgen.graph.plan import THE_SOURCE
from streamgen.media.frame import Color, Frame, Layout
from streamgen.media.pool import Pool
from streamgen.protocols import Value
from streamgen.telemetry import Clock

ROUNDS = 3


def rehearse(
    graph: Graph, pool: Pool, clock: Clock, width: int, height: int, color: Color
) -> Mapping[str, int]:
    """Nanoseconds that each node needs for one picture: the best of three calls, by name.

    The graph is prepared for this size, and forgets the rehearsal. A stage that fails on grey has
    no time.
    """
    best: dict[str, int] = {}
    for number in range(ROUNDS):
        made: dict[int, Mapping[str, Value]] = {}
        grey = _grey(pool, width, height, color, number)
        for node in graph.nodes:
            inputs: dict[str, Value] = {}
            for edge in node.edges:
                value = grey if edge.node == THE_SOURCE else made[edge.node].get(edge.output)
                if value is not None:
                    inputs[edge.port] = value
            began_ns = clock.now_ns()
            made[node.index] = _called(graph, node.index, inputs)
            if made[node.index]:
                spent_ns = clock.now_ns() - began_ns
                best[node.name] = min(spent_ns, best.get(node.name, spent_ns))
    for node in graph.nodes:
        with Blame(node.name):
            node.stage.reset()
    return best


def _called(graph: Graph, index: int, inputs: Mapping[str, Value]) -> Mapping[str, Value]:
    node = graph.nodes[index]
    if any(e.port not in inputs and not node.contract.inputs[e.port].optional for e in node.edges):
        return {}
    try:
        with Blame(node.name):
            result = node.stage.process(inputs, graph.knobs.values()[node.name])
            fence = pending(result)
            if fence is not None:
                fence.wait()
            if not isinstance(result, Mapping):
                result = result.outputs()
            for value in result.values():
                if value.ready is not None:
                    value.ready.wait()
    except StageError:
        return {}
    return result


def _grey(pool: Pool, width: int, height: int, color: Color, number: int) -> Frame:
    out = pool.take(Layout.I420, width, height)
    for plane in out.planes:
        np.asarray(plane)[...] = 128
    like = Frame(out.planes, Layout.I420, width, height, number, Fraction(1, 1000), color=color)
    return out.publish(like)
