"""How a live graph keeps time: what is late is not waited for, what fails is not called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from streamgen.graph.lane import Lane
from streamgen.media.frame import Frame
from streamgen.media.port import PICTURE
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from tests.graph.marks import LATEST, Failing, Finder, Join, Mark, Masked, frames, graph_of, live


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane(threads=2) as lane:
        yield lane


def test_live_a_slow_detector_keeps_nobody_waiting(lane: Lane) -> None:
    telemetry = Telemetry()
    finder = Finder(late_s=0.06)
    graph = graph_of(LATEST, {"find": finder, "out": Masked()}, telemetry)
    out = live(lane, graph, telemetry, frames(20, step=10))
    assert [pts for pts, _ in out] == list(range(0, 200, 10))
    assert out[0] == (0, 0)  # nothing was found yet
    assert out[-1][1] > 1000
    assert 2 <= len(finder.seen) <= 4  # it could not keep its rate
    assert telemetry.counts("skipped")["find"] >= 1


def test_live_an_optional_input_is_not_waited_for_beyond_its_deadline(lane: Lane) -> None:
    telemetry = Telemetry()
    written = {
        "slow": {"from": "source"},
        "out": {
            "from": {
                "picture": "source",
                "other": {"node": "slow", "edge": "optional", "deadline": "5ms"},
            }
        },
    }

    class Uneven(Mark):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            frame = inputs[PICTURE]
            assert isinstance(frame, Frame)
            self.late_s = 0.03 if frame.pts % 20 else 0
            return super().process(inputs, params)

    graph = graph_of(written, {"slow": Uneven(5), "out": Join()}, telemetry)
    out = live(lane, graph, telemetry, frames(8, step=10), gap_s=0.05)
    assert out == [(10 * n, 0 if n % 2 else 5) for n in range(8)]
    assert telemetry.counts("late") == {"slow": 4}


def test_live_a_breaker_stops_calling_what_always_fails_and_tries_it_again(lane: Lane) -> None:
    telemetry = Telemetry()
    stage = Failing(7, lambda pts: 20 <= pts < 60)
    graph = graph_of({"f": {"from": "source"}}, {"f": stage}, telemetry)
    out = live(lane, graph, telemetry, frames(170), gap_s=0.01)
    assert [pts for pts, _ in out] == list(range(170))
    assert len([pts for pts in stage.seen if 20 <= pts < 60]) < 15
    assert [mark for _, mark in out][-20:] == [7] * 20
    counts = telemetry.counts("breaker")
    assert counts["f open"] >= 1
    assert counts["f closed"] >= 1
