"""A no says why, and until when as far as that is known."""

from __future__ import annotations

import pytest

from streamgen.control.coordinator.commands import Assign, Command, Refuse, Wait
from streamgen.control.coordinator.events import (
    Drain,
    StreamChanged,
    StreamEnds,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.coordinator.seeking import no_room
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from tests.control.coordinator.world import PROFILES, World, work

WHOLE = PROFILES[2]


@pytest.fixture
def world() -> World:
    world = World()
    world.register("one")
    world.register("two")
    return world


def of(commands: list[Command], kind: type[Command]) -> list[Command]:
    return [one for one in commands if isinstance(one, kind)]


def test_a_no_says_until_when_as_far_as_that_is_known(world: World) -> None:
    for name, runs_ms in (("a", 60_000), ("b", 20_000)):
        chunk = Work(name, WHOLE, Standing.BATCH_PAID, runs_ms)
        world.say(StreamWanted(chunk, None))
    world.pass_time(1000)
    [refuse] = of(world.want("c", WHOLE, Standing.BATCH_FREE), Refuse)
    assert isinstance(refuse, Refuse) and refuse.earliest_ms == 20_000
    world.say(StreamReleased("b"))
    world.want("live", WHOLE)
    [refuse] = of(world.want("d", WHOLE, Standing.BATCH_PAID), Refuse)
    assert isinstance(refuse, Refuse) and refuse.earliest_ms == 60_000
    world.say(StreamReleased("a"))
    world.want("another", WHOLE)
    [refuse] = of(world.want("e", WHOLE), Refuse)
    assert isinstance(refuse, Refuse) and refuse.earliest_ms is None


def refused_until(world: World, name: str) -> int | None:
    [refuse] = of(world.want(name, WHOLE), Refuse)
    assert isinstance(refuse, Refuse)
    return refuse.earliest_ms


def test_a_no_says_when_a_stream_ends_whose_publisher_was_lost(world: World) -> None:
    for name in ("a", "b"):
        world.want(name, WHOLE)
    world.settle()
    assert refused_until(world, "c") is None
    world.say(StreamEnds("a", world.now_ms + 20_000))
    world.say(StreamEnds("b", world.now_ms + 9_000))
    assert refused_until(world, "c") == world.now_ms + 9_000
    world.say(StreamEnds("b", None))  # it is back
    assert refused_until(world, "c") == world.now_ms + 20_000
    world.pass_time(25_000)
    assert refused_until(world, "c") == world.now_ms  # its end is on the way
    world.say(StreamReleased("a"))
    assert of(world.want("c", WHOLE), Assign)
    world.say(StreamEnds("nobody", 5))


def test_a_stream_that_is_wanted_anew_ends_no_more_unless_that_is_said(world: World) -> None:
    for name in ("a", "b"):
        world.want(name, WHOLE)
    world.settle()
    world.say(StreamEnds("a", world.now_ms + 20_000))
    world.want("a", WHOLE)  # another edge has its publisher
    assert refused_until(world, "c") is None
    world.say(StreamEnds("a", world.now_ms + 30_000))
    assert refused_until(world, "c") == world.now_ms + 30_000


def test_the_end_of_a_stream_stays_known_where_it_goes_and_whatever_it_becomes(
    world: World,
) -> None:
    world.say(Drain("two"))
    world.want("a", WHOLE)
    world.settle()
    ends_ms = world.now_ms + 30_000
    world.say(StreamEnds("a", ends_ms))
    world.say(StreamChanged(work("a", Profile("less", (Resources(gpu_ms=800),)))))
    assert refused_until(world, "c") == ends_ms
    world.say(Drain("two", wanted=False))
    world.machines["one"].up = False
    world.say(WorkerLost("one"))
    world.settle()
    assert world.owner("a") == "two"
    assert refused_until(world, "c") == ends_ms


def test_what_a_stream_that_ends_has_given_up_is_not_counted_as_room_to_come() -> None:
    world = World()
    world.register("one")
    enhance = PROFILES[1]
    for name, standing in (("a", Standing.LIVE_FREE), ("b", Standing.LIVE_FREE)):
        world.want(name, enhance, standing)
    world.settle()
    world.say(StreamEnds("a", 8_000))
    world.want("more", Profile("more", (Resources(gpu_ms=500),)))  # they give something up
    cluster = world.coordinator.cluster
    assert cluster is not None
    here = cluster.streams["a"].here
    assert here is not None and here.cut is not Cut.NOTHING
    given_up = Profile("large", (Resources(gpu_ms=430),))
    [refuse] = of(world.want("c", given_up, Standing.BATCH_FREE), Refuse)
    assert isinstance(refuse, Refuse) and refuse.earliest_ms is None


def test_whether_there_is_room_can_be_asked_and_nothing_is_kept_for_it(world: World) -> None:
    cluster = world.coordinator.cluster
    assert cluster is not None

    def told(name: str) -> Wait | None:
        return no_room(cluster, work(name, WHOLE), world.now_ms)

    assert told("a") is None
    assert told("b") is None
    for name in ("a", "b"):
        world.want(name, WHOLE)
    world.settle()
    world.say(StreamEnds("a", 9_000))
    wait = told("c")
    assert wait is not None and wait.earliest_ms == 9_000 and "gpu_ms" in wait.reason
    assert told("a") is None  # it has its place
    world.say(StreamReleased("b"))
    assert told("c") is None
    world.lead()
    assert told("c") is None


def test_whether_a_stream_may_become_another_can_be_asked_and_its_own_room_counts() -> None:
    world = World()
    world.register("one")
    world.want("a", WHOLE)  # 900 ms of the GPU, which may be all in use
    cluster = world.coordinator.cluster
    assert cluster is not None
    used = cluster.scheduler.bins.load().tolist()

    def told(name: str, gpu_ms: int) -> Wait | None:
        wish = work(name, Profile("other", (Resources(gpu_ms=gpu_ms),)))
        return no_room(cluster, wish, world.now_ms, runs=True)

    assert told("a", 850) is None
    wait = told("a", 901)
    assert wait is not None and "gpu_ms 901" in wait.reason
    world.register("two")
    world.want("b", Profile("half", (Resources(gpu_ms=500),)))
    wait = told("b", 901)
    assert wait is not None
    assert told("b", 900) is None
    assert told("nobody", 10_000) is None
    assert cluster.scheduler.bins.load()[:, 0].tolist() == [row[0] for row in used]


def test_a_no_says_when_a_node_is_trusted_again(world: World) -> None:
    world.say(Drain("two"))
    for _ in range(3):
        world.say(WorkerLost("one"))
        world.restart("one")
    [refuse] = of(world.want("a"), Refuse)
    assert isinstance(refuse, Refuse) and refuse.earliest_ms == world.now_ms + 4000
