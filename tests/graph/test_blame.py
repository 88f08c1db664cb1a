"""What anybody's stage may do wrong at any of its methods: it costs that picture at most."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from streamgen.errors import ConfigError, StageError
from streamgen.graph.blame import Blame
from streamgen.graph.lane import Lane
from streamgen.media.port import PICTURE
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from tests.graph.marks import Failing, Mark, carry, frames, graph_of


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane(threads=2) as lane:
        yield lane


class Nonsense(Mark):
    """Gives `what` for its second picture."""

    def __init__(self, what: Any) -> None:
        super().__init__(1)
        self.what = what

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        made = super().process(inputs, params)
        if self.seen[-1] != 1:
            return made
        if self.what is sys.exit:
            sys.exit(3)
        given: Mapping[str, Value] = self.what
        return given


@pytest.mark.parametrize(
    "what",
    [None, [], 5, {PICTURE: None}, {PICTURE: b"pixels"}, {"other": 1}, sys.exit],
    ids=["none", "list", "number", "no picture", "bytes", "undeclared", "exit"],
)
def test_what_is_no_output_at_all_costs_that_picture_only(lane: Lane, what: Any) -> None:
    telemetry = Telemetry()
    graph = graph_of({"n": {"from": "source"}}, {"n": Nonsense(what)}, telemetry)
    out = carry(lane, graph, frames(4), telemetry)
    assert out == [(0, 1), (1, 0), (2, 1), (3, 1)]
    assert telemetry.counts("failed") == {"n": 1}


@pytest.mark.parametrize("given", [None, {PICTURE: 5}], ids=["nothing", "nonsense"])
def test_a_bypass_that_fails_drops_its_picture_only(lane: Lane, given: Any) -> None:
    class Bypassing(Failing):
        def bypass(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            if given is None:
                raise ValueError("no way around")
            made: Mapping[str, Value] = given
            return made

    telemetry = Telemetry()
    graph = graph_of({"b": {"from": "source"}}, {"b": Bypassing(1, lambda n: n == 1)}, telemetry)
    assert carry(lane, graph, frames(4), telemetry) == [(0, 1), (2, 1), (3, 1)]
    assert sum(telemetry.counts("dropped").values()) == 1


@pytest.mark.parametrize("given", ["raises", None, [5], [{PICTURE: None}]])
def test_a_flush_that_fails_gives_its_pictures_as_they_came(lane: Lane, given: Any) -> None:
    class Held(Mark):
        latency = 2
        state = "ordered"
        held = 0

        def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
            self.held += 1
            return super().process(inputs, params) if self.held > 2 else {}

        def flush(self) -> Sequence[Mapping[str, Value]]:
            if given == "raises":
                raise ValueError("nothing to give")
            made: Sequence[Mapping[str, Value]] = given
            return made

    telemetry = Telemetry()
    graph = graph_of({"h": {"from": "source"}}, {"h": Held(1)}, telemetry)
    out = carry(lane, graph, frames(5), telemetry)
    assert out == [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0)]


def test_a_stage_that_cannot_forget_is_not_called_with_its_past(lane: Lane) -> None:
    class Stuck(Mark):
        state = "ordered"

        def reset(self) -> None:
            super().reset()
            if len(self.resets) == 1:
                raise ValueError("not yet")

    telemetry, stage = Telemetry(), Stuck(1)
    graph = graph_of({"s": {"from": "source"}}, {"s": stage}, telemetry)
    given = [frame.retimed(epoch=frame.pts // 2) for frame in frames(4)]
    assert carry(lane, graph, given, telemetry) == [(0, 1), (1, 1), (2, 0), (3, 1)]
    assert stage.resets == [2, 2]


@pytest.mark.parametrize("method", ["prepare", "output_size", "close"])
def test_at_the_start_and_the_end_an_error_names_the_stage(method: str) -> None:
    stage, other = Mark(), Mark()

    def broken(*_: Any) -> Any:
        raise ValueError("out of order")

    setattr(stage, method, broken)
    written = {"first": {"from": "source"}, "second": {"from": "first"}}
    graph = graph_of(written, {"first": stage, "second": other}, Telemetry())
    [frame] = frames(1)
    with pytest.raises(StageError, match=r"(first|close of Mark): ValueError: out of order"):
        try:
            graph.prepare(frame.width, frame.height, frame.color)
        finally:
            graph.close()
    assert other.closed


def test_errors_of_our_own_and_interrupts_pass_as_they_are() -> None:
    for error in (ConfigError("a"), KeyboardInterrupt()):
        with pytest.raises(type(error)), Blame("s"):
            raise error
    with pytest.raises(StageError, match="s: ValueError: odd") as caught, Blame("s", 7):
        raise ValueError("odd")
    assert (caught.value.stage, caught.value.pts) == ("s", 7)
