"""Who is given up for being silent, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.control.wire import BEAT_S, DEAD_S
from streamgen_edge.silence import Silence

LOOK_S = BEAT_S / 2
PROMISED_S = 2.0
TAKEOVER_S = 0.5
"""Of the promise, for the next worker's first picture."""
STALL_S = BEAT_S + 0.5
"""Between two beats of a worker that gets no processor for half a second."""


class Hours:
    """An edge that looks when it should, and workers of which it hears at given times."""

    def __init__(self, *workers: str) -> None:
        self.now_s = 0.0
        self.silence = Silence(0.0)
        self.elsewhere = True
        self.gone: dict[str, float] = {}
        """When each worker was given up."""
        for worker in workers:
            self.silence.heard(worker)

    def passes(self, seconds: float, *, heard: Iterable[str] = (), sleeps: float = LOOK_S) -> None:
        """With looks that are so far apart, and before each of them these workers are heard."""
        ends_s = self.now_s + seconds
        while self.now_s < ends_s:
            self.now_s += sleeps
            for worker in heard:
                self.silence.heard(worker)
            for worker in self.silence.look(self.now_s, elsewhere=self.elsewhere):
                self.silence.forget(worker)
                self.gone[worker] = self.now_s


def test_a_worker_that_falls_silent_is_given_up_so_soon_that_a_takeover_fits_into_two_seconds() -> (
    None
):
    hours = Hours("frozen", "other")
    hours.passes(5, heard=["other"])
    assert set(hours.gone) == {"frozen"}
    assert hours.gone["frozen"] <= PROMISED_S - TAKEOVER_S


@pytest.mark.parametrize("stands_s", [STALL_S, 1.0])
def test_a_worker_that_gets_no_processor_again_and_again_keeps_its_streams(stands_s: float) -> None:
    hours = Hours("busy", "other")
    for _ in range(100):
        hours.passes(stands_s, heard=["other"])
        hours.passes(BEAT_S, heard=["busy", "other"])
    assert not hours.gone


def test_where_no_worker_is_heard_it_is_the_edge_that_is_cut_off_and_all_have_more_time() -> None:
    hours = Hours("one", "two")
    hours.passes(BEAT_S, heard=["two"])  # beats do not come at the same time
    hours.passes(DEAD_S - 2 * BEAT_S)
    assert not hours.gone
    hours.passes(1.0)
    assert set(hours.gone) == {"one", "two"}


def test_of_workers_that_are_heard_again_one_after_the_other_none_is_given_up() -> None:
    """The edge's network was cut: each connection goes on when TCP tries it next."""
    hours = Hours("one", "two", "three")
    hours.passes(1.5)
    hours.passes(0.5, heard=["one"])
    hours.passes(0.5, heard=["one", "two"])
    hours.passes(1.0, heard=["one", "two", "three"])
    assert not hours.gone


def test_one_that_stays_away_when_the_edge_s_network_is_back_is_given_up_soon() -> None:
    hours = Hours("frozen", "other")
    hours.passes(1.0)
    hours.passes(DEAD_S - 1.0, heard=["other"])
    assert set(hours.gone) == {"frozen"}
    assert hours.gone["frozen"] <= 1.0 + PROMISED_S - TAKEOVER_S


def test_the_late_beats_of_the_only_other_worker_delay_nothing() -> None:
    hours = Hours("frozen", "other")
    for _ in range(4):
        hours.passes(2 * BEAT_S - LOOK_S)
        hours.passes(LOOK_S, heard=["other"])
    assert set(hours.gone) == {"frozen"}
    assert hours.gone["frozen"] <= PROMISED_S - TAKEOVER_S


@pytest.mark.parametrize("why", ["there is no other worker", "nobody can say who is to have them"])
def test_a_worker_that_nobody_can_stand_in_for_is_waited_for(why: str) -> None:
    others = ["other"] if why.startswith("nobody") else []
    hours = Hours("frozen", *others)
    hours.elsewhere = not others
    hours.passes(DEAD_S - BEAT_S, heard=others)
    assert not hours.gone
    hours.passes(2 * BEAT_S, heard=others)
    assert set(hours.gone) == {"frozen"}


def test_an_edge_that_stood_still_blames_no_worker_for_what_it_did_not_hear() -> None:
    hours = Hours("one", "two")
    hours.passes(30.0, sleeps=10.0)
    assert not hours.gone


@given(
    st.lists(st.tuples(st.floats(0.0, STALL_S), st.floats(0.001, 20.0)), max_size=50),
    st.booleans(),
)
def test_no_stall_of_a_worker_costs_its_streams_whenever_the_edge_looked(
    stalls: list[tuple[float, float]], elsewhere: bool
) -> None:
    hours = Hours("worker", "other")
    hours.elsewhere = elsewhere
    for lasts_s, sleeps_s in stalls:
        hours.passes(lasts_s, heard=["other"])
        hours.passes(sleeps_s, heard=["worker", "other"], sleeps=sleeps_s)
    assert not hours.gone
