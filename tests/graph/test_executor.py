"""How a graph carries a picture: joins, branches, rates of their own, memory, and what fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streamgen.config import Settings
from streamgen.errors import ConfigError, StageError
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.plan import plan
from streamgen.graph.spec import NodeSpec
from streamgen.media.frame import Frame, Sheet
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from streamgen.testing import picture
from tests.graph.marks import (
    LATEST,
    MS,
    Failing,
    Finder,
    Join,
    Mark,
    Masked,
    carry,
    frames,
    graph_of,
)


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane(threads=2) as lane:
        yield lane


DIAMOND = {
    "a": {"from": "source"},
    "b": {"from": "a"},
    "c": {"from": "a"},
    "out": {"from": {"picture": "b", "other": "c"}},
}


@pytest.mark.parametrize("parallel", [1, 2])
def test_branches_meet_again_at_the_same_picture(lane: Lane, parallel: int) -> None:
    telemetry = Telemetry()
    stages = {"a": Mark(1), "b": Mark(10, late_s=0.003), "c": Mark(100, busy_s=0.001)}
    graph = graph_of(DIAMOND, stages | {"out": Join()}, telemetry)
    out = carry(lane, graph, frames(30), telemetry, parallel=parallel)
    assert out == [(n, 112) for n in range(30)]
    assert stages["a"].seen == list(range(30))  # once for both branches


def test_two_long_branches_run_side_by_side(lane: Lane) -> None:
    telemetry = Telemetry()
    b, c = Mark(10, busy_s=0.02), Mark(100, busy_s=0.02)
    graph = graph_of(DIAMOND, {"a": Mark(), "b": b, "c": c, "out": Join()}, telemetry)
    carry(lane, graph, frames(6), telemetry, parallel=1)
    assert len(b.threads | c.threads) >= 2


def test_a_chain_stays_on_one_thread(lane: Lane) -> None:
    telemetry = Telemetry()
    stages = {name: Mark() for name in "abc"}
    written = {"a": {"from": "source"}, "b": {"from": "a"}, "c": {"from": "b"}}
    carry(lane, graph_of(written, stages, telemetry), frames(10), telemetry, parallel=1)
    assert len({frozenset(stage.threads) for stage in stages.values()}) == 1


def test_a_stage_with_memory_gets_its_pictures_in_order_one_at_a_time(lane: Lane) -> None:
    class Remembering(Mark):
        state = "ordered"
        at_work = 0

        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            self.at_work += 1
            assert self.at_work == 1
            made = super().process(inputs, params)
            ready = made[PICTURE].ready
            assert ready is not None
            ready.on_done(self.leave)
            return made

        def leave(self) -> None:
            self.at_work -= 1

    telemetry = Telemetry()
    stage = Remembering(1, late_s=0.002)
    written = {"uneven": {"from": "source"}, "memory": {"from": "uneven"}}
    graph = graph_of(written, {"uneven": Mark(late_s=0.003), "memory": stage}, telemetry)
    assert carry(lane, graph, frames(20), telemetry) == [(n, 1) for n in range(20)]
    assert stage.seen == list(range(20))


def test_offline_a_detector_at_its_own_rate_serves_the_same_pictures_every_time(
    lane: Lane,
) -> None:
    for late_s in (0, 0.004):
        telemetry = Telemetry()
        finder = Finder(late_s=late_s)
        graph = graph_of(LATEST, {"find": finder, "out": Masked()}, telemetry)
        out = carry(lane, graph, frames(12, step=10), telemetry)
        assert finder.seen == [0, 40, 80]
        assert out == [(10 * n, 1000 + 10 * n // 40 * 40) for n in range(12)]


def test_a_value_that_is_too_old_counts_as_missing(lane: Lane) -> None:
    telemetry = Telemetry()
    written = {
        "find": {"from": "source", "every": "40ms"},
        "out": {
            "from": {
                "picture": "source",
                "mask": {"node": "find", "edge": "latest", "max_age": "15ms"},
            }
        },
    }
    graph = graph_of(written, {"find": Finder(), "out": Masked()}, telemetry)
    out = carry(lane, graph, frames(6, step=10), telemetry)
    assert out == [(0, 1000), (10, 1000), (20, 0), (30, 0), (40, 1040), (50, 1040)]


def test_a_node_whose_wanted_input_is_missing_is_bypassed(lane: Lane) -> None:
    class Wanting(Masked):
        inputs = {PICTURE: Port(), "mask": Port("mask")}  # noqa: RUF012

    telemetry = Telemetry()
    finder = Finder()
    finder.process = lambda inputs, params: (_ for _ in ()).throw(  # type: ignore[method-assign]
        StageError("blind", stage="find", pts=0)
    )
    written = {
        "find": {"from": "source"},
        "out": {"from": {"picture": "source", "mask": "find"}},
    }
    graph = graph_of(written, {"find": finder, "out": Wanting()}, telemetry)
    with pytest.raises(StageError, match="blind"):  # told at the end: it has never worked
        carry(lane, graph, frames(3), telemetry)
    assert telemetry.counts("bypassed") == {"find": 3, "out": 3}


class Delayed(Mark):
    """Gives each picture two calls later."""

    state = "ordered"
    latency = 2

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Frame] = []

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = super().process(inputs, params)[PICTURE]
        assert isinstance(frame, Frame)
        self.kept.append(frame)
        if len(self.kept) <= 2:
            return {}
        return {PICTURE: self.marked(self.kept.pop(0))}

    def flush(self) -> list[Mapping[str, Value]]:
        kept, self.kept = self.kept, []
        return [{PICTURE: self.marked(frame)} for frame in kept]

    @staticmethod
    def marked(frame: Frame) -> Frame:
        return frame.retimed(sar=Fraction(1 + frame.pts + 1))

    def reset(self) -> None:
        assert not self.kept, "reset with pictures inside"
        super().reset()


@pytest.mark.parametrize("number", [1, 2, 3, 20])
def test_a_stage_with_a_latency_loses_no_picture_and_no_order(lane: Lane, number: int) -> None:
    telemetry = Telemetry()
    written = {
        "late": {"from": "source"},
        "now": {"from": "source"},
        "out": {"from": {"picture": "late", "other": "now"}},
    }
    graph = graph_of(written, {"late": Delayed(), "now": Mark(), "out": Join()}, telemetry)
    out = carry(lane, graph, frames(number), telemetry, parallel=1)
    assert out == [(n, n + 1) for n in range(number)]


def test_at_a_break_a_stage_with_a_latency_is_emptied_and_reset(lane: Lane) -> None:
    telemetry = Telemetry()
    stage = Delayed()
    given = [f.retimed(epoch=int(f.pts >= 5)) for f in frames(10)]
    graph = graph_of({"late": {"from": "source"}}, {"late": stage}, telemetry)
    assert carry(lane, graph, given, telemetry) == [(n, n + 1) for n in range(10)]
    assert len(stage.resets) == 1


def test_what_is_repeated_is_not_worked_on_again(lane: Lane) -> None:
    class Every5th(Mark):
        repeats = True
        kept: Frame | None = None

        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            frame = inputs[PICTURE]
            assert isinstance(frame, Frame)
            if self.kept is None or frame.pts % 5 == 0:
                self.kept = frame
            return {PICTURE: frame.retimed(planes=self.kept.planes)}

    telemetry = Telemetry()
    costly, last = Mark(1, late_s=0.002), Mark(1)
    written = {"gate": {"from": "source"}, "costly": {"from": "gate"}, "last": {"from": "costly"}}
    graph = graph_of(written, {"gate": Every5th(), "costly": costly, "last": last}, telemetry)
    own = [f.retimed(planes=picture(16, 16).planes) for f in frames(10)]
    assert carry(lane, graph, own, telemetry, parallel=1) == [(n, 2) for n in range(10)]
    assert costly.seen == last.seen == [0, 5]
    assert telemetry.counts("reused") == {"costly": 8, "last": 8}


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("passthrough", [(0, 7), (1, 0), (2, 7), (3, 0)]),
        ("last_good", [(0, 7), (1, 7), (2, 7), (3, 7)]),
        ("drop", [(0, 7), (2, 7)]),
    ],
)
def test_the_declared_fallback_takes_the_place_of_a_failure(
    lane: Lane, fallback: str, expected: list[tuple[int, int]]
) -> None:
    telemetry = Telemetry()
    stage = Failing(7, lambda pts: pts % 2 == 1)
    graph = graph_of({"f": {"from": "source", "fallback": fallback}}, {"f": stage}, telemetry)
    assert carry(lane, graph, frames(4), telemetry, parallel=1) == expected
    assert telemetry.counts("failed") == {"f": 2}
    assert sum(telemetry.counts("dropped").values()) == 4 - len(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {PICTURE: picture(8, 8)},
        {PICTURE: Sheet("mask", np.zeros((2, 2), np.uint8), 0, Fraction(1))},
        {"mask": Sheet("mask", np.full((2, 2), np.nan, np.float32), 0, Fraction(1))},
        {"mask": Sheet("mask", np.zeros((2, 2), np.uint8), 0, Fraction(1))},
        {"mask": Sheet("mask", np.zeros(2, np.float32), 0, Fraction(1))},
        {"mask": Sheet("mask", [[0.0], []], 0, Fraction(1))},
    ],
    ids=["nothing", "size", "kind", "nan", "dtype", "shape", "ragged"],
)
def test_wrong_outputs_are_a_failure_of_that_picture(
    lane: Lane, wrong: Mapping[str, Value]
) -> None:
    class Wrong(Mark):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            made = super().process(inputs, params)
            return wrong if self.seen[-1] == 1 else made

    class WrongMask(Finder):
        outputs = {"mask": Port("mask", "float32")}  # noqa: RUF012

        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            mask = super().process(inputs, params)["mask"]
            assert isinstance(mask, Sheet)
            right = replace(mask, data=np.zeros((1, 1), np.float32))
            return wrong if self.seen[-1] == 1 else {"mask": right}

    telemetry = Telemetry()
    if "mask" in wrong:
        written = {"w": {"from": "source"}, "out": {"from": {"picture": "source", "mask": "w"}}}

        class AnyMask(Masked):
            inputs = {PICTURE: Port(), "mask": Port("mask", "float32", optional=True)}  # noqa: RUF012

        graph = graph_of(written, {"w": WrongMask(), "out": AnyMask()}, telemetry)
    else:
        graph = graph_of({"w": {"from": "source"}}, {"w": Wrong()}, telemetry)
    assert [pts for pts, _ in carry(lane, graph, frames(4), telemetry)] == [0, 1, 2, 3]
    assert telemetry.counts("failed") == {"w": 1}


class Amount(Settings):
    amount: float = 0.0
    kind: str = "a"


def test_a_change_applies_from_a_stated_picture_on(lane: Lane) -> None:
    telemetry = Telemetry()
    stage = Mark()
    graph = graph_of({"m": {"from": "source"}}, {"m": stage}, telemetry, {"m": Amount()})
    changes = []

    def before(frame: Frame) -> None:
        if frame.pts == 10:
            changes.append(graph.knobs.change("m", {"amount": 1.0}, over_ns=4 * MS))

    carry(lane, graph, frames(20), telemetry, before=before)
    took = changes[0].wait(1)
    assert took is not None
    assert 5 <= took <= 10
    values = [params.amount for params in stage.params]
    assert values == [min(max((pts - took) / 4, 0.0), 1.0) for pts in stage.seen]


def test_a_fixed_parameter_brings_another_stage_at_a_picture(lane: Lane) -> None:
    class Fixed(Mark):
        fixed = frozenset({"kind"})

    telemetry = Telemetry()
    old, new = Fixed(1), Fixed(2)
    specs = {"m": NodeSpec.model_validate({"stage": "m", "from": "source"})}
    built: list[Any] = []

    def build(node: Any, params: Any) -> Any:
        built.append(params)
        return old if params.kind == "a" else new

    graph = Graph(plan(specs, "m", {"m": Contract.of(Fixed)}), build, [Amount()], telemetry)
    changes = []

    def before(frame: Frame) -> None:
        if frame.pts == 10:
            changes.append(graph.knobs.change("m", {"kind": "b"}))

    out = carry(lane, graph, frames(20), telemetry, before=before)
    took = changes[0].wait(1)
    assert took is not None
    assert out == [(n, 1 if n < took else 2) for n in range(20)]
    assert old.closed
    assert new.closed


def test_pictures_of_two_sizes_do_not_meet_by_accident() -> None:
    class Twice(Mark):
        def output_size(self, width: int, height: int) -> tuple[int, int]:
            return 2 * width, 2 * height

    stages = {"b": Twice(), "out": Join()}
    written = {"b": {"from": "source"}, "out": {"from": {"picture": "source", "other": "b"}}}
    graph = graph_of(written, stages, Telemetry())
    with pytest.raises(ConfigError, match=r"node 'out'.*16x16.*'other' is 32x32"):
        graph.output_size(16, 16)


def test_offline_a_detector_that_fails_leaves_its_last_value_as_live_does(lane: Lane) -> None:
    class Often(Finder):
        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            found = super().process(inputs, params)
            if self.seen[-1] in (40, 80):
                raise StageError("blind", stage="find", pts=self.seen[-1])
            return found

    telemetry = Telemetry()
    graph = graph_of(LATEST, {"find": Often(), "out": Masked()}, telemetry)
    out = carry(lane, graph, frames(14, step=10), telemetry)
    assert [mark for _, mark in out] == [1000] * 12 + [1120] * 2
