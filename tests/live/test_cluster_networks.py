"""Streams of a cluster go on when networks are cut, and never have two owners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.apart import (
    WORKERS,
    Apart,
    Show,
    longest_gap,
    missing,
    one_owner_at_a_time,
    signature,
)
from tests.live.numbered import RATE, tape
from tests.live.serving import needs_ffmpeg
from tests.live.wires import Loopback, Namespaces, Way, no_namespaces

pytestmark = needs_ffmpeg
CUT_S = 4.5
SECONDS = 90


@pytest.fixture
def hosts() -> Iterator[Namespaces]:
    reason = no_namespaces()
    if reason:
        pytest.skip(reason)
    with Namespaces("coordinator", "edge", *WORKERS) as made:
        yield made


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made


def started(folder: Path, way: Way, open_: ExitStack) -> tuple[Apart, Show]:
    cluster = open_.enter_context(Apart(folder, way))
    open_.callback(lambda: print(cluster.logs()))
    file = tape(folder / "numbered.flv", SECONDS * RATE, gop=RATE)
    show = Show(cluster.edge, "show", file)
    open_.callback(show.end)
    show.shows(2 * RATE)
    return cluster, show


def cut(show: Show, way: Way, name: str) -> None:
    """For some time."""
    way.cut(name)
    ends = time.monotonic() + CUT_S
    show.until(lambda: time.monotonic() > ends, "end of the cut")
    way.mend(name)


def test_a_stream_loses_nothing_while_the_coordinator_is_away_and_goes_on_after_cuts_of_its_own(
    tmp_path: Path, loopback: Loopback
) -> None:
    with ExitStack() as open_:
        cluster, show = started(tmp_path, loopback, open_)
        owner = show.row["worker"]
        cut(show, loopback, "coordinator")
        show.shows(2 * RATE)
        cluster.kill("coordinator")
        show.shows(RATE)
        cluster.coordinator()
        show.shows(3 * RATE)
        lost = max(missing(rung) for rung in show.rungs)
        show.until(lambda: lost <= sum(show.given_up().values()), f"why {lost} are missing")
        assert show.row["worker"] == owner and not show.row["took_over_s"]
        for rung in show.rungs:
            assert one_owner_at_a_time(rung) == [signature(owner)]

        cut(show, loopback, "edge")
        show.until(lambda: show.row["took_over_s"], "motion again")
        show.shows(2 * RATE)
        takeovers = len(show.row["took_over_s"])
    for rung in show.rungs:
        assert len(one_owner_at_a_time(rung)) <= 1 + takeovers


def test_a_worker_s_host_that_was_cut_off_comes_back_and_shows_nothing(
    tmp_path: Path, hosts: Namespaces
) -> None:
    """And its streams are elsewhere before viewers miss two seconds of them. Then the coordinator's
    host is cut off, too."""
    with ExitStack() as open_:
        cluster, show = started(tmp_path, hosts, open_)
        first = show.row["worker"]
        [second] = set(WORKERS) - {first}
        cut(show, hosts, first)
        show.until(lambda: show.row["worker"] == second and show.row["took_over_s"], "takeover")
        here = f"worker {first} is here"
        show.until(lambda: cluster.edge.log().count(here) >= 2, "who was cut off is back")
        show.shows(2 * RATE)
        before = show.row["took_over_s"]
        cut(show, hosts, "coordinator")
        show.shows(2 * RATE)
        assert show.row["took_over_s"] == before and show.row["worker"] == second
    for rung in show.rungs:
        assert one_owner_at_a_time(rung) == [signature(first), signature(second)]
        assert longest_gap(rung) < 2 * RATE
