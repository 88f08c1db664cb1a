from __future__ import annotations

import pytest

from streamgen.control.coordinator.commands import Assign, Move, Refuse, Revoke, Wait
from streamgen.control.coordinator.events import (
    Drain,
    LeaseLost,
    NodeRegistered,
    NodeReport,
    StreamLost,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.coordinator.fencing import token
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from tests.control.coordinator.world import NODE, PROFILES, SECRET, Machine, World, work

WHOLE = PROFILES[2]


def of(commands: list[object], kind: type) -> list[object]:
    return [one for one in commands if isinstance(one, kind)]


@pytest.fixture
def world() -> World:
    world = World()
    world.register("one")
    world.register("two")
    return world


def test_a_stream_gets_an_owner_with_an_epoch_and_a_token(world: World) -> None:
    [assign] = of(world.want("show"), Assign)
    assert isinstance(assign, Assign)
    assert assign.epoch == (1 << 32) + 1
    assert assign.token == token(SECRET, "show", assign.epoch)
    assert assign.token != token(b"another secret", "show", assign.epoch)


def test_what_a_dead_node_carried_goes_on_elsewhere_with_a_higher_epoch(world: World) -> None:
    world.want("show")
    world.settle()
    first, before = world.owner("show"), world.fence["show"]
    assert first is not None
    world.machines[first].up = False
    world.pass_time(4000)
    world.settle()
    assert world.owner("show") not in (None, first)
    assert world.fence["show"] > before


def test_a_zombie_is_told_that_it_is_none_of_the_owners(world: World) -> None:
    world.want("show")
    world.settle()
    first = world.owner("show")
    assert first is not None
    zombie = world.machines[first]
    zombie.cut_off = True
    world.pass_time(4000)
    assert world.owner("show") != first
    zombie.cut_off = False
    commands = world.register(first)
    [revoke] = of(commands, Revoke)
    assert isinstance(revoke, Revoke)
    assert (revoke.stream, revoke.node, revoke.epoch) == ("show", first, (1 << 32) + 1)
    world.settle()
    assert "show" not in zombie.carries


def test_a_worker_that_died_gives_its_streams_away_at_once(world: World) -> None:
    world.want("show")
    world.settle()
    first = world.owner("show")
    assert first is not None
    commands = world.say(WorkerLost(first))
    [assign] = of(commands, Assign)
    assert isinstance(assign, Assign) and assign.node != first


def test_who_does_not_wait_is_refused_and_who_waits_gets_the_first_room(world: World) -> None:
    for name in ("a", "b"):
        world.want(name, WHOLE)
    assert of(world.want("c", WHOLE), Refuse)
    assert of(world.want("d", WHOLE, patience_ms=5000), Wait)
    [assign] = of(world.say(StreamReleased("a")), Assign)
    assert isinstance(assign, Assign) and assign.work.name == "d"


def test_patience_ends(world: World) -> None:
    for name in ("a", "b"):
        world.want(name, WHOLE)
    world.want("c", WHOLE, patience_ms=2000)
    world.pass_time(1500)
    assert not world.refused
    world.pass_time(1000)
    assert [one.stream for one in world.refused] == ["c"]


def test_live_takes_from_batch_which_waits_and_comes_back(world: World) -> None:
    for name in ("a", "b"):
        world.want(name, WHOLE, Standing.BATCH_FREE, patience_ms=None)
    world.want("live", WHOLE)
    gone = [name for name in ("a", "b") if world.owner(name) is None]
    assert len(gone) == 1
    world.say(StreamReleased("live"))
    assert world.owner(gone[0]) is not None


def test_a_node_is_emptied_one_stream_at_a_time(world: World) -> None:
    world.say(Drain("two"))
    for name in ("a", "b", "c"):
        world.want(name)
    world.settle()
    world.say(Drain("two", wanted=False))
    [move] = of(world.say(Drain("one")), Move)
    assert isinstance(move, Move) and (move.source, move.node) == ("one", "two")
    assert not world.drained[1:]
    world.settle()
    assert world.drained == ["two", "one"]
    assert {world.owner(name) for name in "abc"} == {"two"}
    assert not world.machines["one"].carries


def test_a_node_is_empty_once_its_pieces_of_jobs_have_ended(world: World) -> None:
    machine = world.machines["two"]
    machine.pieces = 1
    world.say(Drain("two"))
    world.settle()
    assert machine.cordoned and not world.drained
    machine.pieces = 0
    world.settle()
    assert world.drained == ["two"]
    world.say(Drain("two", wanted=False))
    world.settle()
    assert not machine.cordoned


def test_a_word_about_pieces_of_jobs_that_was_lost_is_said_again(world: World) -> None:
    machine = world.machines["two"]
    for wanted in (True, False):
        world.say(Drain("two", wanted))
        machine.inbox.clear()
        world.settle()
        assert machine.cordoned == wanted
    world.say(Drain("two"))
    machine.inbox.clear()
    world.lead()
    world.settle()
    assert machine.cordoned and world.drained == ["two", "two"]


def test_a_stream_that_moves_stays_where_it_is_when_the_move_fails(world: World) -> None:
    world.say(Drain("two"))
    world.want("a")
    world.settle()
    world.say(Drain("two", wanted=False))
    [move] = of(world.say(Drain("one")), Move)
    assert isinstance(move, Move)
    commands = world.say(StreamLost("a", move.epoch, "no decoder"))
    assert of(commands, Revoke) and world.owner("a") == "one"
    world.pass_time(6000)
    world.settle()
    assert world.owner("a") == "two" and world.drained[-1] == "one"


def test_who_leads_no_more_says_nothing_and_the_next_one_moves_nothing(world: World) -> None:
    for name in ("a", "b", "c"):
        world.want(name)
    world.settle()
    before = {name: (world.owner(name), world.fence[name]) for name in "abc"}
    assert world.say(LeaseLost()) == []
    assert world.want("d") == []
    assert world.say(StreamReleased("a")) == []
    world.lead()
    world.settle()
    assert {name: (world.owner(name), world.fence[name]) for name in "abc"} == before
    assert world.owner("d") is not None


def test_what_the_store_did_not_get_is_taken_up_from_what_nodes_report(world: World) -> None:
    for name in ("a", "b"):
        world.want(name)
    world.settle()
    before = {name: (world.owner(name), world.fence[name]) for name in "ab"}
    world.streams.clear()
    world.lead()
    world.settle()
    assert {name: (world.owner(name), world.fence[name]) for name in "ab"} == before


def test_a_leader_that_hears_of_a_later_one_stops(world: World) -> None:
    world.want("a")
    world.settle()
    shown = next(iter(world.machines["one"].carries.values()), None)
    assert shown is not None
    later = type(shown)(shown.work, (7 << 32) + 1)
    assert world.say(NodeReport("one", (later,))) == []
    assert world.coordinator.cluster is None


def test_a_command_that_was_lost_is_said_again(world: World) -> None:
    world.want("a")
    owner = world.owner("a")
    assert owner is not None
    world.machines[owner].inbox.clear()
    world.pass_time(1000)
    world.settle()
    assert world.fence["a"] == (1 << 32) + 1


def test_a_stream_that_ends_every_worker_is_refused_in_the_end(world: World) -> None:
    world.want("poison", patience_ms=None)
    for _ in range(40):
        cluster = world.coordinator.cluster
        assert cluster is not None
        stream = cluster.streams.get("poison")
        if stream is None:
            break
        if stream.here is not None:
            world.say(StreamLost("poison", stream.here.epoch, "segmentation fault"))
        world.pass_time(1000)
    assert [one.reason for one in world.refused] == [
        "it failed 6 times in a row: segmentation fault"
    ]


def test_a_node_that_keeps_failing_is_given_time(world: World) -> None:
    world.say(Drain("two"))
    for _ in range(3):
        world.say(WorkerLost("one"))
        world.restart("one")
    assert of(world.want("a", patience_ms=60_000), Wait)
    world.pass_time(5000)
    assert world.owner("a") == "one"


def test_an_edge_that_hears_nothing_keeps_new_work_away_until_the_node_is_heard(
    world: World,
) -> None:
    world.want("a")
    world.settle()
    first = world.owner("a")
    world.say(StreamLost("a", world.fence["a"], "silent", silent=True))
    assert world.owner("a") != first
    cluster = world.coordinator.cluster
    assert cluster is not None and first is not None
    node = cluster.nodes.get(first)
    assert node is not None and not node.open
    world.pass_time(500)
    assert node.open


def test_a_new_leader_does_not_wait_for_a_node_that_died_with_the_former_one(world: World) -> None:
    world.want("a")
    world.settle()
    first = world.owner("a")
    assert first is not None
    world.machines[first].up = False
    world.lead()
    [other] = world.machines.keys() - {first}
    world.report(other)
    assert world.owner("a") == first  # it may still speak
    world.say(StreamLost("a", world.fence["a"], "silent", silent=True))
    assert world.owner("a") == other


def test_a_dead_source_does_not_stop_a_move(world: World) -> None:
    world.say(Drain("two"))
    world.want("a")
    world.settle()
    world.say(Drain("two", wanted=False))
    world.say(Drain("one"))
    [assign] = of(world.say(WorkerLost("one")), Assign)
    assert isinstance(assign, Assign) and assign.node == "two"
    world.settle()
    assert world.owner("a") == "two" and world.fence["a"] == assign.epoch


def test_an_edge_that_speaks_to_a_new_leader_says_who_feeds_it(world: World) -> None:
    world.say(Drain("two"))
    world.want("a")
    world.settle()
    world.say(Drain("two", wanted=False))
    [move] = of(world.say(Drain("one")), Move)
    assert isinstance(move, Move)
    world.fence["a"] = move.epoch  # arrived while nobody led
    world.lead()
    assert world.owner("a") == "two"


def test_a_change_stays_on_its_node_where_there_is_room(world: World) -> None:
    world.want("a")
    world.settle()
    owner, epoch = world.owner("a"), world.fence["a"]
    more = Profile("style-2", (Resources(gpu_ms=500),))
    world.say(StreamWanted(work("a", more), None))
    assert world.owner("a") == owner
    world.settle()
    assert world.fence["a"] == epoch
    huge = Profile("huge", (Resources(gpu_ms=5000),))
    assert of(world.say(StreamWanted(work("a", huge), None)), Refuse)
    assert world.owner("a") == owner


def gpu(name: str, gpu_ms: int) -> Work:
    return Work(name, Profile(f"gpu-{gpu_ms}", (Resources(gpu_ms=gpu_ms),)), Standing.LIVE_PAID)


def test_a_stream_that_waits_is_let_in_by_a_move_and_nobody_else_takes_the_room() -> None:
    world = World()
    world.register("one")
    world.register("two")
    for name, gpu_ms in (("a", 350), ("filler", 500), ("c", 450), ("d", 100), ("b", 370)):
        if name == "b":
            world.say(StreamReleased("filler"))
            del world.wanted["filler"]
        world.wanted[name] = StreamWanted(gpu(name, gpu_ms), None)
        world.say(world.wanted[name])
    world.settle()
    world.wanted["new"] = StreamWanted(gpu("new", 400), None)
    assert of(world.say(world.wanted["new"]), Wait)
    world.pass_time(10_000)
    cluster = world.coordinator.cluster
    assert cluster is not None
    moving = {name: one for name, one in cluster.streams.items() if one.coming is not None}
    assert list(moving) == ["d"]
    assert of(world.say(StreamWanted(gpu("small", 300), world.now_ms)), Refuse)
    world.settle()
    assert world.owner("new") == "two" and world.owner("d") == "one"


def test_nodes_are_emptied_when_there_is_less_to_do_and_streams_do_not_wander() -> None:
    world = World()
    for node in ("one", "two"):
        world.register(node)
    for number in range(8):
        world.want(f"s{number}", patience_ms=None)
    world.settle()
    for number in (1, 2, 3, 5, 6, 7):
        world.wanted.pop(f"s{number}")
        world.say(StreamReleased(f"s{number}"))
    assert {world.owner("s0"), world.owner("s4")} == {"one", "two"}
    moves = 0
    for _ in range(6):
        world.pass_time(10_000)
        world.settle()
    moves = sum(len(of(commands, Move)) for _, _, commands in world.log[-1])
    assert world.owner("s0") == world.owner("s4")
    assert moves == 1


def test_a_node_goes_on_being_emptied_under_the_next_leader(world: World) -> None:
    for name in ("a", "b", "c"):
        world.want(name)
    world.settle()
    source = world.owner("a")
    assert source is not None
    world.say(Drain(source))
    world.lead()
    world.settle()
    assert world.drained == [source]
    assert not world.machines[source].carries


def test_batch_work_may_end_on_a_node_that_is_emptied_but_does_not_hold_it_for_ever(
    world: World,
) -> None:
    world.want("chunk", WHOLE, Standing.BATCH_FREE, patience_ms=None)
    world.settle()
    first = world.owner("chunk")
    assert first is not None
    world.say(Drain(first))
    world.pass_time(50_000)
    assert world.owner("chunk") == first and not world.drained
    world.pass_time(11_000)
    assert world.owner("chunk") not in (None, first)
    world.settle()
    assert world.drained == [first]


def test_a_stream_is_taken_over_where_its_networks_are_loaded() -> None:
    cold = World()
    for name in ("first", "cold", "warm"):
        models = ("starry",) if name == "warm" else ()
        cold.machines[name] = Machine()
        cold.say(NodeRegistered(name, "0", NODE, models))
    cold.say(Drain("warm"))
    cold.want("show")
    cold.settle()
    for name, gpu_ms in (("z", 300), ("other", 400)):
        cold.say(StreamWanted(gpu(name, gpu_ms), None))
    assert [cold.owner(name) for name in ("show", "z", "other")] == ["first", "first", "cold"]
    cold.say(Drain("warm", wanted=False))
    # Best-fit alone would choose the node that is in use.
    cold.say(WorkerLost("first"))
    assert cold.owner("show") == "warm"
