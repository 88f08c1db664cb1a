"""What nodes report: what they have not heard is said again, what they have loaded counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgen.control.coordinator.commands import Assign, Change
from streamgen.control.coordinator.events import NodeReport, StreamWanted
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from tests.control.coordinator.test_coordinator import of
from tests.control.coordinator.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.register("one")
    world.register("two")
    return world


def test_a_node_that_has_not_heard_what_a_stream_gives_up_is_told_again(world: World) -> None:
    world.want("show")
    world.settle()
    node = world.owner("show")
    assert node is not None
    running = world.machines[node].carries["show"]
    assert not of(world.say(NodeReport(node, (running,))), Change)
    other = replace(running, cut=Cut.RUNGS)
    told = Change(running.work, node, running.epoch, running.cut)
    assert of(world.say(NodeReport(node, (other,))), Change) == [told]


def test_a_network_that_a_node_has_loaded_meanwhile_draws_streams_there(world: World) -> None:
    world.say(NodeReport("two", (), ("starry@1280x720",)))
    profile = Profile("starry-720p30", (Resources(cpu_ms=100),), frozenset({"starry@1280x720"}))
    [assign] = of(world.say(StreamWanted(Work("show", profile, Standing.LIVE_PAID), None)), Assign)
    assert isinstance(assign, Assign) and assign.node == "two"


def test_a_report_older_than_the_first_picture_is_not_taken_for_a_loss_and_a_later_one_is(
    world: World,
) -> None:
    world.want("show")
    node = world.owner("show")
    assert node is not None
    world.deliver(node)  # its edge has a picture
    assert world.say(NodeReport(node, ())) == []  # sent before the command came
    world.report(node)
    assert (world.owner("show"), world.fence["show"]) == (node, (1 << 32) + 1)
    world.machines[node].carries.clear()
    world.report(node)
    world.settle()
    assert world.owner("show") not in (None, node)


def test_who_never_shows_a_stream_is_told_again_although_it_has_given_pictures(
    world: World,
) -> None:
    world.want("show")
    node = world.owner("show")
    assert node is not None
    world.deliver(node)
    world.machines[node].carries.clear()
    world.pass_time(1000)
    world.report(node)
    world.settle()
    assert world.owner("show") == node and "show" in world.machines[node].carries
