"""Stages that leave marks, and ways to carry pictures through them, for the tests of graphs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from streamgen.errors import StageError
from streamgen.graph.director import Director
from streamgen.graph.governor import Governor
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.plan import plan
from streamgen.graph.seat import Seat
from streamgen.graph.slate import Dissolve, Slate
from streamgen.graph.spec import Answer, NodeSpec
from streamgen.media.frame import Frame, Sheet
from streamgen.media.pool import FramePool
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.media.steps import StepGroup
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from streamgen.testing import LateFence, picture

MS = 1_000_000


class Mark:
    """Adds to the pixel aspect, by which a test sees where a picture has been."""

    def __init__(self, add: int = 0, *, late_s: float = 0, busy_s: float = 0) -> None:
        self.add, self.late_s, self.busy_s = add, late_s, busy_s
        self.seen: list[int] = []
        self.resets: list[int] = []
        self.threads: set[str] = set()
        self.params: list[Any] = []
        self.closed = False

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        assert isinstance(frame, Frame)
        self.seen.append(frame.pts)
        self.params.append(params)
        self.threads.add(threading.current_thread().name)
        if self.busy_s:
            time.sleep(self.busy_s)
        ready = LateFence(self.late_s) if self.late_s else None
        return {PICTURE: frame.retimed(sar=frame.sar + self.add, ready=ready)}

    def reset(self) -> None:
        self.resets.append(len(self.seen))

    def close(self) -> None:
        self.closed = True


class Join(Mark):
    """Takes two pictures; the sum of their marks."""

    inputs = {PICTURE: Port(), "other": Port(optional=True)}  # noqa: RUF012

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        one, other = inputs[PICTURE], inputs.get("other")
        assert isinstance(one, Frame)
        self.seen.append(one.pts)
        added = Fraction(0)
        if other is not None:
            assert isinstance(other, Frame)
            assert other.pts == one.pts, "a join of two pictures that are not the same"
            added = other.sar - 1
        return {PICTURE: one.retimed(sar=one.sar + added)}


class Finder(Mark):
    """Gives a mask that holds its own PTS."""

    outputs = {"mask": Port("mask")}  # noqa: RUF012

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = super().process(inputs, params)[PICTURE]
        assert isinstance(frame, Frame)
        data = np.full((1, 1), frame.pts % 256, np.uint8)
        return {"mask": Sheet("mask", data, frame.pts, frame.time_base, ready=frame.ready)}


class Masked(Mark):
    """Writes into the mark which mask it was given: 1000 + its number, or 1 without one."""

    inputs = {PICTURE: Port(), "mask": Port("mask", optional=True)}  # noqa: RUF012

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame, mask = inputs[PICTURE], inputs.get("mask")
        assert isinstance(frame, Frame)
        self.seen.append(frame.pts)
        mark = 0 if mask is None else 1000 + int(np.asarray(mask.data)[0, 0])  # type: ignore[union-attr]
        return {PICTURE: frame.retimed(sar=Fraction(1 + mark))}


class Failing(Mark):
    def __init__(self, add: int, fails: Callable[[int], bool]) -> None:
        super().__init__(add)
        self.fails = fails

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        made = super().process(inputs, params)
        if self.fails(self.seen[-1]):
            raise StageError("odd", stage="failing", pts=self.seen[-1])
        return made


def graph_of(
    written: Mapping[str, Mapping[str, Any]],
    stages: Mapping[str, Any],
    telemetry: Telemetry,
    params: Mapping[str, Any] | None = None,
) -> Graph:
    """A graph of built stages; nodes as in a pipeline file, the last one is the output."""
    specs = {
        name: NodeSpec.model_validate({"stage": name, **keys}) for name, keys in written.items()
    }
    contracts = {name: Contract.of(stages[name]) for name in specs}
    planned = plan(specs, list(specs)[-1], contracts)
    values = [(params or {}).get(node.name) for node in planned.nodes]
    return Graph(planned, lambda node, _: stages[node.name], values, telemetry)


def shown(frame: Frame) -> tuple[int, int]:
    return frame.pts, int(frame.sar) - 1


def frames(number: int, *, step: int = 1) -> list[Frame]:
    """Pictures with PTS 0, step, 2 step.. in milliseconds."""
    one = picture(16, 16)
    return [one.retimed(pts=n * step, time_base=Fraction(1, 1000)) for n in range(number)]


def carry(
    lane: Lane,
    graph: Graph,
    given: Sequence[Frame],
    telemetry: Telemetry,
    *,
    parallel: int = 2,
    before: Callable[[Frame], None] = lambda frame: None,
) -> list[tuple[int, int]]:
    seat = Seat(lane, graph, telemetry, depth=4, parallel=parallel)
    graph.prepare(given[0].width, given[0].height, given[0].color)
    out: list[tuple[int, int]] = []

    def put() -> None:
        for frame in given:
            before(frame)
            seat.put(frame)
        seat.close()

    with StepGroup(seat) as steps:
        steps.start("put", put)
        steps.start("get", lambda: out.extend(shown(frame) for frame in seat))
    seat.drain()
    graph.close()
    return out


LATEST = {
    "find": {"from": "source", "every": "40ms"},
    "out": {
        "from": {"picture": "source", "mask": {"node": "find", "edge": "latest", "max_age": "1s"}}
    },
}


def directed(
    graph: Graph, telemetry: Telemetry, answers: Sequence[Answer], *, budget_ms: int
) -> Director:
    """What keeps the time of a live graph."""
    pool = FramePool()
    governor = Governor(budget_ms * MS, answers, [node.name for node in graph.nodes])
    return Director(governor, telemetry, Dissolve(pool), Slate(None, pool))


def live(
    lane: Lane,
    graph: Graph,
    telemetry: Telemetry,
    given: Sequence[Frame],
    *,
    gap_s: float = 0,
    after: Callable[[Frame], None] = lambda frame: None,
) -> list[tuple[int, int]]:
    """Pictures one by one through a seat that never waits: the next comes when one has left."""
    director = directed(graph, telemetry, [], budget_ms=10_000)
    seat = Seat(lane, graph, telemetry, depth=1, parallel=1, director=director)
    graph.prepare(given[0].width, given[0].height, given[0].color)
    out: list[tuple[int, int]] = []
    for frame in given:
        seat.put(frame.retimed(received_ns=telemetry.clock.now_ns()))
        left = seat.get()
        assert left is not None
        out.append(shown(left))
        after(left)
        time.sleep(gap_s)
    seat.close()
    assert seat.get() is None
    seat.drain()
    graph.close()
    return out
