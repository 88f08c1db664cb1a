"""`Breaker`: rare failures pass, a stage that keeps failing rests, and comes back when well."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.errors import ConfigError
from streamgen.graph.breaker import Breaker, BreakerSettings, Outcome, State, Verdict
from streamgen.testing import ManualClock

FRAME_S = 1 / 30


def drive(
    breaker: Breaker, clock: ManualClock, frames: int, ends: Callable[[int], Outcome]
) -> list[Verdict]:
    """One frame after the other at 30 fps; each call ends as `ends` says of its frame."""
    verdicts = []
    for number in range(frames):
        verdict = breaker.allows()
        verdicts.append(verdict)
        if verdict is not Verdict.BYPASS:
            breaker.outcome(ends(number), probe=verdict is Verdict.PROBE)
        clock.advance(FRAME_S)
    return verdicts


def fresh(settings: BreakerSettings | None = None) -> tuple[Breaker, ManualClock]:
    clock = ManualClock(10**9)
    return Breaker(settings or BreakerSettings(), clock), clock


@pytest.mark.parametrize("bad", [Outcome.FAILED, Outcome.LATE])
def test_failing_every_fiftieth_frame_never_opens(bad: Outcome) -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 30 * 600, lambda n: bad if n % 50 == 0 else Outcome.OK)
    assert breaker.state is State.CLOSED
    assert breaker.counts["opened"] == breaker.counts["bypassed"] == 0
    assert breaker.counts[bad.value] == 360


@pytest.mark.parametrize("bad", [Outcome.FAILED, Outcome.LATE])
def test_failing_always_opens_within_ten_frames(bad: Outcome) -> None:
    breaker, clock = fresh()
    verdicts = drive(breaker, clock, 10, lambda n: bad)
    assert breaker.state is State.OPEN
    assert verdicts[-1] is Verdict.BYPASS
    assert breaker.counts["opened"] == 1


def test_long_health_does_not_delay_the_opening() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 5000, lambda n: Outcome.OK)
    drive(breaker, clock, 10, lambda n: Outcome.FAILED)
    assert breaker.state is State.OPEN


def test_what_recovered_is_closed_again_at_most_250_ms_after_the_rest() -> None:
    breaker, clock = fresh()
    verdicts = drive(breaker, clock, 40, lambda n: Outcome.FAILED if n < 5 else Outcome.OK)
    out = verdicts[5:].index(Verdict.RUN)
    assert verdicts[5 + out :] == [Verdict.RUN] * (35 - out)
    assert out * FRAME_S <= 0.25 + 0.25


def test_probes_are_bypassed_frames_whose_results_nobody_sees() -> None:
    breaker, clock = fresh()
    verdicts = drive(breaker, clock, 40, lambda n: Outcome.FAILED if n < 5 else Outcome.OK)
    assert verdicts[5:].count(Verdict.PROBE) == 3
    assert breaker.counts["bypassed"] == verdicts.count(Verdict.BYPASS) + 3


def test_each_failed_probe_doubles_the_rest_up_to_its_limit() -> None:
    breaker, clock = fresh()
    verdicts = drive(breaker, clock, 30 * 60, lambda n: Outcome.FAILED)
    probes = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.PROBE]
    rests = [(b - a) * FRAME_S for a, b in pairwise(probes)]
    assert rests[:5] == pytest.approx([0.5, 1, 2, 4, 8], abs=2 * FRAME_S)
    assert max(rests) <= 8 + 2 * FRAME_S


def test_one_good_probe_is_not_enough_and_a_bad_one_starts_over() -> None:
    breaker, clock = fresh()
    answers = iter([Outcome.OK, Outcome.OK, Outcome.FAILED] + [Outcome.OK] * 100)
    drive(breaker, clock, 5, lambda n: Outcome.FAILED)
    drive(breaker, clock, 12, lambda n: next(answers))
    assert breaker.state is State.OPEN
    assert breaker.counts["opened"] == 2
    verdicts = drive(breaker, clock, 20, lambda n: next(answers))
    assert verdicts[-1] is Verdict.RUN


def test_opening_again_soon_rests_longer_and_after_a_calm_time_briefly() -> None:
    breaker, clock = fresh()
    for rest_s in (0.25, 0.5, 1.0):
        drive(breaker, clock, 5, lambda n: Outcome.FAILED)
        assert breaker.state is State.OPEN
        bypassed = breaker.counts["bypassed"]
        drive(breaker, clock, 60, lambda n: Outcome.OK)
        resting_s = (breaker.counts["bypassed"] - bypassed) * FRAME_S
        assert resting_s == pytest.approx(rest_s, abs=0.15)
    drive(breaker, clock, 30 * 11, lambda n: Outcome.OK)
    bypassed = breaker.counts["bypassed"]
    drive(breaker, clock, 65, lambda n: Outcome.FAILED if n < 5 else Outcome.OK)
    assert (breaker.counts["bypassed"] - bypassed) * FRAME_S == pytest.approx(0.25, abs=0.15)


def test_a_stage_that_is_being_started_anew_speaks_neither_for_nor_against() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 500, lambda n: Outcome.FAILED if n % 40 == 0 else Outcome.ABSENT)
    assert breaker.counts["opened"] >= 1  # five failures, and not one good call between them
    breaker, clock = fresh()
    drive(breaker, clock, 4, lambda n: Outcome.FAILED)
    drive(breaker, clock, 500, lambda n: Outcome.ABSENT)
    assert breaker.state is State.CLOSED


def test_a_probe_of_an_absent_stage_is_asked_again_at_the_next_frame() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 5, lambda n: Outcome.FAILED)
    drive(breaker, clock, 60, lambda n: Outcome.ABSENT)
    assert breaker.state is State.HALF_OPEN
    verdicts = drive(breaker, clock, 4, lambda n: Outcome.OK)
    assert verdicts == [Verdict.PROBE] * 3 + [Verdict.RUN]


def test_only_one_probe_is_out_and_a_lost_one_does_not_keep_it_open_for_ever() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 5, lambda n: Outcome.FAILED)
    clock.advance(0.3)
    assert [breaker.allows() for _ in range(3)] == [
        Verdict.PROBE,
        Verdict.BYPASS,
        Verdict.BYPASS,
    ]
    clock.advance(5)
    assert breaker.allows() is Verdict.PROBE


def test_calls_from_before_it_opened_decide_nothing_afterwards() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 5, lambda n: Outcome.FAILED)
    for _ in range(5):
        breaker.outcome(Outcome.OK)
    assert breaker.state is State.OPEN
    clock.advance(0.3)
    assert breaker.allows() is Verdict.PROBE
    for _ in range(5):
        breaker.outcome(Outcome.OK)
    breaker.outcome(Outcome.FAILED)
    assert breaker.counts["opened"] == 1


def test_failures_of_long_ago_are_forgotten() -> None:
    breaker, clock = fresh()
    drive(breaker, clock, 4, lambda n: Outcome.FAILED)
    clock.advance(31)
    drive(breaker, clock, 4, lambda n: Outcome.FAILED)
    assert breaker.state is State.CLOSED


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 20 failures"):
        BreakerSettings(failures=21)


@given(st.lists(st.sampled_from(list(Outcome)), max_size=400))
def test_every_frame_is_run_or_bypassed_and_open_only_after_enough_failures(
    ends: list[Outcome],
) -> None:
    breaker, clock = fresh()
    verdicts = drive(breaker, clock, len(ends), lambda n: ends[n])
    counts = breaker.counts
    called = sum(counts[one.value] for one in Outcome)
    assert called == verdicts.count(Verdict.RUN) + verdicts.count(Verdict.PROBE)
    assert counts["bypassed"] == len(ends) - verdicts.count(Verdict.RUN)
    bad = counts["failed"] + counts["late"]
    assert counts["opened"] == 0 or bad >= 5 + (counts["opened"] - 1)
