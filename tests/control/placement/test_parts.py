"""What pipelines need by name, and which nodes have it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.placement.packing import let_in
from streamgen.control.placement.parts import LONGEST_PART, needed, parts
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Force, Full, Placed, Scheduler, Work
from streamgen.pipeline import Pipeline, parse_pipeline

NODE = Resources(cpu_ms=1000)
HALF = Profile("half", (Resources(cpu_ms=400),))
TINT, BLUR, OWN, AV1 = "stage 'tint'", "stage 'blur'", "model 'own'", "codec 'av1'"
ALL = (TINT, BLUR, OWN, AV1)
SETS = st.frozensets(st.sampled_from(ALL))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("place", "place", "only", "equip", "remove", "add", "close", "let in")),
        st.integers(0, 5),
        SETS,
        st.none() | SETS,
        st.sampled_from(Standing),
    ),
    max_size=40,
)


def play(steps: list[tuple[Any, ...]]) -> list[Any]:
    """The answers; what is placed, is where all that it needs is."""
    scheduler, answers = Scheduler(), list[Any]()
    has = dict[str, frozenset[str] | None]()
    open_ = set[str]()
    for number, (step, index, needs, said, standing) in enumerate(steps):
        node = f"node-{index}"
        work = Work(f"work-{number}", HALF, standing, parts=needs)
        able = {one for one in open_ if (has[one] is None or needs <= (has[one] or frozenset()))}
        match step:
            case "place" | "only" if step == "place" or node in has:
                answer = scheduler.place(work, only=node if step == "only" else None)
                answers.append(answer)
                if isinstance(answer, Placed):
                    assert answer.node in able
                elif step == "place":
                    assert answer.ever == bool(able), answer
                    assert not any(scheduler.room(work, one) for one in able)
                    assert scheduler.full(work) == answer
            case "let in":
                found = let_in(scheduler, work, 2, lambda name: True)
                answers.append(found)
                assert found is None or found.node in able
                for moved, placed in () if found is None else found.moves:
                    there = has[placed.node]
                    assert there is None or moved.parts <= there
            case "equip" if node in has:
                scheduler.bins.equip(scheduler.bins.slots[node], said)
                has[node] = said
            case "add" if node not in has:
                scheduler.add(node, NODE, (), said)
                has[node] = said
                open_.add(node)
            case "remove" if node in has:
                scheduler.remove(node)
                del has[node]
                open_.discard(node)
            case "close" if node in has:
                scheduler.open(node, False)
                open_.discard(node)
    return answers


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_work_goes_only_where_all_that_it_needs_is(steps: list[tuple[Any, ...]]) -> None:
    play(steps)


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_the_same_calls_give_the_same_answers(steps: list[tuple[Any, ...]]) -> None:
    assert play(steps) == play(steps)


def wanted(*needs: str) -> Work:
    return Work("live", HALF, Standing.LIVE_PAID, parts=frozenset(needs))


def test_what_no_node_has_is_refused_by_its_name() -> None:
    scheduler = Scheduler()
    scheduler.add("one", NODE, (), frozenset({TINT}))
    assert scheduler.place(wanted(TINT, OWN)) == Full("no node has model 'own'", ever=False)
    assert scheduler.place(wanted(AV1, BLUR)) == Full(
        "no node has codec 'av1', stage 'blur'", ever=False
    )
    scheduler.add("two", NODE, (), frozenset({BLUR}))
    scheduler.open("two", False)
    assert scheduler.place(wanted(BLUR)) == Full("no open node has stage 'blur'", ever=False)
    scheduler.open("two", True)
    assert scheduler.place(wanted(TINT, BLUR)) == Full(
        "no open node has all that it needs at once", ever=False
    )
    scheduler.bins.equip(scheduler.bins.slots["two"], frozenset({TINT, BLUR}))
    assert isinstance(scheduler.place(wanted(TINT, BLUR)), Placed)


def test_it_waits_for_nodes_that_have_all_and_not_for_others() -> None:
    scheduler = Scheduler()
    scheduler.add("plain", NODE, (), frozenset())
    scheduler.add("tints", NODE, (), frozenset({TINT}))
    for number in range(2):
        work = Work(f"work-{number}", HALF, Standing.LIVE_PAID, parts=frozenset({TINT}))
        assert isinstance(scheduler.place(work, force=Force.NOBODY), Placed)
    scheduler.ends.expect("work-1", scheduler.bins.slots["tints"], 700)
    full = Full("all nodes are full, most of cpu_ms", ever=True, earliest_ms=700)
    assert scheduler.place(wanted(TINT)) == full


def test_a_node_of_an_earlier_release_is_taken_to_have_everything() -> None:
    scheduler = Scheduler()
    scheduler.add("new", NODE, (), frozenset())
    scheduler.add("old", NODE)
    answer = scheduler.place(wanted(*ALL))
    assert isinstance(answer, Placed) and answer.node == "old"


def test_a_pipeline_needs_its_stages_its_models_and_the_codecs_of_its_ladder() -> None:
    rungs = [{"height": 180, "bitrate": "1M", "codec": "svt-av1"}, {"height": 90, "bitrate": "1k"}]
    stages = [{"style": {"model": "starry"}}, "skip_similar"]
    assert needed(parse_pipeline({"name": "p", "stages": stages, "ladder": rungs})) == {
        "stage 'style'",
        "stage 'skip_similar'",
        "model 'starry'",
        "codec 'av1'",
        "codec 'h264'",
    }


def test_a_stage_of_another_interpreter_is_not_the_workers() -> None:
    node = {"their": {}, "isolation": "process", "python": "/opt/their/bin/python"}
    pipeline = Pipeline.model_validate({"name": "p", "stages": [node]})
    assert needed(pipeline) == {"codec 'h264'"}


@pytest.mark.parametrize("name", ["n" * LONGEST_PART, "two\nlines"])
def test_a_name_that_cannot_be_said_is_neither_needed_nor_offered(name: str) -> None:
    assert parts("model", (name, "own")) == {OWN}
