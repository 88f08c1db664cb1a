"""Nodes die again and again, and before a new leader has heard all: nobody waits longer for it."""

from __future__ import annotations

from streamgen.control.coordinator.commands import Wait
from streamgen.control.coordinator.events import Heard, StreamLost, WorkerLost
from tests.control.coordinator.world import PROFILES, World


def world_of(*names: str) -> World:
    world = World()
    for name in names:
        world.register(name)
    return world


def dies(world: World, name: str) -> None:
    machine = world.machines[name]
    machine.up = False
    machine.carries.clear()


def silent(world: World, stream: str) -> StreamLost:
    """What the stream's edge says at once."""
    return StreamLost(stream, world.fence[stream], "silent", silent=True)


def test_a_stream_whose_nodes_die_one_after_the_other_has_another_at_once_each_time() -> None:
    world = world_of("one", "two", "three")
    world.want("show")
    for _ in range(20):
        world.settle(rounds=12)
        owner = world.owner("show")
        assert owner is not None
        dies(world, owner)
        world.say(silent(world, "show"))
        assert world.owner("show") not in (None, owner)
        world.settle(rounds=12)
        world.restart(owner)
    assert not world.refused


def test_a_stream_that_ends_every_node_at_once_is_refused_in_the_end() -> None:
    world = world_of("one", "two", "three")
    world.want("poison", patience_ms=None)
    for _ in range(40):
        if (owner := world.owner("poison")) is not None:
            world.deliver(owner)
            world.say(silent(world, "poison"))
        world.pass_time(1000)
        if world.refused:
            break
    assert [one.reason for one in world.refused] == ["it failed 6 times in a row: silent"]


def test_a_stream_that_ends_every_node_before_its_first_picture_is_refused_in_the_end() -> None:
    world = world_of("one", "two", "three")
    world.want("poison", patience_ms=None)
    for _ in range(60):
        cluster = world.coordinator.cluster
        assert cluster is not None
        stream = cluster.streams.get("poison")
        if stream is not None and stream.here is not None:
            world.pass_time(6_000)
            world.say(StreamLost("poison", stream.here.epoch, "silent", silent=True))
        world.pass_time(1000)
        if world.refused:
            break
    assert [one.reason for one in world.refused] == ["it failed 6 times in a row: silent"]


def test_a_heartbeat_that_was_under_way_does_not_clear_a_node_that_died_with_the_leader() -> None:
    world = world_of("one", "two")
    world.want("show")
    world.settle()
    owner = world.owner("show")
    assert owner is not None
    dies(world, owner)
    world.lead()
    world.say(silent(world, "show"))
    world.say(Heard((owner,)))
    [other] = world.machines.keys() - {owner}
    world.report(other)
    assert world.owner("show") == other


def test_who_was_watched_goes_on_at_a_node_that_failed_of_late_where_there_is_no_other() -> None:
    world = world_of("one", "two")
    world.want("show")
    world.settle()
    for _ in range(7):
        world.say(WorkerLost("one"))
        world.restart("one")
    world.settle()
    assert world.owner("show") == "two"
    dies(world, "two")
    world.say(silent(world, "show"))
    assert world.owner("show") == "one"
    world.settle()
    assert isinstance(world.want("another", patience_ms=60_000)[0], Wait), "it is given time"


def test_a_leader_that_hears_no_node_takes_none_for_dead_and_nothing_moves() -> None:
    world = world_of("one", "two")
    for name in ("a", "b"):
        world.want(name, PROFILES[2])
    world.settle()
    before = {name: (world.owner(name), world.fence[name]) for name in ("a", "b")}
    world.machines["one"].cut_off = True  # heard last a little before the other
    world.pass_time(500)
    world.machines["two"].cut_off = True
    world.pass_time(60_000)
    wait = world.want("c", patience_ms=60_000)
    assert isinstance(wait[0], Wait)
    world.machines["one"].cut_off = False
    world.settle(rounds=2)
    world.machines["two"].cut_off = False
    world.settle()
    assert {name: (world.owner(name), world.fence[name]) for name in ("a", "b")} == before
    assert {name for one in world.machines.values() for name in one.carries} >= {"a", "b"}


def test_a_node_that_does_not_come_back_with_the_others_is_dead() -> None:
    world = world_of("one", "two")
    world.want("show")
    world.settle()
    owner = world.owner("show")
    assert owner is not None
    [other] = world.machines.keys() - {owner}
    for machine in world.machines.values():
        machine.cut_off = True
    world.pass_time(10_000)
    world.machines[other].cut_off = False
    world.settle(rounds=20)
    assert world.owner("show") == other
