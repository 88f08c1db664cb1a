"""Streams go to nodes that have what their pipelines need, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamgen.control.coordinator.commands import Assign, Move, Refuse, Wait
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    Event,
    LeaseGained,
    NodeRegistered,
    StreamChanged,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.coordinator.messages import opened, sealed
from streamgen.control.placement.parts import LONGEST_PART, MOST_PARTS
from streamgen.control.placement.resources import Subject
from streamgen.control.placement.scheduler import Work
from streamgen.media.envelope import LinkError
from tests.control.coordinator.world import NODE, PROFILES, SECRET, work

TINT = "stage 'tint'"


class Leader:
    def __init__(self) -> None:
        self._coordinator = Coordinator(SECRET)
        self.say(LeaseGained(1))

    def say(self, event: Event) -> list[Any]:
        """What it answers; the event comes by the wire."""
        heard = event if isinstance(event, LeaseGained) else opened(sealed(event, 0), 0).message
        kinds = (Assign, Move, Wait, Refuse)
        said = self._coordinator.handle(heard, 0)  # type: ignore[arg-type]
        return [one for one in said if isinstance(one, kinds)]


def has(name: str, *parts: str, boot: str = "0") -> NodeRegistered:
    return NodeRegistered(name, boot, NODE, parts=frozenset(parts))


def tinted(name: str = "live") -> Work:
    subject = Subject("tinted-1", 1280, 720, 30)
    profile = replace(PROFILES[0], subject=subject)
    return replace(work(name, profile), parts=frozenset({TINT}))


def test_a_stream_goes_to_the_node_that_has_the_stage_and_not_on_to_one_that_has_not() -> None:
    leader = Leader()
    leader.say(has("plain"))
    leader.say(has("tints", TINT))
    [assign] = leader.say(StreamWanted(tinted(), 0))
    assert (type(assign), assign.node, assign.work.parts) == (Assign, "tints", {TINT})
    leader.say(StreamWanted(tinted(), None, assign.epoch))
    [wait] = leader.say(WorkerLost("tints"))
    assert wait == Wait("live", "no node has stage 'tint'", None)
    [assign] = leader.say(has("tints", TINT, boot="1"))
    assert (type(assign), assign.node) == (Assign, "tints")


def test_what_no_node_has_is_refused_at_once_and_in_words() -> None:
    leader = Leader()
    leader.say(has("plain"))
    assert leader.say(StreamWanted(tinted(), 0)) == [
        Refuse("live", "no node has stage 'tint'", None)
    ]


def test_who_waits_gets_in_once_a_node_says_that_it_has_it_now() -> None:
    leader = Leader()
    leader.say(has("plain"))
    [wait] = leader.say(StreamWanted(tinted(), None))
    assert wait == Wait("live", "no node has stage 'tint'", None)
    [assign] = leader.say(has("plain", TINT))
    assert (type(assign), assign.node) == (Assign, "plain")


def test_a_stream_that_becomes_another_moves_where_its_node_lacks_what_it_needs_then() -> None:
    leader = Leader()
    leader.say(has("plain"))
    [assign] = leader.say(StreamWanted(work("live"), 0))
    assert assign.node == "plain"
    leader.say(has("tints", TINT))
    [move] = leader.say(StreamChanged(tinted()))
    assert (type(move), move.node) == (Move, "tints")


def test_a_later_edge_says_what_an_earlier_one_did_not() -> None:
    leader = Leader()
    leader.say(has("tints", TINT))
    [assign] = leader.say(StreamWanted(replace(tinted(), parts=frozenset()), None))
    assert leader.say(StreamWanted(tinted(), None, assign.epoch)) == []
    leader.say(has("plain"))
    [wait] = leader.say(WorkerLost("tints"))
    assert isinstance(wait, Wait)


@pytest.mark.parametrize(
    "wrong",
    [
        frozenset(f"model '{number}'" for number in range(MOST_PARTS + 1)),
        frozenset({"m" * (LONGEST_PART + 1)}),
        frozenset({"two\nlines"}),
    ],
)
def test_too_many_parts_or_too_long_ones_are_no_message(wrong: frozenset[str]) -> None:
    for message in (has("one", *wrong), StreamWanted(replace(tinted(), parts=wrong), 0)):
        with pytest.raises(LinkError, match="too many parts"):
            opened(sealed(message, 0), 0)
