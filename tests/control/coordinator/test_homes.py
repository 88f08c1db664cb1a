"""At which edge each stream is, whoever dies, and who may say so."""

from __future__ import annotations

import pytest

from streamgen.control.api import views
from streamgen.control.coordinator import homes as homes_module
from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.desk import EDGE_GONE_MS
from streamgen.control.coordinator.directory import EdgeLeft, EdgeRegistered
from streamgen.control.coordinator.events import StreamReleased, StreamWanted
from streamgen.control.coordinator.fencing import Epochs
from streamgen.control.coordinator.homes import (
    KEPT_MS,
    LONGEST_PASSPORT,
    Home,
    Homes,
    KnownHome,
    StreamClaimed,
    StreamLeft,
    StreamSought,
    StreamUnsought,
)
from streamgen.control.coordinator.messages import opened, sealed
from streamgen.media.envelope import LinkError
from tests.control.coordinator.acting import work
from tests.control.coordinator.housed import HERE, Scene, door


def test_the_newest_publisher_wins_and_the_former_home_and_who_seeks_are_told() -> None:
    scene = Scene()
    scene.say(StreamSought("s", "edge-c"))
    assert scene.told("edge-c") == Home("s", "", 0)
    first = scene.claim("s", "edge-a", passport="first")
    assert first.epoch >> 32 == 3
    place = "tcp://edge-a:7200", "ab" * 32
    assert scene.told("edge-c") == Home("s", "edge-a", first.epoch, *place, "first")
    second = scene.claim("s", "edge-b")
    assert second.epoch > first.epoch
    assert (second.edge, second.passport) == ("edge-b", "first"), "it goes on as it was"
    for edge in ("edge-a", "edge-c"):
        assert (scene.told(edge).edge, scene.told(edge).epoch) == ("edge-b", second.epoch)
    assert scene.told("edge-a").ask == ""


def test_a_claim_that_is_said_twice_is_one_and_one_that_was_superseded_stays_so() -> None:
    scene = Scene()
    first = scene.claim("s", "edge-a")
    asked = StreamClaimed("s", "edge-a", 0, "", first.ask)
    scene.say(asked)
    assert scene.told("edge-a") == first
    second = scene.claim("s", "edge-b")
    scene.say(asked)
    answer = scene.told("edge-a")
    assert (answer.edge, answer.epoch, answer.ask) == ("edge-b", second.epoch, first.ask)
    scene.say(StreamClaimed("s", "edge-a", first.epoch))
    assert scene.told("edge-a").edge == "edge-b"


def test_another_publisher_at_its_home_changes_nothing_there_but_wins_it_back() -> None:
    scene = Scene()
    first = scene.claim("s", "edge-a")
    assert scene.claim("s", "edge-a", first.epoch).epoch == first.epoch
    second = scene.claim("s", "edge-b")
    third = scene.claim("s", "edge-a", first.epoch)
    assert (third.edge, scene.told("edge-b").edge) == ("edge-a", "edge-a")
    assert third.epoch > second.epoch


def test_an_edge_that_was_started_anew_is_another_home() -> None:
    scene = Scene()
    first = scene.claim("s", "edge-a", passport="first")
    scene.hear("edge", "edge-a", door("edge-a"))
    again = scene.claim("s", "edge-a")
    assert again.epoch > first.epoch and again.passport == "first"


def test_a_newer_passport_is_told_to_who_seeks_and_is_remembered() -> None:
    scene = Scene()
    home = scene.claim("s", "edge-a", passport="one")
    scene.say(StreamSought("s", "edge-c"))
    scene.say(StreamClaimed("s", "edge-a", home.epoch, "two"))
    assert scene.told("edge-c").passport == "two"
    number = len(scene.by["edge-c"])
    scene.say(StreamClaimed("s", "edge-a", home.epoch, "two"))
    scene.say(StreamClaimed("s", "edge-a", home.epoch))
    assert len(scene.by["edge-c"]) == number, "that is no news"
    assert scene.remembered() == (KnownHome("s", "edge-a", home.epoch, "two"),)


def test_only_its_home_says_what_a_stream_is_and_that_it_is_over() -> None:
    scene = Scene()
    first = scene.claim("s", "edge-a", passport="first")
    second = scene.claim("s", "edge-b")
    scene.say(StreamClaimed("s", "edge-a", first.epoch, "of the former home"))
    scene.say(StreamLeft("s", "edge-a", first.epoch))
    scene.say(StreamLeft("s", "edge-a", second.epoch))
    scene.say(StreamLeft("s", "edge-a", 0))
    home = scene.desk.homes.get("s")
    assert home is not None and (home.edge, home.passport) == ("edge-b", "first")
    scene.say(StreamSought("s", "edge-c"))
    scene.say(StreamLeft("s", "edge-b", second.epoch))
    assert scene.told("edge-c") == Home("s", "", second.epoch)
    assert scene.desk.homes.get("s") is None and scene.remembered() == ()


