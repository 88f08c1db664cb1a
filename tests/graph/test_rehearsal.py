"""Before a live stream each stage is tried on grey; whatever fails there is found out later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from streamgen.graph.rehearsal import ROUNDS, rehearse
from streamgen.media.frame import Color
from streamgen.media.pool import FramePool
from streamgen.media.port import PICTURE
from streamgen.protocols import Value
from streamgen.telemetry import MonotonicClock, Telemetry
from tests.graph.marks import Join, Mark, graph_of

BRANCHES: dict[str, dict[str, Any]] = {
    "a": {"from": "source"},
    "b": {"from": "a"},
    "out": {"from": {"picture": "a", "other": "b"}},
}


def rehearsed(b: Mark) -> tuple[Mapping[str, int], Mapping[str, Mark]]:
    stages = {"a": Mark(busy_s=0.002), "b": b, "out": Join()}
    graph = graph_of(BRANCHES, stages, Telemetry())
    graph.prepare(32, 32, Color())
    return rehearse(graph, FramePool(), MonotonicClock(), 32, 32, Color()), stages


def test_each_stage_is_timed_and_forgets_the_rehearsal() -> None:
    spent_ns, stages = rehearsed(Mark(late_s=0.002))
    assert set(spent_ns) == {"a", "b", "out"}
    assert spent_ns["a"] >= 2_000_000 and spent_ns["b"] >= 2_000_000
    assert [stage.resets for stage in stages.values()] == [[ROUNDS]] * 3


@pytest.mark.parametrize("what", ["raises", None, {PICTURE: 5}], ids=["raises", "none", "number"])
def test_what_fails_on_grey_has_no_time_and_stops_nobody(what: Any) -> None:
    class Odd(Mark):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            if what == "raises":
                raise ValueError("nothing to see")
            given: Mapping[str, Value] = what
            return given

    spent_ns, _ = rehearsed(Odd())
    assert set(spent_ns) == {"a", "out"}
