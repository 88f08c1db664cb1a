from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.placement.catalogue import Catalogue
from streamgen.control.placement.resources import (
    Cut,
    Profile,
    Resources,
    Standing,
    Subject,
    lower_bound,
)
from streamgen.control.placement.scheduler import Force, Full, Placed, Scheduler, Work

NODE = Resources(cpu_ms=4000, gpu_ms=1000, memory_mb=8000, gpu_memory_mb=4000, encoder_ms=1000)
SUBJECT = Subject("measured-1", 1280, 720, 30)
PROFILES = (
    Profile("style", (Resources(400, 210, 900, 700, 0, 190),), frozenset({"starry"})),
    Profile(
        "enhance",
        (
            Resources(900, 430, 1800, 1500, 0, 420),
            Resources(500, 130, 900, 700, 0, 420),
            Resources(300, 130, 800, 600, 0, 140),
        ),
    ),
    Profile("transcode", (Resources(1500, 20, 500), Resources(1500, 20, 500), Resources(600))),
    Profile("measured", (Resources(900, 30, 700), Resources(300, 0, 700)), subject=SUBJECT),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("place", "release", "remove", "close", "raise", "measure")),
        st.integers(0, 9),
        st.sampled_from(PROFILES),
        st.sampled_from(Standing),
    ),
    max_size=60,
)


def play(steps: list[tuple[Any, ...]]) -> tuple[Scheduler, dict[str, str], list[Any]]:
    """The scheduler, where all work is by its own answers, and these answers."""
    scheduler, where, answers = Scheduler(), dict[str, str](), list[Any]()
    catalogue = Catalogue()
    nodes = [f"node-{number}" for number in range(3)]
    for node in nodes:
        scheduler.add(node, NODE)
    for number, (step, index, profile, standing) in enumerate(steps):
        node = nodes[index % len(nodes)] if nodes else ""
        if step == "place":
            work = catalogue.planned(Work(f"work-{number}", profile, standing))
            answer = scheduler.place(work)
            answers.append(answer)
            if isinstance(answer, Placed):
                for name in answer.preempted:
                    del where[name]
                where[f"work-{number}"] = answer.node
        elif step == "release" and where:
            name = sorted(where)[index % len(where)]
            scheduler.release(name, where.pop(name))
        elif step == "remove" and node:
            nodes.remove(node)
            gone = scheduler.remove(node)
            assert sorted(gone) == sorted(name for name, at in where.items() if at == node)
            where = {name: at for name, at in where.items() if at != node}
        elif step == "close" and node:
            scheduler.open(node, False)
        elif step == "measure":
            need = Resources(cpu_ms=250 * number, memory_mb=1000 * index)
            catalogue.told(node, [Profile("measured", (need,), subject=SUBJECT)])
        elif step == "raise" and node:
            answers.append(list(scheduler.raise_up(node)))
        _check(scheduler, where, nodes)
    return scheduler, where, answers


def _check(scheduler: Scheduler, where: dict[str, str], nodes: list[str]) -> None:
    assert (scheduler.bins.free >= 0).all(), "more is promised than there is"
    assert (scheduler.bins.taken >= 0).all()
    for node in nodes:
        there = [work.name for work in scheduler.there(node)]
        assert sorted(there) == sorted(name for name, at in where.items() if at == node)


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_no_dimension_is_promised_twice_and_all_work_is_accounted_for(
    steps: list[tuple[Any, ...]],
) -> None:
    scheduler, where, _ = play(steps)
    for name, node in where.items():
        scheduler.release(name, node)
    assert (scheduler.bins.load() == 0).all()
    assert (scheduler.bins.taken == 0).all()


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_the_same_calls_give_the_same_answers(steps: list[tuple[Any, ...]]) -> None:
    assert play(steps)[2] == play(steps)[2]


def fill(scheduler: Scheduler, profile: Profile, standing: Standing) -> int:
    number = 0
    while True:
        work = Work(f"{standing.name}-{number}", profile, standing)
        if isinstance(scheduler.place(work, force=Force.NOBODY), Full):
            return number
        number += 1


