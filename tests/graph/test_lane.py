"""`Lane` and `Seat`: order out is order in, whatever finishes first, and errors stay in place."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from streamgen.errors import ModelError, StageError
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.seat import Seat
from streamgen.media.frame import Frame
from streamgen.media.port import PICTURE
from streamgen.media.queue import Cancelled
from streamgen.media.steps import StepGroup
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from streamgen.testing import LateFence, picture


class Tagging:
    """Adds a number to the pixel aspect; its result may be late."""

    def __init__(
        self,
        add: int,
        delays: Sequence[float] = (),
        fail_at: dict[int, Exception] | None = None,
        grow: int = 1,
    ) -> None:
        self.add = add
        self.grow = grow
        self.delays = delays
        self.fail_at = fail_at or {}
        self.resets = 0
        self.seen = 0

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return self.grow * width, self.grow * height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        assert isinstance(frame, Frame)
        number, self.seen = self.seen, self.seen + 1
        if number in self.fail_at:
            raise self.fail_at[number]
        delay_s = self.delays[number % len(self.delays)] if self.delays else 0
        ready = LateFence(delay_s) if delay_s else None
        return {PICTURE: frame.retimed(sar=frame.sar + self.add, ready=ready)}

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None: ...


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane() as lane:
        yield lane


def carry(
    lane: Lane,
    stages: Sequence[Tagging],
    frames: Sequence[Frame],
    depth: int = 3,
    telemetry: Telemetry | None = None,
) -> list[int]:
    telemetry = telemetry or Telemetry()
    graph = Graph.chain([(f"s{i}", stage, None) for i, stage in enumerate(stages)], telemetry)
    seat = Seat(lane, graph, telemetry, depth=depth, parallel=2)
    out: list[int] = []

    def put() -> None:
        for frame in frames:
            seat.put(frame)
        seat.close()

    with StepGroup(seat) as steps:
        steps.start("put", put)
        steps.start("get", lambda: out.extend(frame.pts + int(frame.sar) - 1 for frame in seat))
    assert seat.peak <= depth
    return out


def frames(number: int) -> list[Frame]:
    one = picture(8, 8)
    return [one.retimed(pts=pts) for pts in range(number)]


def test_an_empty_chain_passes_pictures_on(lane: Lane) -> None:
    assert carry(lane, [], frames(20)) == list(range(20))


def test_results_come_in_order_even_when_later_ones_finish_first(lane: Lane) -> None:
    random.seed(1)
    delays = [random.choice([0, 0.001, 0.004, 0.008]) for _ in range(17)]
    stages = [Tagging(100, delays), Tagging(1000, delays[::-1])]
    telemetry = Telemetry()
    assert carry(lane, stages, frames(40), 4, telemetry) == [1100 + n for n in range(40)]
    assert telemetry.times("stage/s0").count == telemetry.times("stage/s1").count == 40


def test_several_sessions_share_one_lane(lane: Lane) -> None:
    results: dict[int, list[int]] = {}
    with StepGroup() as steps:
        for number in range(6):

            def one(number: int = number) -> None:
                results[number] = carry(lane, [Tagging(number, [0, 0.002])], frames(15))

            steps.start(f"session {number}", one)
    assert results == {n: [n + i for i in range(15)] for n in range(6)}


def test_a_stage_error_bypasses_its_picture_and_no_other(lane: Lane) -> None:
    telemetry = Telemetry()
    stage = Tagging(10, fail_at={3: StageError("odd", stage="s0", pts=3)})
    assert carry(lane, [stage], frames(6), 3, telemetry) == [10, 11, 12, 3, 14, 15]
    assert telemetry.counts("bypassed") == telemetry.counts("failed") == {"s0": 1}
    assert telemetry.counts("dropped") == {}


def test_a_stage_that_never_works_ends_the_run(lane: Lane) -> None:
    error = StageError("odd", stage="s0", pts=3)
    with pytest.raises(StageError, match="odd"):
        carry(lane, [Tagging(0, fail_at=dict.fromkeys(range(6), error))], frames(6))


def test_a_broken_model_ends_the_run(lane: Lane) -> None:
    with pytest.raises(ModelError, match="weights"):
        carry(lane, [Tagging(0, fail_at={2: ModelError("no weights")})], frames(50))


def test_somebody_elses_exception_is_an_error_of_one_picture(lane: Lane) -> None:
    stage = Tagging(10, fail_at={2: ZeroDivisionError("plugin")})
    assert carry(lane, [stage], frames(5)) == [10, 11, 2, 13, 14]


def test_no_more_pictures_are_at_work_than_the_engine_takes(lane: Lane) -> None:
    class Counting(Tagging):
        most = 0
        fences: list[LateFence] = []  # noqa: RUF012  # of this one test

        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            out = super().process(inputs, params)
            fence = getattr(out[PICTURE], "ready", None)
            self.fences.append(fence)
            self.most = max(self.most, sum(not one.done() for one in self.fences))
            return out

    stage = Counting(0, [0.003])
    assert carry(lane, [stage], frames(20), depth=6) == list(range(20))
    assert stage.most == 2


def test_draining_waits_for_pictures_on_the_lane(lane: Lane) -> None:
    telemetry = Telemetry()
    stage = Tagging(0, [0.1])
    seat = Seat(
        lane, Graph.chain([("slow", stage, None)], telemetry), telemetry, depth=2, parallel=2
    )
    seat.put(picture(8, 8))
    while not stage.seen:
        time.sleep(0.001)
    seat.cancel()
    seat.drain()
    assert telemetry.times("stage/slow").count == 1


def test_stages_are_reset_at_an_epoch_and_at_a_new_size(lane: Lane) -> None:
    stage = Tagging(0)
    small, large = picture(8, 8), picture(16, 8)
    given = [small, small, small.retimed(epoch=1), large.retimed(epoch=1), large.retimed(epoch=1)]
    carry(lane, [stage], [frame.retimed(pts=n) for n, frame in enumerate(given)])
    assert stage.resets == 2


def test_a_chain_tells_its_output_size() -> None:
    graph = Graph.chain([("a", Tagging(0, grow=2), None), ("b", Tagging(0, grow=2), None)])
    assert graph.output_size(10, 20) == (40, 80)


def test_cancelling_a_seat_wakes_both_ends(lane: Lane) -> None:
    seat = Seat(lane, Graph.chain([]), Telemetry(), depth=1)
    with StepGroup(seat) as steps:
        steps.start("get", seat.get)
        steps.cancel()
    with pytest.raises(Cancelled):
        seat.put(picture(8, 8))
