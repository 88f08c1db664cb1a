"""What people are told of a cluster: once, however often it was said to nodes."""

from __future__ import annotations

from streamgen.control.coordinator.chronicle import MOST, Kind
from streamgen.control.coordinator.events import (
    Drain,
    LeaseLost,
    NodeLeft,
    NodeRegistered,
    NodeReport,
    StreamAttached,
    StreamReleased,
    WorkerLost,
)
from streamgen.control.placement.resources import Profile, Resources
from tests.control.coordinator.acting import CAPACITY, work
from tests.control.coordinator.test_desk import Told


def told_of(told: Told) -> list[tuple[str, str, str, str]]:
    """From old to new."""
    entries = reversed(told.desk.chronicle.latest())
    return [(one.kind.value, one.name, one.source, one.node) for one in entries]


def runs(told: Told) -> None:
    """A stream on the first of two nodes."""
    told.node("node-1")
    told.want("edge-1", work("s"))
    told.hear("edge", "edge-1", StreamAttached("s", "node-1", told.owner().epoch))
    told.node("node-2")


def test_a_move_that_is_said_again_is_one_move() -> None:
    told = Told()
    runs(told)
    told.hear("worker", "node-1", Drain("node-1"))
    moves = [one for one in told.by["node-2"] if type(one).__name__ == "Move"]
    assert len(moves) == 1
    told.now_ms += 2_000
    told.hear("worker", "node-2", NodeReport("node-2", ()))  # it has not heard of it
    moves = [one for one in told.by["node-2"] if type(one).__name__ == "Move"]
    assert len(moves) == 2
    assert told_of(told)[-2:] == [
        ("drains", "node-1", "", ""),
        ("moves", "s", "node-1", "node-2"),
    ]
    assert told.desk.figures.counts["moves"] == 1


def test_a_node_that_dies_and_what_becomes_of_its_stream_are_told() -> None:
    told = Told()
    runs(told)
    told.hear("worker", "node-1", WorkerLost("node-1"))
    # The order of one moment is that of its commands.
    assert set(told_of(told)[-2:]) == {
        ("takeovers", "s", "node-1", "node-2"),
        ("node died", "node-1", "", ""),
    }
    assert told.desk.chronicle.latest(9)[0].at_ms == told.now_ms
    counts = told.desk.figures.counts
    assert (counts["takeovers"], counts["node died"]) == (1, 1)


def test_a_node_that_was_emptied_or_says_goodbye_did_not_die() -> None:
    told = Told()
    told.node("node-1")
    told.node("node-2")
    told.hear("worker", "node-1", Drain("node-1"))
    told.hear("worker", "node-1", NodeReport("node-1", (), cordoned=True))
    told.hear("worker", "node-1", NodeRegistered("node-1", "another boot", CAPACITY))
    told.hear("worker", "node-2", NodeLeft("node-2"))
    assert told_of(told)[1:] == [
        ("node came", "node-1", "", ""),
        ("node came", "node-2", "", ""),
        ("drains", "node-1", "", ""),
        ("drained", "node-1", "", ""),
        ("node left", "node-1", "", ""),
        ("node came", "node-1", "", ""),
        ("node left", "node-2", "", ""),
    ]
    told.hear("worker", "node-1", NodeRegistered("node-1", "a third boot", CAPACITY))
    assert [kind for kind, *_ in told_of(told)[-2:]] == ["node died", "node came"]


def test_a_stream_that_comes_again_is_not_taken_over() -> None:
    told = Told()
    runs(told)
    told.hear("edge", "edge-1", StreamReleased("s"))
    told.want("edge-1", work("s"))
    assert told.desk.figures.counts["takeovers"] == 0


def test_who_waits_and_who_is_refused_is_told_with_the_reason() -> None:
    told = Told()
    told.node()
    big = Profile("big", (Resources(9_000),))
    told.want("edge-1", work("s", big))
    entry = told.desk.chronicle.latest(1)[0]
    assert (entry.kind, entry.name) == (Kind.WAITS, "s")
    assert "cpu_ms" in entry.reason


def test_a_standby_that_begins_to_lead_and_ends_tells_so_once() -> None:
    told = Told()
    told.desk.lost(told.now_ms)
    told.desk.lost(told.now_ms)
    assert told_of(told) == [("leads", "", "", ""), ("leads no more", "", "", "")]
    assert told.desk.chronicle.note(LeaseLost(), [], 0) == []


def test_only_the_latest_is_kept() -> None:
    told = Told()
    for number in range(MOST + 5):
        told.node(f"node-{number}")
    entries = told.desk.chronicle.latest()
    assert len(entries) == MOST and entries[0].name == f"node-{MOST + 4}"
