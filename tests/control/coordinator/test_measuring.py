"""What nodes measure counts for what is placed from then on, and moves nothing that runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from streamgen.control.coordinator.commands import Assign, Change, Move, Persist, Refuse, Revoke
from streamgen.control.coordinator.events import (
    NodeMeasured,
    NodeRegistered,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.coordinator.seeking import no_room
from streamgen.control.placement.resources import Profile, Resources, Standing, Subject
from streamgen.control.placement.scheduler import Force, Full
from tests.control.coordinator.test_stateful import NODES, STREAMS, Anything
from tests.control.coordinator.world import NODE, World, work

SUBJECT = Subject("starry-1", 1280, 720, 30)
SAID = Profile(
    "starry", (Resources(1500, memory_mb=500), Resources(400, memory_mb=500)), subject=SUBJECT
)
ROOM = NODE.cpu_ms * 9 // 10


def seen(cpu_ms: int, memory_mb: int = 0) -> Profile:
    return Profile("starry", (Resources(cpu_ms, memory_mb=memory_mb),), subject=SUBJECT)


def measure(world: World, name: str, *profiles: Profile) -> None:
    world.measured[name] = profiles
    world.say(NodeMeasured(name, profiles))


@pytest.fixture
def world() -> World:
    world = World()
    world.register("one")
    world.register("two")
    return world


def planned(world: World, name: str) -> int:
    cluster = world.coordinator.cluster
    assert cluster is not None
    return cluster.streams[name].work.profile.needs[0].cpu_ms


def test_a_stream_is_placed_by_what_was_measured_and_else_by_what_its_edge_says(
    world: World,
) -> None:
    world.want("a", SAID)
    assert planned(world, "a") == 1500
    measure(world, "one", seen(600))
    world.want("b", SAID)
    assert planned(world, "b") == 600
    measure(world, "two", seen(700, memory_mb=900))
    world.want("c", SAID)
    cluster = world.coordinator.cluster
    assert cluster is not None
    assert cluster.streams["c"].work.profile.needs == (
        Resources(700, memory_mb=900),
        Resources(400, memory_mb=900),
    )


def test_what_runs_is_neither_moved_nor_told_anything_by_a_measurement(world: World) -> None:
    for name in "abcd":
        world.want(name, SAID)
    world.settle()
    owners = {name: world.owner(name) for name in "abcd"}
    commands = world.say(NodeMeasured("two", (seen(1700),)))
    assert all(isinstance(one, Persist) for one in commands)
    for name in "abcd":  # their edge says again what it wants
        said = world.say(StreamWanted(work(name, SAID), 0, world.fence[name]))
        assert not any(isinstance(one, Assign | Move | Change | Revoke | Refuse) for one in said)
    world.settle()
    assert {name: world.owner(name) for name in "abcd"} == owners
    world.machines["one"].up = False
    world.say(WorkerLost("one"))  # who is taken over is planned anew
    world.settle()
    assert {name: planned(world, name) for name in world.wanted} == {
        name: 1700 if owner == "one" else 1500 for name, owner in owners.items()
    }


def test_who_waits_is_let_in_as_soon_as_less_is_known_to_be_enough(world: World) -> None:
    full = Profile("full", (Resources(ROOM - 700),))
    for name in ("x", "y"):
        world.want(name, full)
    never = Profile("starry", SAID.needs[:1], subject=SUBJECT)
    for name in "abc":
        world.want(name, never, patience_ms=60_000)
    assert world.owner("a") is None
    measure(world, "one", seen(600))
    assert [world.owner(name) is None for name in "abc"] == [False, False, True]
    assert world.owner("a") != world.owner("b")


def test_the_next_leader_knows_what_was_measured_and_changes_nothing(world: World) -> None:
    measure(world, "one", seen(600))
    world.want("a", SAID)
    world.settle()
    before = world.owner("a"), planned(world, "a")
    world.lead()
    world.settle()
    assert (world.owner("a"), planned(world, "a")) == before
    assert not world.refused
    world.want("b", SAID)
    assert planned(world, "b") == 600
    measure(world, "one", seen(800))
    world.lead()
    world.settle()
    assert (world.owner("a"), planned(world, "a")) == before
    world.want("c", SAID)
    assert planned(world, "c") == 800


def test_a_node_that_is_gone_or_began_anew_has_measured_what_it_says_then(world: World) -> None:
    measure(world, "one", seen(600))
    world.say(NodeRegistered("one", "another", NODE, (), (), (seen(900),)))
    world.want("a", SAID)
    assert planned(world, "a") == 900
    world.say(StreamReleased("a"))
    world.say(WorkerLost("one"))
    world.want("b", SAID)
    assert planned(world, "b") == 1500


def test_what_does_not_fit_as_measured_gives_something_up_or_is_refused(world: World) -> None:
    measure(world, "one", seen(ROOM + 1))
    assert any(isinstance(one, Assign) and one.cut for one in world.want("a", SAID))
    never = Profile("starry", SAID.needs[:1], subject=SUBJECT)
    [refuse] = [one for one in world.want("b", never) if isinstance(one, Refuse)]
    assert f"cpu_ms {ROOM + 1}" in refuse.reason


def test_only_who_waits_for_the_same_to_the_letter_is_planned_by_it(world: World) -> None:
    for name in ("x", "y"):
        world.want(name, Profile("full", (Resources(ROOM - 700),)))
    small = Subject("starry-1", 640, 360, 30)
    kinds = [Profile("starry", SAID.needs[:1], subject=subject) for subject in (SUBJECT, small)]
    for name, kind in zip("ab", kinds, strict=True):
        world.want(name, kind, patience_ms=60_000)
    measure(world, "one", replace(seen(600), subject=small))
    assert (world.owner("a"), world.owner("b") is None) == (None, False)


def test_an_edge_that_says_again_what_it_waits_for_asks_for_nothing_else(world: World) -> None:
    measure(world, "one", seen(ROOM + 1))
    never = Profile("starry", SAID.needs[:1], subject=SUBJECT)
    world.want("a", never, patience_ms=60_000)
    assert planned(world, "a") == ROOM + 1
    [refuse] = [one for one in world.want("a", never) if isinstance(one, Refuse)]  # at once now
    assert refuse.stream == "a"


def test_a_stream_that_becomes_what_was_measured_is_planned_by_it(world: World) -> None:
    measure(world, "one", seen(600))
    world.want("a", Profile("other", (Resources(100),)))
    world.settle()
    world.want("a", SAID)
    assert planned(world, "a") == 600


def test_what_runs_is_taken_up_as_it_was_planned_by_a_leader_whose_store_forgot_all(
    world: World,
) -> None:
    measure(world, "one", seen(600))
    world.want("a", SAID)
    world.settle()
    before = world.owner("a")
    world.rows = {name: replace(row, profiles=()) for name, row in world.rows.items()}
    world.streams.clear()
    world.lead()
    world.settle()
    assert (world.owner("a"), planned(world, "a")) == (before, 600)
    assert not world.refused


def test_whoever_asks_whether_there_is_room_is_told_by_what_was_measured(world: World) -> None:
    cluster = world.coordinator.cluster
    assert cluster is not None
    never = work("b", Profile("starry", SAID.needs[:1], subject=SUBJECT))
    assert no_room(cluster, never, 0) is None
    measure(world, "one", seen(ROOM + 1))
    wait = no_room(cluster, never, 0)
    assert wait is not None and f"cpu_ms {ROOM + 1}" in wait.reason


class AnythingMeasured(Anything):
    """As there, with nodes that measure."""

    @rule(name=STREAMS, standing=st.sampled_from(Standing), patience=st.sampled_from([0, 60_000]))
    def want_what_is_measured(self, name: str, standing: Standing, patience: int) -> None:
        self.want(name, SAID, standing, patience)

    @rule(name=NODES, cpu_ms=st.sampled_from([0, 200, 1400, 2500, 5000]), memory=st.booleans())
    def measure(self, name: str, cpu_ms: int, memory: bool) -> None:
        machine = self.world.machines.get(name)
        if machine is not None and machine.up and not machine.cut_off:
            profiles = [seen(cpu_ms, 1500 * memory)] if cpu_ms else []
            measure(self.world, name, *profiles)

    @invariant()
    def nobody_waits_beside_room(self) -> None:
        cluster = self.cluster
        if not cluster.settled:
            return
        for name in cluster.waiting:
            stream = cluster.streams[name]
            asked = cluster.catalogue.planned(stream.work)
            if stream.here is None:
                answer = cluster.scheduler.place(asked, force=Force.NOBODY, away=stream.avoid)
                assert isinstance(answer, Full), f"{name} has room on {answer.node}"

    @invariant()
    def the_store_knows_what_was_measured(self) -> None:
        for node in self.cluster.nodes:
            assert self.world.rows[node.name].profiles == node.profiles


AnythingMeasured.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=False
)
TestAnythingMeasured = pytest.mark.timeout(300)(AnythingMeasured.TestCase)
