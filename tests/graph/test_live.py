"""How a live graph keeps time: what is late is not waited for, what fails is not called."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from streamgen.graph.lane import Lane
from streamgen.graph.seat import Seat
from streamgen.graph.spec import Answer
from streamgen.media.frame import Frame, Sheet
from streamgen.media.port import PICTURE
from streamgen.media.steps import StepGroup
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from streamgen.testing import ManualFence, picture
from tests.graph.marks import (
    LATEST,
    Failing,
    Finder,
    Join,
    Mark,
    Masked,
    directed,
    frames,
    graph_of,
    live,
    shown,
)


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane(threads=2) as lane:
        yield lane


def test_live_a_slow_detector_keeps_nobody_waiting(lane: Lane) -> None:
    telemetry = Telemetry()
    fences: list[ManualFence] = []

    class Slow(Finder):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            mask = super().process(inputs, params)["mask"]
            assert isinstance(mask, Sheet)
            fences.append(ManualFence())
            return {"mask": replace(mask, ready=fences[-1])}

    finder = Slow()
    graph = graph_of(LATEST, {"find": finder, "out": Masked()}, telemetry)

    def after(frame: Frame) -> None:
        if frame.pts in (50, 130, 190):
            fences[-1].release()
            while not graph.nodes[0].times.count >= len(fences):  # the lane has taken it in
                time.sleep(0.001)
            time.sleep(0.02)

    out = live(lane, graph, telemetry, frames(20, step=10), after=after)
    assert [pts for pts, _ in out] == list(range(0, 200, 10))
    assert finder.seen == [
        0,
        60,
        140,
    ]  # when due but busy, the next will do
    assert [mark for _, mark in out] == [0] * 6 + [1000] * 8 + [1060] * 6
    assert telemetry.counts("skipped")["find"] >= 3


def test_live_an_optional_input_is_not_waited_for_beyond_its_deadline(lane: Lane) -> None:
    telemetry = Telemetry()
    written = {
        "slow": {"from": "source"},
        "out": {
            "from": {
                "picture": "source",
                "other": {"node": "slow", "edge": "optional", "deadline": "30ms"},
            }
        },
    }
    fences: list[ManualFence] = []

    class Uneven(Mark):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            frame = super().process(inputs, params)[PICTURE]
            assert isinstance(frame, Frame)
            if frame.pts % 20:
                fences.append(ManualFence())
                frame = frame.retimed(ready=fences[-1])
            return {PICTURE: frame}

    def after(frame: Frame) -> None:
        if frame.pts % 20:
            fences[-1].release()

    graph = graph_of(written, {"slow": Uneven(5), "out": Join()}, telemetry)
    out = live(lane, graph, telemetry, frames(8, step=10), after=after)
    assert [out[n] for n in (1, 3, 5, 7)] == [(10, 0), (30, 0), (50, 0), (70, 0)]
    assert (0, 5) in out  # in time, at least where the machine is not asleep
    assert telemetry.counts("late")["slow"] >= 4


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


@pytest.mark.parametrize("seed", range(4))
def test_live_every_picture_comes_out_in_order_or_is_dropped_with_a_reason(
    lane: Lane, seed: int
) -> None:
    """Whatever is slow: the stage, the consumer, or both by turns."""
    chance = random.Random(seed)
    telemetry = Telemetry()

    class Uneven(Mark):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            self.busy_s = chance.choice([0, 0.001, 0.01, 0.03])
            self.late_s = chance.choice([0, 0.002, 0.02])
            return super().process(inputs, params)

    graph = graph_of({"a": {"from": "source"}}, {"a": Uneven(1)}, telemetry)
    answers = [Answer(kind="reuse"), Answer(kind="passthrough")]
    director = directed(graph, telemetry, answers, budget_ms=60)
    seat = Seat(lane, graph, telemetry, depth=1, parallel=1, director=director)
    one = picture(16, 16)
    graph.prepare(16, 16, one.color)
    out: list[int] = []

    def put() -> None:
        for pts in range(150):
            seat.put(one.retimed(pts=pts, received_ns=telemetry.clock.now_ns()))
            time.sleep(chance.choice([0, 0.005, 0.01]))
        seat.close()

    def get() -> None:
        for frame in seat:
            time.sleep(chance.choice([0, 0, 0.02]))
            director.governor.finished(frame.received_ns, telemetry.clock.now_ns())
            out.append(frame.pts)

    with StepGroup(seat) as steps:
        steps.start("put", put)
        steps.start("get", get)
    seat.drain()
    graph.close()
    dropped = telemetry.counts("dropped")
    assert out == sorted(set(out))
    assert len(out) + sum(dropped.values()) == 150
    assert dropped.keys() <= {"late", "behind", "overflow"}


@pytest.mark.parametrize("owed", [True, False])
def test_live_what_is_owed_is_waited_for_though_all_of_it_is_late(lane: Lane, owed: bool) -> None:
    telemetry = Telemetry()
    slow = Mark(1)
    slow.busy_s = 0.005
    graph = graph_of({"a": {"from": "source"}}, {"a": slow}, telemetry)
    director = directed(graph, telemetry, [Answer(kind="reuse")], budget_ms=1)
    seat = Seat(lane, graph, telemetry, depth=1, parallel=1, director=director)
    given = frames(30, step=40)
    graph.prepare(16, 16, given[0].color)
    out: list[tuple[int, int]] = []

    def put() -> None:
        for frame in given:
            seat.put(frame.retimed(received_ns=telemetry.clock.now_ns()), owed=owed)
        seat.close()

    with StepGroup(seat) as steps:
        steps.start("put", put)
        steps.start("get", lambda: out.extend(shown(frame) for frame in seat))
    seat.drain()
    graph.close()
    painted = [(frame.pts, 1) for frame in given]
    assert out == painted if owed else len(out) < len(painted)
    assert len(out) + sum(telemetry.counts("dropped").values()) == len(given)
