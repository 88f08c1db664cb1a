"""Where streams are, as the next leader knows it, whatever is in the store."""

from __future__ import annotations

import pytest

from streamgen.control.coordinator.desk import LISTEN_MS
from streamgen.control.coordinator.homes import Home, StreamClaimed, StreamLeft, StreamSought
from tests.control.coordinator.housed import EDGES, HERE, Scene


def test_the_next_leader_goes_on_with_what_was_remembered_and_what_edges_say_again() -> None:
    scene = Scene()
    home = scene.claim("s", "edge-a", passport="first")
    gone = scene.claim("t", "edge-b", passport="of a dead edge")
    scene.next_leader(scene.remembered(), "edge-a", "edge-c")
    scene.say(StreamClaimed("s", "edge-a", home.epoch, "second"))
    assert "edge-a" not in scene.by, "as it was: that is no news"
    scene.say(StreamSought("s", "edge-c"))
    assert scene.told("edge-c") == Home(
        "s", "edge-a", home.epoch, "tcp://edge-a:7200", "ab" * 32, "second"
    )
    taken = scene.claim("t", "edge-c")
    assert taken.passport == "of a dead edge" and taken.epoch > gone.epoch


def test_a_leader_says_that_a_stream_is_nowhere_once_all_edges_had_time_to_say_so() -> None:
    scene = Scene()
    scene.next_leader((), *EDGES)
    scene.say(StreamSought("s", "edge-c"))
    assert "edge-c" not in scene.by
    scene.later(LISTEN_MS, HERE)
    assert scene.told("edge-c") == Home("s", "", 0)


@pytest.mark.parametrize("first", ["edge-a", "edge-b"])
def test_of_two_homes_that_a_leader_does_not_know_the_newer_one_is_right(first: str) -> None:
    scene = Scene()
    old = scene.claim("s", "edge-a")
    new = scene.claim("s", "edge-b")
    scene.next_leader((), *EDGES)
    said = {"edge-a": old.epoch, "edge-b": new.epoch}
    for edge in (first, *(said.keys() - {first})):
        scene.say(StreamClaimed("s", edge, said[edge], f"of {edge}"))
    home = scene.desk.homes.get("s")
    assert home is not None and (home.edge, home.passport) == ("edge-b", "of edge-b")
    assert home.epoch > new.epoch
    for edge in ("edge-a", "edge-b"):
        assert (scene.told(edge).edge, scene.told(edge).epoch) == ("edge-b", home.epoch)


def test_a_store_that_is_older_than_the_truth_takes_no_stream_back_to_a_former_home() -> None:
    scene = Scene()
    old = scene.claim("s", "edge-a")
    rows = scene.remembered()
    new = scene.claim("s", "edge-b")
    scene.next_leader(rows, *EDGES)
    scene.say(StreamClaimed("s", "edge-b", new.epoch))
    scene.say(StreamClaimed("s", "edge-a", old.epoch))
    assert scene.told("edge-a").edge == "edge-b"
    assert scene.told("edge-b").epoch > new.epoch


def test_an_older_store_does_not_give_a_home_an_epoch_that_it_had_before() -> None:
    scene = Scene()
    scene.claim("s", "edge-a")
    rows = scene.remembered()
    scene.claim("s", "edge-b")
    newest = scene.claim("s", "edge-a")
    scene.next_leader(rows, *EDGES)
    scene.say(StreamClaimed("s", "edge-a", newest.epoch))
    assert scene.told("edge-a").epoch > newest.epoch


def test_a_stream_that_is_over_is_not_given_back_by_an_older_store() -> None:
    scene = Scene()
    scene.claim("s", "edge-a")
    rows = scene.remembered()
    newest = scene.claim("s", "edge-b")
    scene.next_leader(rows, *EDGES)
    scene.say(StreamLeft("s", "edge-c", 0))
    assert scene.desk.homes.get("s") is not None
    scene.say(StreamLeft("s", "edge-b", newest.epoch))
    assert scene.desk.homes.get("s") is None


def test_a_leader_that_sees_a_home_of_a_later_leader_leads_no_more() -> None:
    for message in (
        StreamClaimed("s", "edge-a", 9 << 32 | 1),
        StreamSought("s", "edge-a", 9 << 32),
    ):
        scene = Scene()
        scene.say(message)
        assert scene.desk.epoch == 0
        scene.hear("edge", "edge-a", StreamClaimed("s", "edge-a", ask="x"))
        assert scene.by == {}