def test_an_edge_that_ends_a_stream_before_it_was_told_its_epoch_ends_it() -> None:
    scene = Scene()
    scene.claim("s", "edge-a")
    scene.say(StreamLeft("s", "edge-a", 0))
    assert scene.desk.homes.get("s") is None


def test_nobody_claims_or_ends_or_seeks_in_anothers_name() -> None:
    scene = Scene()
    home = scene.claim("s", "edge-a")
    scene.by.clear()
    for kind, name in (("edge", "edge-b"), ("worker", "edge-a"), ("worker", "node-1")):
        for message in (
            StreamClaimed("s", "edge-a", home.epoch, "mine"),
            StreamClaimed("t", "edge-a", ask="x"),
            StreamLeft("s", "edge-a", home.epoch),
            StreamSought("s", "edge-a"),
            StreamUnsought("s", "edge-a"),
            home,
        ):
            scene.hear(kind, name, message)  # type: ignore[arg-type]
    assert scene.by == {}
    assert scene.desk.figures.ignored.total() == 18
    assert scene.desk.homes.get("t") is None


def test_an_edge_whose_stream_has_its_home_elsewhere_neither_wants_nor_ends_it() -> None:
    """It froze, wakes, says all anew, and hears only then that another one has the stream."""
    scene = Scene()
    for edge in ("edge-a", "edge-b"):
        scene.claim("s", edge)
        scene.hear("edge", edge, StreamWanted(work("s"), None), scene.desk.epoch)
        assert scene.desk.edge_of == {"s": edge}
    scene.hear("edge", "edge-a", StreamWanted(work("s"), None), scene.desk.epoch)
    scene.hear("edge", "edge-a", StreamReleased("s"), scene.desk.epoch)
    cluster = scene.desk.coordinator.cluster
    assert cluster is not None and "s" in cluster.streams
    assert scene.desk.edge_of == {"s": "edge-b"}
    assert scene.desk.figures.ignored.total() == 2


def test_the_streams_of_an_edge_that_died_are_its_until_others_claim_them() -> None:
    scene = Scene()
    home = scene.claim("s", "edge-a", passport="first")
    scene.say(StreamSought("s", "edge-c"))
    told = len(scene.by["edge-c"])
    silent = {"edge-b": 100, "edge-c": 100, "edge-a": EDGE_GONE_MS}
    scene.later(30_000, silent)
    assert "edge-a" not in scene.desk.directory
    assert len(scene.by["edge-c"]) == told, "who seeks keeps what it has"
    scene.say(StreamSought("s", "edge-b"))
    assert (scene.told("edge-b").edge, scene.told("edge-b").epoch) == ("edge-a", home.epoch)
    taken = scene.claim("s", "edge-b")
    assert taken.passport == "first"
    assert scene.told("edge-c").edge == "edge-b"


def test_who_claims_a_stream_is_told_for_how_long_its_home_was_gone() -> None:
    scene = Scene()
    scene.claim("s", "edge-a", passport="first")
    assert scene.claim("s", "edge-b").alone_ms == 0  # that lives
    scene.hear("edge", "edge-b", EdgeLeft("edge-b"))
    scene.later(30_000, HERE)
    answer = scene.claim("s", "edge-c")
    assert answer.passport == "first" and 29_000 <= answer.alone_ms <= 31_000
    assert scene.claim("s", "edge-b").alone_ms == 0


def test_what_a_dead_edge_said_is_kept_a_while_and_no_longer() -> None:
    scene = Scene()
    gone = scene.claim("s", "edge-a", passport="first")
    other = scene.claim("t", "edge-b")
    scene.say(StreamSought("s", "edge-c"))
    scene.hear("edge", "edge-a", EdgeLeft("edge-a"))
    scene.now_ms += KEPT_MS - 2_000
    scene.later(1_000, HERE)
    assert scene.desk.homes.get("s") is not None
    scene.later(1_000, HERE)
    assert scene.desk.homes.get("s") is None
    assert scene.told("edge-c") == Home("s", "", gone.epoch)
    assert scene.remembered() == (KnownHome("t", "edge-b", other.epoch),)
    assert scene.claim("s", "edge-b").passport == ""


def test_of_an_edge_that_is_gone_nothing_is_kept_once_its_streams_are_forgotten() -> None:
    now_ms = 1_000
    homes = Homes(Epochs(3, b"secret"))
    homes.listened()
    for number in range(3):
        edge, stream = f"edge-{number}", f"s{number}"
        homes.registered(door(edge), now_ms)
        homes.hear(StreamClaimed(stream, edge, 0, "", "1"))
        homes.gone([edge], now_ms)
    assert len(homes._doors) == 3, "who seeks them may find more there"
    homes.registered(door("edge-0"), now_ms)
    homes.time_went_by(now_ms + KEPT_MS)
    assert list(homes._doors) == ["edge-0"]
    again = StreamClaimed("s0", "edge-0", 0, "", "2")
    homes.hear(again)
    home = homes.get("s0")
    assert home is not None and home.place == "tcp://edge-0:7200"


