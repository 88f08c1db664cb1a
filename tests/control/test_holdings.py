"""What a node carries by the coordinator's word, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgen.control.coordinator.commands import Assign, Change
from streamgen.control.coordinator.events import Running
from streamgen.control.holdings import MOST_FENCED, Holdings, read, written
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.errors import ConfigError

PROFILE = Profile("starry-720p30", (Resources(cpu_ms=900, memory_mb=500),), frozenset({"starry"}))
WORK = Work("x", PROFILE, Standing.LIVE_PAID)
GRANT = Assign(WORK, "node-1", 7, "token-7", Cut.NOTHING)


class Stream:
    stopped = False

    cut = Cut.NOTHING

    def stop(self) -> None:
        self.stopped = True

    def give_up(self, cut: Cut) -> None:
        self.cut = cut


def test_a_word_goes_over_the_link_and_back() -> None:
    assert read(written(GRANT)) == GRANT
    with pytest.raises(ConfigError, match="not understood"):
        read({"work": 1})


def test_an_older_owner_may_not_begin_and_ends_when_a_later_one_begins() -> None:
    holdings, former, stream = Holdings("node-1"), Stream(), Stream()
    holdings.begin(GRANT, former)
    assert holdings.running() == (Running(WORK, 7, Cut.NOTHING),)
    assert holdings.models() == ("starry",)
    later = replace(GRANT, epoch=8)
    assert not holdings.refusal(later)
    holdings.begin(later, stream)
    assert former.stopped and not stream.stopped
    assert "later owner" in holdings.refusal(GRANT)
    assert not holdings.refusal(later)  # the edge asks anew: its publisher has another codec


def test_what_a_stream_is_to_give_up_is_its_own_at_once_and_is_reported() -> None:
    holdings, stream, beside = Holdings("node-1"), Stream(), Stream()
    holdings.begin(replace(GRANT, cut=Cut.RUNGS), stream)
    assert stream.cut is Cut.RUNGS
    holdings.begin(GRANT, beside)  # its edge changes over to another pipeline
    other = replace(WORK, profile=replace(PROFILE, name="wave-720p30"))
    assert holdings.change(Change(other, "node-1", 7, Cut.ENHANCEMENT))
    assert stream.cut is beside.cut is Cut.ENHANCEMENT
    assert holdings.running() == (Running(other, 7, Cut.ENHANCEMENT),)
    assert not holdings.change(Change(other, "node-1", 8, Cut.NOTHING))
    assert stream.cut is Cut.ENHANCEMENT


def test_what_was_taken_back_may_not_begin_any_more() -> None:
    holdings, stream = Holdings("node-1"), Stream()
    holdings.begin(GRANT, stream)
    assert holdings.revoke("x", 7)
    assert stream.stopped
    assert "later owner" in holdings.refusal(GRANT)
    holdings.ended(stream)
    assert holdings.running() == () and not len(holdings)


def test_a_word_for_another_node_or_with_a_token_that_the_coordinator_did_not_give_is_refused() -> (
    None
):
    holdings = Holdings("node-1")
    assert "node-2" in holdings.refusal(replace(GRANT, node="node-2"))
    holdings.told(GRANT)
    assert "token" in holdings.refusal(replace(GRANT, token="forged"))
    assert not holdings.refusal(GRANT)


def test_an_edge_that_had_a_stream_before_the_newest_one_may_not_have_it_here() -> None:
    """Both have the same coordinator's word: the stream's worker stays where its edge changes."""
    holdings, theirs, ours, other = Holdings("node-1"), Stream(), Stream(), Stream()
    holdings.begin(replace(GRANT, work=replace(WORK, name="y")), other, home=1)
    holdings.begin(GRANT, theirs, home=3)
    assert not holdings.refusal(GRANT, 4)
    holdings.begin(GRANT, ours, home=4)
    assert theirs.stopped and not ours.stopped and not other.stopped
    holdings.ended(theirs)
    assert "later home" in holdings.refusal(GRANT, 3)
    assert "later home" in holdings.refusal(replace(GRANT, epoch=9), 3)
    assert not holdings.refusal(GRANT, 4)  # it asks anew
    assert not holdings.refusal(GRANT)  # an edge that says nothing of homes
    holdings.begin(replace(GRANT, epoch=8), Stream(), home=4)
    assert ours.stopped  # by the coordinator's word, as ever


def test_what_is_remembered_of_streams_is_bounded() -> None:
    holdings = Holdings("node-1")
    for number in range(MOST_FENCED + 1):
        holdings.told(replace(GRANT, work=replace(WORK, name=f"s{number}")))
    first, last = (replace(WORK, name=f"s{number}") for number in (0, MOST_FENCED))
    assert not holdings.refusal(replace(GRANT, work=first, epoch=1))
    assert holdings.refusal(replace(GRANT, work=last, epoch=1))
