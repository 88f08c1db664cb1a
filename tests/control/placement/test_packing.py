from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.placement.packing import free_a_node, let_in
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Full, Scheduler, Work

NODE = Resources(gpu_ms=1000, memory_mb=1000)


def work(name: str, gpu_ms: int, standing: Standing = Standing.LIVE_PAID) -> Work:
    return Work(name, Profile(f"gpu-{gpu_ms}", (Resources(gpu_ms=gpu_ms),)), standing)


def filled(*nodes: dict[str, int]) -> Scheduler:
    """Nodes with streams of so many milliseconds each."""
    scheduler = Scheduler(head_room=0)
    for number, streams in enumerate(nodes):
        scheduler.add(f"node-{number}", NODE)
        for name, gpu_ms in streams.items():
            scheduler.book(work(name, gpu_ms), f"node-{number}")
    return scheduler


def anything(name: str) -> bool:
    return True


def test_the_node_with_the_least_on_it_is_emptied_into_those_in_use() -> None:
    scheduler = filled({"a": 300, "b": 200}, {"c": 100, "d": 150}, {})
    found = free_a_node(scheduler, 8, anything)
    assert found is not None and found.node == "node-1"
    assert [(one.name, placed.node) for one, placed in found.moves] == [
        ("d", "node-0"),
        ("c", "node-0"),
    ]
    # Booked on both until they have arrived.
    assert scheduler.names("node-0") == ["a", "b", "d", "c"]
    assert scheduler.names("node-1") == ["c", "d"]


def test_nothing_moves_when_it_would_soon_be_full_again() -> None:
    scheduler = filled({"a": 700}, {"c": 200})
    before = scheduler.bins.free.copy()
    assert free_a_node(scheduler, 8, anything) is None
    assert (scheduler.bins.free == before).all()


def test_nothing_moves_in_vain() -> None:
    scheduler = filled({"a": 600}, {"b": 600}, {"c": 250, "d": 200})
    before = scheduler.bins.free.copy()
    assert free_a_node(scheduler, 1, anything) is None
    assert free_a_node(scheduler, 8, lambda name: name != "d") is None
    assert (scheduler.bins.free == before).all()


def test_a_stream_that_waits_gets_in_by_one_move() -> None:
    scheduler = filled({"a": 500, "b": 200}, {"c": 500, "d": 100})
    wish = work("new", 500)
    assert isinstance(scheduler.place(wish), Full)
    found = let_in(scheduler, wish, 8, anything)
    assert found is not None and found.node == "node-1"
    assert [(one.name, placed.node) for one, placed in found.moves] == [("d", "node-0")]
    scheduler.release("d", "node-1")
    assert scheduler.room(wish, "node-1")


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.integers(50, 600), max_size=5), min_size=1, max_size=5),
    st.integers(100, 900),
    st.integers(1, 4),
    st.sets(st.integers(0, 20)),
)
def test_moves_are_few_fit_and_do_what_they_are_for(
    nodes: list[list[int]], gpu_ms: int, most: int, fixed: set[int]
) -> None:
    for wish in (None, work("new", gpu_ms)):
        scheduler = _packed(nodes)
        free = scheduler.bins.free.copy()

        def movable(name: str) -> bool:
            return int(name) not in fixed

        found: Any = (
            free_a_node(scheduler, most, movable)
            if wish is None
            else let_in(scheduler, wish, most, movable)
        )
        assert (scheduler.bins.free >= 0).all()
        if found is None:
            assert (scheduler.bins.free == free).all()
            continue
        assert 0 < len(found.moves) <= most
        for one, placed in found.moves:
            assert movable(one.name) and placed.node != found.node
            assert not placed.preempted and not placed.lowered
            scheduler.release(one.name, found.node)
        if wish is None:
            assert scheduler.names(found.node) == []
        else:
            assert scheduler.room(wish, found.node)


def _packed(nodes: list[list[int]]) -> Scheduler:
    number, scheduler = 0, filled(*({} for _ in nodes))
    for index, streams in enumerate(nodes):
        for gpu_ms in streams:
            one = work(str(number), gpu_ms)
            number += 1
            if scheduler.room(one, f"node-{index}"):
                scheduler.book(one, f"node-{index}")
    return scheduler