def test_batch_yields_to_live_and_what_is_not_paid_for_goes_first() -> None:
    scheduler = Scheduler()
    scheduler.add("one", NODE)
    scheduler.place(Work("paid", PROFILES[0], Standing.BATCH_PAID))
    fill(scheduler, PROFILES[0], Standing.BATCH_FREE)
    answer = scheduler.place(Work("live", PROFILES[0], Standing.LIVE_FREE))
    assert isinstance(answer, Placed)
    assert len(answer.preempted) == 1 and answer.preempted[0].startswith("BATCH_FREE")
    assert answer.cut is Cut.NOTHING


@pytest.mark.parametrize(("encoder_ms", "cut"), [(3000, Cut.ENHANCEMENT), (1000, Cut.RUNGS)])
def test_enhancement_goes_before_rungs_and_comes_back(encoder_ms: int, cut: Cut) -> None:
    scheduler = Scheduler()
    scheduler.add("one", replace(NODE, encoder_ms=encoder_ms))
    assert fill(scheduler, PROFILES[1], Standing.LIVE_FREE) == 2
    answer = scheduler.place(Work("paid", PROFILES[0], Standing.LIVE_PAID))
    assert isinstance(answer, Placed)
    assert (answer.cut, answer.lowered) == (Cut.NOTHING, (("LIVE_FREE-1", cut),))
    scheduler.release("paid", "one")
    assert dict(scheduler.raise_up("one")) == {"LIVE_FREE-1": Cut.NOTHING}


def test_running_live_work_is_never_ended_for_other_work() -> None:
    scheduler = Scheduler()
    scheduler.add("one", NODE)
    fill(scheduler, PROFILES[0], Standing.LIVE_FREE)
    answer = scheduler.place(Work("paid", PROFILES[0], Standing.LIVE_PAID))
    assert isinstance(answer, Full)
    assert answer.ever and "full" in answer.reason


def test_what_fits_nowhere_is_refused_with_what_is_missing() -> None:
    scheduler = Scheduler()
    scheduler.add("one", NODE)
    huge = Profile("huge", (Resources(gpu_memory_mb=48_000),))
    answer = scheduler.place(Work("huge", huge, Standing.LIVE_PAID))
    assert answer == Full("no open node has gpu_memory_mb 48000 (most 4000)", ever=False)


def test_what_no_node_has_at_all_is_told_apart_from_what_is_taken_or_closed() -> None:
    scheduler = Scheduler()
    scheduler.add("plain", Resources(cpu_ms=4000, memory_mb=8000))
    painted = Work("painted", PROFILES[0], Standing.LIVE_PAID)
    never = scheduler.place(painted)
    assert never == Full("no node has gpu_ms, gpu_memory_mb, encoder_ms", ever=False)
    scheduler.add("gpu", NODE)
    scheduler.open("gpu", False)
    closed = scheduler.place(painted)
    assert isinstance(closed, Full) and closed.reason.startswith("no open node has gpu_ms 210")
    scheduler.open("gpu", True)
    assert fill(scheduler, PROFILES[0], Standing.LIVE_PAID)
    busy = scheduler.place(painted)
    assert isinstance(busy, Full) and busy.ever and busy.reason.startswith("all nodes are full")
    scheduler.remove("gpu")
    assert scheduler.place(painted) == never


def test_work_goes_where_its_networks_are_loaded() -> None:
    scheduler = Scheduler()
    scheduler.add("cold", NODE)
    scheduler.add("warm", NODE, ["starry"])
    answer = scheduler.place(Work("live", PROFILES[0], Standing.LIVE_PAID))
    assert isinstance(answer, Placed)
    assert (answer.node, answer.warm) == ("warm", True)


def test_time_is_kept_free_and_memory_is_not() -> None:
    assert NODE.under(0.1).gpu_ms == 900
    assert NODE.under(0.1).memory_mb == 8000


def test_the_lower_bound_is_of_the_scarcest_dimension() -> None:
    needs = [Resources(cpu_ms=100, gpu_ms=600)] * 5
    assert lower_bound(needs, [Resources(cpu_ms=1000, gpu_ms=1000)] * 9) == 3


def test_placing_is_a_pass_over_columns_that_grow() -> None:
    scheduler = Scheduler()
    for number in range(200):
        scheduler.add(f"node-{number}", NODE)
    assert len(scheduler.bins.names) == 200
    assert np.count_nonzero(scheduler.bins.limit[0]) == 200
