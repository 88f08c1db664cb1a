from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from streamgen.config import check, load
from streamgen.control.placement.resources import DIMENSIONS
from streamgen.control.simulate.arrivals import arrivals, wanted
from streamgen.control.simulate.figures import Figures, summary
from streamgen.control.simulate.simulation import simulate
from streamgen.control.simulate.trace import MINUTE, Trace
from streamgen.errors import ConfigError
from tests.conftest import ROOT

SMALL = ROOT / "examples" / "cluster" / "small.yaml"
NODE = {"cpu_ms": 4000, "gpu_ms": 1000, "memory_mb": 8000}
STYLE = {"name": "style", "needs": [{"cpu_ms": 300, "gpu_ms": 190}], "models": ["starry"]}


def trace(**changes: object) -> Trace:
    written = {
        "length": "60min",
        "nodes": [{"name": "gpu", "count": 8, "capacity": NODE}],
        "profiles": [STYLE],
        "streams": [
            {
                "profile": "style",
                "running": {"low": 10, "high": 20, "high_at": "30min"},
                "length": "10min",
            }
        ],
    }
    return check(Trace, written | changes)


def run(settings: Trace) -> Figures:
    ticks = count(step=1000)
    return simulate(settings, lambda: next(ticks))


def test_a_quiet_hour_refuses_nobody_and_promises_nothing_twice() -> None:
    answer = summary(run(trace()))
    assert answer["streams"] > 50
    assert answer["refused_percent"] == answer["over_commits"] == answer["takeovers"] == 0
    assert 1 <= answer["nodes_over_lower_bound"] < 2


def test_the_same_seed_gives_the_same_figures_and_another_one_others() -> None:
    failing = {"failures": {"every": "60min", "back_after": "1min"}}
    first, again = run(trace(**failing)), run(trace(**failing))
    assert first == again
    assert run(trace(**failing, seed=2)) != first


@pytest.mark.parametrize(
    ("silent", "least_ms", "most_ms"),
    [
        (
            0.0,
            0,
            1000,
        ),  # the word and the command take 20 ms each, the first picture 500 ms at most
        (1.0, 1250, 2000),  # and the edge waits for 1.25 s before
    ],
    ids=["killed", "silent"],
)
def test_what_dead_nodes_carried_goes_on_as_soon_as_edges_know_where_there_is_room(
    silent: float, least_ms: float, most_ms: float
) -> None:
    dying = {"every": "30min", "back_after": "1min", "silent": silent}
    figures = run(trace(failures=dying))
    assert figures.node_failures > 3
    assert len(figures.gaps) > 5
    assert least_ms < min(figures.gaps)
    assert np.percentile(figures.gaps, 50) < most_ms


def test_a_rolling_restart_reaches_every_node_and_breaks_no_stream() -> None:
    figures = run(trace(restarts=[{"at": "10min", "nodes": 8, "at_once": 2}]))
    assert figures.restarts == 8
    assert figures.moves > 0
    assert figures.gaps == [] and figures.ended_in_gap == 0


def test_a_dead_coordinator_stops_growth_and_no_stream() -> None:
    settings = trace(leaders={"die_at": ["30min"], "away": "60s"})
    figures = run(settings)
    assert figures.gaps == [] and figures.ended_in_gap == 0
    assert len(figures.taking_over_ns) == 2
    assert max(figures.started) > 10_000, "nobody began while nobody led"


def test_too_much_is_refused_and_batch_yields_first() -> None:
    wave = {"low": 90, "high": 90}
    streams = [
        {"profile": "style", "standing": "batch-free", "running": wave, "length": "10min"},
        {"profile": "style", "standing": "live-paid", "running": wave, "length": "10min"},
    ]
    answer = summary(run(trace(streams=streams)))
    assert answer["preempted"] > 0
    assert answer["refused_percent"] > 10
    assert answer["over_commits"] == 0


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_nodes_carry_no_more_than_they_have_of_anything(dimension: str) -> None:
    """Half of the streams are asked to give something up, and others die and move meanwhile."""
    full = dict.fromkeys(DIMENSIONS, 1000)
    needs = [{dimension: 400}, {dimension: 250}]
    wave = {"low": 30, "high": 30}
    kinds = [
        {"profile": "scarce", "standing": standing, "running": wave, "length": "5min"}
        for standing in ("live-paid", "live-free", "batch-free")
    ]
    settings = trace(
        length="30min",
        sample="10s",
        nodes=[{"name": "gpu", "count": 8, "capacity": full}],
        profiles=[{"name": "scarce", "needs": needs}],
        streams=kinds,
        failures={"every": "20min", "back_after": "1min"},
        restarts=[{"at": "10min", "nodes": 8, "at_once": 2}],
        leaders={"die_at": ["20min"]},
    )
    answer = summary(run(settings))
    assert answer["refused_percent"] > 10 and answer["node_failures"] and answer["preempted"]
    assert answer["over_commits"] == 0


def test_as_many_come_as_the_wave_says() -> None:
    settings = trace(length="1440min")
    wave = settings.streams[0].running
    assert wanted(wave, np.array([30.0 * MINUTE, 750.0 * MINUTE])) == pytest.approx([20, 10])
    # Little's law: a mean of 15 at once, each for 10 minutes, 144 times ten minutes.
    assert len(arrivals(settings)) == pytest.approx(15 * 144, rel=0.1)


def test_the_example_is_a_trace() -> None:
    assert load(Trace, SMALL).nodes[0].count == 40


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("length: 1\n", "line 1: length: not a duration"),
        ("length: 1min\nnodes: []\n", "line 2: nodes"),
        (
            "length: 1min\nhead_rom: 0.1\nnodes: [{name: a, count: 1, capacity: {}}]\n",
            "line 2: unknown key 'head_rom'",
        ),
    ],
)
def test_a_trace_that_is_wrong_is_refused_with_the_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "trace.yaml"
    rest = """profiles: [{name: a, needs: [{cpu_ms: 1}]}]
streams: [{profile: a, running: {low: 1, high: 1}, length: 1min}]
"""
    path.write_text(text + rest, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(Trace, path)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": [{"profile": "b", "running": {"low": 1, "high": 1}, "length": "1min"}]},
        {"profiles": [{"name": "style", "needs": [{"gpus": 1}]}]},
        {"profiles": [{"name": "style", "needs": [{"cpu_ms": 1}, {"cpu_ms": 2}]}]},
        {"profiles": [{"name": "style", "needs": []}]},
        {"nodes": [{"name": "a", "count": 1, "capacity": {"cpu_ms": -1}}]},
    ],
)
def test_needs_and_names_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        trace(**changes)