def test_an_edge_that_comes_back_with_its_streams_keeps_them_and_without_loses_them() -> None:
    scene = Scene()
    kept = scene.claim("kept", "edge-a")
    scene.claim("lost", "edge-a")
    scene.later(EDGE_GONE_MS, {"edge-b": 100, "edge-c": 100, "edge-a": EDGE_GONE_MS})
    scene.hear("edge", "edge-a", door("edge-a"))
    scene.say(StreamClaimed("kept", "edge-a", kept.epoch))
    scene.now_ms += KEPT_MS
    scene.later(1_000, HERE)
    assert scene.desk.homes.get("lost") is None
    assert scene.desk.homes.get("kept") == Home(
        "kept", "edge-a", kept.epoch, "tcp://edge-a:7200", "ab" * 32
    )


def test_of_streams_whose_edges_are_gone_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes_module, "MOST_ALONE", 3)
    scene = Scene()
    for number in range(5):
        scene.claim(f"s{number}", "edge-a")
    scene.later(1_000, HERE)
    assert len(scene.remembered()) == 5
    scene.hear("edge", "edge-a", EdgeLeft("edge-a"))
    scene.later(500, HERE)
    assert {one.stream for one in scene.remembered()} == {"s2", "s3", "s4"}


def test_one_edge_has_and_seeks_so_many_streams_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(homes_module, "MOST_OF_AN_EDGE", 3)
    scene = Scene()
    for number in range(5):
        scene.say(StreamClaimed(f"s{number}", "edge-a", ask=str(number)))
        scene.say(StreamSought(f"s{number}", "edge-a"))
    assert {one.stream for one in scene.remembered()} == {"s0", "s1", "s2"}
    scene.by.clear()
    for number in range(5):
        scene.claim(f"s{number}", "edge-b" if number < 3 else "edge-c")
    homes = [one for one in scene.by["edge-a"] if isinstance(one, Home)]
    assert {one.stream for one in homes} == {"s0", "s1", "s2"}


def test_where_edges_are_found_now_is_told_to_who_seeks_their_streams() -> None:
    scene = Scene()
    scene.claim("s", "edge-a")
    scene.say(StreamSought("s", "edge-c"))
    scene.hear("edge", "edge-a", EdgeRegistered("edge-a", "/run/a", "", "/run/moved"))
    assert scene.told("edge-c").place == "/run/moved"


def test_who_does_not_seek_any_more_is_told_nothing() -> None:
    scene = Scene()
    scene.say(StreamSought("s", "edge-c"))
    scene.say(StreamSought("s", "edge-b"))
    scene.say(StreamUnsought("s", "edge-b"))
    scene.by.clear()
    scene.hear("edge", "edge-c", door("edge-c"))  # it was started anew, and has not sought yet
    scene.claim("s", "edge-a")
    assert scene.by.keys() == {"edge-a"}


def test_passports_and_homes_of_nobody_go_over_the_wire_within_their_bounds() -> None:
    largest = StreamClaimed("s", "edge-a", 1, "\x01" * LONGEST_PASSPORT, "ask")
    assert opened(sealed(largest, 0), 0).message == largest
    nobody = Home("s", "", 0)
    assert opened(sealed(nobody, 0), 0).message == nobody
    for wrong in (
        StreamClaimed("s", "edge-a", 1, "x" * (LONGEST_PASSPORT + 1)),
        StreamClaimed("s", "edge-a", 1, "\0"),
        StreamClaimed("s", "", 1),
        StreamClaimed("s", "edge-a", -1),
        StreamSought("two\nlines", "edge-a"),
        StreamLeft("s", "e" * 65, 1),
        StreamClaimed("s", "edge-a", 1, "", "x" * 1_001),
    ):
        with pytest.raises(LinkError):
            opened(sealed(wrong, 0), 0)


def test_the_api_says_where_streams_are_and_how_many_each_edge_has() -> None:
    scene = Scene()
    scene.node()
    scene.want("edge-a", work("s"))
    home = scene.claim("s", "edge-a")
    scene.claim("t", "edge-a")
    cluster = scene.desk.coordinator.cluster
    assert cluster is not None
    [row] = views.streams(scene.desk, cluster, scene.now_ms)
    assert row["home"] == {"edge": "edge-a", "epoch": home.epoch}
    edges = views.nodes(scene.desk, cluster, scene.now_ms)["edges"]
    assert [(one["name"], one["homes"]) for one in edges] == [
        ("edge-a", 2),
        ("edge-b", 0),
        ("edge-c", 0),
    ]


def test_what_is_remembered_is_said_once_for_each_change() -> None:
    scene = Scene()
    scene.persisted.clear()
    home = scene.claim("s", "edge-a")
    scene.say(StreamClaimed("s", "edge-a", home.epoch))
    scene.later(1_000, HERE)
    assert scene.persisted == [Persist(homes=(KnownHome("s", "edge-a", home.epoch),))]
