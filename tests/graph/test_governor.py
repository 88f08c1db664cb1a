"""`Governor`: the rows that the project promises, in virtual time, and what must always hold."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.graph.governor import (
    FADE_NS,
    HOLD_NS,
    Action,
    Governor,
    warning,
    worst_case,
)
from streamgen.graph.levels import Level, Show, levels
from streamgen.graph.spec import Answer
from tests.graph.simulation import MS, Cost, Machine, S

BUDGET_MS = 150
FRAME_MS = 1000 / 30
DEFAULT = ("reuse", "skip", "passthrough")
SLATE = ("reuse", "slate")

Load = Callable[[float], float]
"""Cost over the time between two frames, at this second of the run."""


def answers(*kinds: str) -> tuple[Answer, ...]:
    return tuple(Answer.model_validate({"kind": kind}) for kind in kinds)


def machine(
    load: Load,
    kinds: tuple[str, ...] = DEFAULT,
    *,
    encode_ms: Load = lambda t: 25,
    noise: float = 0.1,
    enhance: Load | None = None,
) -> Machine:
    """A style of this load (and an enhancer that may be skipped), an encoder, and some noise."""
    luck = random.Random(7)

    def noisy(cost: Load, unit_ms: float) -> Cost:
        return lambda ns: cost((ns - S) / S) * unit_ms * luck.lognormvariate(0, noise)

    nodes = {"style": noisy(load, FRAME_MS)}
    if enhance is not None:
        nodes["enhance"] = noisy(enhance, FRAME_MS)
    governor = Governor(
        BUDGET_MS * MS, answers(*kinds), list(nodes), frozenset(nodes) & {"enhance"}
    )
    return Machine(governor, nodes, noisy(encode_ms, 1.0), jitter=lambda: 3 * luck.random())


def swings(low: float, high: float, until_s: float = 60, then: float = 0.4) -> Load:
    return lambda t: then if t >= until_s else high if t % 1 < 0.5 else low


def account(one: Machine) -> Counter[str]:
    """Every frame that came is shown or dropped with its reason; returns the counts."""
    counts = one.governor.counts
    dropped = {key: n for key, n in counts.items() if key.startswith("drop ")}
    assert counts.total() == one.arrived
    assert counts["run"] + counts["reuse"] == len(one.latencies_ms)
    assert one.arrived == len(one.latencies_ms) + sum(dropped.values())
    assert counts["drop overflow"] == one.overflowed
    return counts


def always(one: Machine) -> None:
    """What holds whatever the load does."""
    account(one)
    for now_ns, received_ns, decision, needed_ns in one.decisions:
        if decision.action is Action.RUN:
            assert now_ns + needed_ns <= received_ns + BUDGET_MS * MS
        assert 0.0 <= decision.fade <= 1.0
    times = [change.at_ns for change in one.governor.changes]
    assert all(later - sooner >= HOLD_NS for sooner, later in pairwise(times))


@pytest.mark.parametrize(
    ("kinds", "times"),
    [
        (DEFAULT, 1.3),
        (DEFAULT, 2),
        (DEFAULT, 3),
        (SLATE, 2),
        (("passthrough",), 2),
        (("reuse",), 2),
    ],
)
def test_overload_keeps_the_budget_and_does_not_grow(kinds: tuple[str, ...], times: float) -> None:
    one = machine(lambda t: times, kinds)
    one.run(60)
    always(one)
    assert one.p99_ms() <= BUDGET_MS + FRAME_MS
    assert one.p99_ms(40, 60) <= one.p99_ms(0, 20) + FRAME_MS
    assert len(one.governor.changes) <= 1


@pytest.mark.parametrize("kinds", [DEFAULT, ("passthrough",)])
@pytest.mark.parametrize("swing", [0.1, 0.3, 0.5, 0.8])
def test_swings_around_capacity_change_painted_and_raw_at_most_every_four_seconds(
    kinds: tuple[str, ...], swing: float
) -> None:
    one = machine(swings(1 - swing, 1 + swing), kinds)
    one.run(70)
    always(one)
    changes = one.level_changes()
    assert sum(at < 60 for at, _, _ in changes) <= 2
    assert all(later - sooner >= 4 for (sooner, *_), (later, *_) in pairwise(changes))
    assert one.p99_ms() <= BUDGET_MS + FRAME_MS
    assert one.governor.level == 0
    assert all(at <= 64 - FADE_NS / S for at, _, _ in changes)


@pytest.mark.parametrize("load", [1.8, 3.0, 5.0])
def test_full_quality_is_back_four_seconds_after_the_load_falls(load: float) -> None:
    one = machine(lambda t: load if t < 20 else 0.5)
    one.run(30)
    always(one)
    assert [(old, new) for _, old, new in one.level_changes()] == [(0, 1), (1, 0)]
    assert one.level_changes()[-1][0] <= 24 - FADE_NS / S


def test_a_load_that_fits_is_never_touched() -> None:
    one = machine(lambda t: 0.9)
    one.run(60)
    assert account(one)["run"] == one.arrived
    assert not one.governor.changes


def test_a_little_too_much_is_answered_by_repeating_single_frames() -> None:
    one = machine(lambda t: 1.1)
    one.run(60)
    counts = account(one)
    assert not one.governor.changes
    assert 0.05 <= counts["reuse"] / one.arrived <= 0.15
    assert len(one.latencies_ms) == one.arrived
    actions = [decision.action for _, _, decision, _ in one.decisions]
    assert (Action.REUSE, Action.REUSE) not in set(pairwise(actions))


def test_skipping_one_stage_is_preferred_to_raw_pictures_where_it_is_enough() -> None:
    one = machine(lambda t: 0.5, enhance=lambda t: 1.1 if t < 20 else 0.1)
    one.run(30)
    always(one)
    assert [level.name for level in one.governor.levels] == ["full", "skip", "passthrough"]
    assert [(old, new) for _, old, new in one.level_changes()] == [(0, 1), (1, 0)]


def test_where_skipping_cannot_be_enough_it_is_not_tried_first() -> None:
    one = machine(lambda t: 2.5, enhance=lambda t: 0.5)
    one.run(20)
    always(one)
    assert [(old, new) for _, old, new in one.level_changes()] == [(0, 2)]


def test_a_slow_encoder_costs_as_many_frames_as_it_must() -> None:
    one = machine(lambda t: 0.3, encode_ms=lambda t: 50)
    one.run(40)
    always(one)
    assert len(one.latencies_ms) >= 0.95 * one.arrived * FRAME_MS / 50
    assert one.p99_ms() <= BUDGET_MS + FRAME_MS


def test_dropping_the_top_rung_helps_a_slow_encoder() -> None:
    one = machine(lambda t: 0.5, ("reuse", "drop_rung"), encode_ms=lambda t: 45 if t < 20 else 12)
    one.run(30)
    always(one)
    changes = one.level_changes()
    assert [(old, new) for _, old, new in changes] == [(0, 1), (1, 0)]
    assert changes[1][0] <= 24
    assert one.p99_ms(4, 20) <= BUDGET_MS


def test_a_stage_slower_than_the_budget_is_not_run_for_every_frame_in_vain() -> None:
    one = machine(lambda t: 10, ("reuse",))
    one.run(30)
    always(one)
    assert 5 <= account(one)["run"] <= 60  # tried now and then: it may have become faster


def test_one_slow_start_is_no_reason_to_change_anything() -> None:
    one = machine(lambda t: 90 if t < 0.1 else 0.5)
    one.run(20)
    always(one)
    assert not one.governor.changes
    assert one.p99_ms(5, 20) < BUDGET_MS


def test_probes_take_little_of_the_lane() -> None:
    one = machine(lambda t: 2)
    one.run(60)
    assert 20 < one.probes < 60 * 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.05, 12), min_size=1, max_size=12),
    st.lists(st.floats(2, 120), min_size=1, max_size=6),
    st.floats(0, 0.8),
    st.permutations(["reuse", "skip", "passthrough", "drop_rung"]),
    st.integers(0, 4),
)
def test_whatever_the_load_frames_are_accounted_and_levels_held(
    load: list[float], encode_ms: list[float], noise: float, kinds: list[str], number: int
) -> None:
    one = machine(
        lambda t: load[int(t) % len(load)],
        tuple(kinds[:number]),
        encode_ms=lambda t: encode_ms[int(t / 2) % len(encode_ms)],
        noise=noise,
        enhance=lambda t: load[int(t / 3) % len(load)] / 3,
    )
    one.run(len(load) + 4)
    always(one)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 8), min_size=1, max_size=12), st.booleans())
def test_a_result_is_only_shown_again_after_there_was_one_and_slates_never_turn_raw(
    load: list[float], reuse: bool
) -> None:
    kinds = ("reuse", "slate") if reuse else ("slate",)
    one = machine(lambda t: load[int(t) % len(load)], kinds)
    one.run(len(load) + 2)
    always(one)
    shown = [one.governor.levels[decision.level].show for _, _, decision, _ in one.decisions]
    assert Show.SOURCE not in shown
    result = False
    for show, (_, _, decision, _) in zip(shown, one.decisions, strict=True):
        if decision.action is Action.REUSE:
            assert result and show is Show.GRAPH
        result = show is Show.GRAPH and (result or decision.action is Action.RUN)


def test_a_late_frame_before_the_first_result_is_dropped() -> None:
    governor = Governor(150 * MS, answers(*DEFAULT), ["style"])
    assert governor.decide(S, S + 151 * MS).action is Action.DROP
    assert governor.decide(2 * S, 2 * S + 149 * MS).action is Action.RUN
    assert governor.counts == {"drop late": 1, "run": 1}


def test_a_picture_that_never_reaches_the_encoders_is_not_waited_for() -> None:
    governor = Governor(150 * MS, answers("reuse"), ["style"])
    for number in range(1, 20):
        governor.decide(number * S, number * S)
        governor.handed(number * S, number * S + 10 * MS)
        if number % 4 == 0:
            governor.finished(number * S, number * S + 40 * MS)
    decision = governor.decide(20 * S, 20 * S + 10 * MS)
    assert (decision.action, decision.reason) == (Action.RUN, "in time")


def test_what_was_shown_before_a_break_is_not_shown_again_after_it() -> None:
    governor = Governor(150 * MS, answers("reuse"), ["style"])
    for number in range(5):
        at_ns = S + number * 200 * MS
        assert governor.decide(at_ns, at_ns).action is Action.RUN
        governor.handed(at_ns, at_ns + 100 * MS)
        governor.finished(at_ns, at_ns + 110 * MS)
    received_ns = 2 * S
    assert governor.decide(received_ns, received_ns + 100 * MS).action is Action.REUSE
    assert governor.decide(received_ns, received_ns + 151 * MS).action is Action.DROP
    governor.forget()
    assert governor.decide(received_ns, received_ns + 100 * MS).action is Action.DROP


def test_a_change_fades_for_a_quarter_of_a_second() -> None:
    one = machine(lambda t: 2)
    one.run(5)
    at_ns = one.governor.changes[0].at_ns
    fades = [(now - at_ns, one.fade, one.level) for now, _, one, _ in one.decisions]
    rising = [(after, fade) for after, fade, level in fades if level and after < FADE_NS]
    assert len(rising) >= 5
    assert rising[0] == (0, 0.0)
    assert all(math.isclose(fade, after / FADE_NS) for after, fade in rising)
    assert all(fade == 1.0 for after, fade, level in fades if not level or after >= FADE_NS)


def test_each_level_keeps_what_the_one_before_gave_up() -> None:
    ladder = levels(
        (
            Answer(kind="reuse"),
            Answer(kind="skip", nodes=("grain",)),
            Answer(kind="skip"),
            Answer(kind="drop_rung"),
            Answer(kind="slate"),
        ),
        frozenset({"enhance"}),
    )
    assert ladder == (
        Level("full"),
        Level("skip grain", frozenset({"grain"})),
        Level("skip", frozenset({"grain", "enhance"})),
        Level("drop_rung", frozenset({"grain", "enhance"}), top_rung=False),
        Level("slate", frozenset({"grain", "enhance"}), Show.SLATE, top_rung=False),
    )


def test_skipping_nothing_is_no_level() -> None:
    assert levels(answers("reuse", "skip"), frozenset()) == (Level("full"),)


def test_a_pipeline_that_can_miss_its_budget_is_warned_of() -> None:
    assert worst_case([2, 1, 2], 40 * MS) == 200 * MS
    assert warning([2, 1], 40 * MS, 150 * MS) is None
    text = warning([2, 1, 2], 40 * MS, 150 * MS)
    assert text is not None
    assert "150 ms" in text
    assert "200 ms" in text
