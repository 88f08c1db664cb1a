"""What a live stream gives up for others: no more than lateness may take from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from streamgen.graph.lane import Lane
from streamgen.graph.seat import Seat
from streamgen.graph.spec import Answer
from streamgen.telemetry import Telemetry
from tests.graph.marks import Mark, directed, frames, graph_of, shown

BUDGET_MS = 60_000


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane(threads=2) as lane:
        yield lane


def shown_of(lane: Lane, answers: Sequence[Answer], gives: Sequence[bool]) -> list[int]:
    """What the only stage made of each picture, while it was given up or not."""
    telemetry = Telemetry()
    graph = graph_of({"a": {"from": "source"}}, {"a": Mark(7)}, telemetry)
    director = directed(graph, telemetry, answers, budget_ms=BUDGET_MS)
    seat = Seat(lane, graph, telemetry, depth=1, parallel=1, director=director)
    given = frames(len(gives), step=10)
    graph.prepare(given[0].width, given[0].height, given[0].color)
    out = []
    for frame, gives_up in zip(given, gives, strict=True):
        director.give_up(stages=gives_up, rungs=False)
        seat.put(frame.retimed(received_ns=telemetry.clock.now_ns()))
        left = seat.get()
        assert left is not None
        out.append(shown(left)[1])
    seat.close()
    assert seat.get() is None
    seat.drain()
    calls = graph.nodes[0].times.count
    graph.close()
    assert calls == sum(mark > 0 for mark in out)  # no trial either: the room is others'
    return out


def test_stages_step_aside_from_one_picture_to_the_next_and_come_back(lane: Lane) -> None:
    answers = [Answer(kind="reuse"), Answer(kind="passthrough")]
    gives = [False, False, True, True, False]
    assert shown_of(lane, answers, gives) == [7, 7, 0, 0, 7]


@pytest.mark.parametrize("kinds", [["slate"], ["reuse", "slate"], ["reuse"], []])
def test_pictures_that_may_not_show_raw_never_do(lane: Lane, kinds: list[str]) -> None:
    answers = [Answer(kind=kind) for kind in kinds]  # type: ignore[arg-type]
    assert shown_of(lane, answers, [False, True, True]) == [7, 7, 7]
