"""A call that does not come back is noticed, and one that is slow is not."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from streamgen.errors import Stuck
from streamgen.media import steps
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.media.queue import Bounded
from streamgen.media.steps import StepGroup
from streamgen.media.vigil import UnderWay, Vigil, WatchedEncoder
from streamgen.testing import picture


class Place:
    """Where calls are made."""

    def __init__(self) -> None:
        self.now: UnderWay | None = None

    def under_way(self) -> UnderWay | None:
        return self.now


def test_the_same_call_is_stuck_when_it_was_seen_too_often() -> None:
    vigil, place, other = Vigil(patience=3, first=5), Place(), Place()
    vigil.watch(other.under_way, place.under_way)
    place.now = UnderWay("encoder av1 of 720p", 7)
    assert [vigil.look() for _ in range(3)] == [None] * 3
    error = vigil.look()
    assert error is not None and error.what == "encoder av1 of 720p"
    assert str(error) == "encoder av1 of 720p has not come back for 3 s"


def test_calls_that_come_back_are_not_however_slow_they_are() -> None:
    vigil, place = Vigil(patience=3, first=5), Place()
    vigil.watch(place.under_way)
    for call in range(20):
        place.now = UnderWay("stage paint", call)
        assert [vigil.look() for _ in range(3)] == [None] * 3
    place.now = None
    assert [vigil.look() for _ in range(20)] == [None] * 20


def test_the_first_call_of_a_stage_is_given_longer() -> None:
    vigil, place = Vigil(patience=3, first=5), Place()
    vigil.watch(place.under_way)
    place.now = UnderWay("stage paint", 1, first=True)
    assert [vigil.look() for _ in range(5)] == [None] * 5
    assert vigil.look() is not None


def test_an_encoder_is_under_way_within_a_call_and_not_after_an_error() -> None:
    seen: list[UnderWay | None] = []

    class Broken:
        track = None

        def encode(self, frame: Frame) -> Sequence[Packet]:
            seen.append(watched.under_way())
            raise ValueError

        def flush(self) -> Sequence[Packet]:
            seen.append(watched.under_way())
            return []

    watched = WatchedEncoder(Broken(), "encoder x")
    with pytest.raises(ValueError):
        watched.encode(picture(2, 2))
    assert watched.under_way() is None
    watched.flush()
    assert watched.under_way() is None
    assert seen == [UnderWay("encoder x", 1), UnderWay("encoder x", 2)]


def test_a_step_that_is_stuck_is_left_behind_and_the_others_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "LOOK_S", 0.01)
    monkeypatch.setattr(steps, "LEAVE_S", 0.05)
    queue: Bounded[int] = Bounded(1)
    gate, ended = threading.Event(), threading.Event()
    looks = iter([None, None, Stuck("x has not come back", what="x")])

    def hangs() -> None:
        gate.wait()

    def reads() -> None:
        try:
            queue.get()
        finally:
            ended.set()

    with pytest.raises(Stuck), StepGroup(queue, look=lambda: next(looks)) as group:
        group.start("stuck", hangs)
        group.start("reads", reads)
    assert ended.is_set()
    gate.set()
