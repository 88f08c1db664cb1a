from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.placement.catalogue import Catalogue
from streamgen.control.placement.resources import (
    DIMENSIONS,
    Cut,
    Profile,
    Resources,
    Standing,
    Subject,
    amounts,
    lower_bound,
)
from streamgen.control.placement.scheduler import (
    HEAD_ROOM,
    Force,
    Full,
    Placed,
    Scheduler,
    Work,
)

NODE = Resources(4000, 1000, 8000, 4000, decoder_ms=1000, encoder_ms=1000)
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
SCARCE = tuple(
    Profile(name, (Resources(**{name: has * 2 // 5}),))
    for name, has in zip(DIMENSIONS, amounts(NODE), strict=True)
)
"""Of each dimension so much that two fit on a node, and three do not."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("place", "release", "remove", "close", "raise", "measure")),
        st.integers(0, 9),
        st.sampled_from(PROFILES + SCARCE),
        st.sampled_from(Standing),
    ),
    max_size=60,
)


@dataclass(frozen=True, slots=True)
class Held:
    """Work that has a place, by what the scheduler has answered."""

    node: str
    profile: Profile
    cut: Cut


def play(steps: list[tuple[Any, ...]]) -> tuple[Scheduler, dict[str, Held], list[Any]]:
    """The scheduler, what work is where by its answers, and these answers."""
    scheduler, held, answers = Scheduler(), dict[str, Held](), list[Any]()
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
                    del held[name]
                _lower(held, answer.lowered)
                held[work.name] = Held(answer.node, work.profile, answer.cut)
        elif step == "release" and held:
            name = sorted(held)[index % len(held)]
            scheduler.release(name, held.pop(name).node)
        elif step == "remove" and node:
            nodes.remove(node)
            gone = scheduler.remove(node)
            assert sorted(gone) == sorted(name for name, one in held.items() if one.node == node)
            held = {name: one for name, one in held.items() if one.node != node}
        elif step == "close" and node:
            scheduler.open(node, False)
        elif step == "measure":
            need = Resources(cpu_ms=250 * number, memory_mb=1000 * index)
            catalogue.told(node, [Profile("measured", (need,), subject=SUBJECT)])
        elif step == "raise" and node:
            raised = list(scheduler.raise_up(node))
            answers.append(raised)
            _lower(held, raised)
        _check(scheduler, held, nodes)
    return scheduler, held, answers


def _lower(held: dict[str, Held], cuts: Iterable[tuple[str, Cut]]) -> None:
    held.update((name, replace(held[name], cut=cut)) for name, cut in cuts)


def _check(scheduler: Scheduler, held: dict[str, Held], nodes: list[str]) -> None:
    """What is promised is added up here, whatever the scheduler has booked."""
    assert (scheduler.bins.taken >= 0).all()
    for node in nodes:
        there = {name: one for name, one in held.items() if one.node == node}
        assert sorted(work.name for work in scheduler.there(node)) == sorted(there)
        promised = sum((one.profile.need(one.cut) for one in there.values()), Resources())
        assert promised.fits(NODE.under(HEAD_ROOM)), "more is promised than there is"
        slot = scheduler.bins.slots[node]
        assert tuple(scheduler.bins.load()[:, slot]) == amounts(promised)


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_no_dimension_is_promised_twice_and_all_work_is_accounted_for(
    steps: list[tuple[Any, ...]],
) -> None:
    scheduler, held, _ = play(steps)
    for name, one in held.items():
        scheduler.release(name, one.node)
    assert (scheduler.bins.load() == 0).all()
    assert (scheduler.bins.taken == 0).all()


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_the_same_calls_give_the_same_answers(steps: list[tuple[Any, ...]]) -> None:
    assert play(steps)[2] == play(steps)[2]


@pytest.mark.parametrize("profile", SCARCE, ids=lambda profile: profile.name)
def test_a_node_is_full_when_any_of_its_dimensions_is(profile: Profile) -> None:
    scheduler = Scheduler()
    scheduler.add("one", NODE)
    answers = [
        scheduler.place(Work(f"work-{number}", profile, Standing.LIVE_PAID)) for number in range(3)
    ]
    assert [type(one) for one in answers] == [Placed, Placed, Full]


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
