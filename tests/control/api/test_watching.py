"""The cluster's alerts and dashboard ask for figures that a coordinator really gives."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

pytest.importorskip("fastapi")
pytest.importorskip("zmq")

from streamgen.control.placement.resources import Profile, Resources
from tests.conftest import ROOT
from tests.control.api.shown import PIECE_S, Shown

DEPLOY = ROOT / "edge" / "deploy"
BIG = Profile("huge", (Resources(cpu_ms=90_000),))
OURS = re.compile(r"(streamgen_\w+)(?:\{([^}]*)\})?")
Sample = tuple[str, dict[str, str], float]


def queries() -> Iterator[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "cluster-alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "cluster.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sample]]:
    with Shown(tmp_path_factory.mktemp("cluster")) as one:
        one.until(one.leads, "it leads")
        one.edge("edge-1")
        one.node("node-1")
        for name, state, pieces, done in (
            ("over", "done", 2, 2),
            ("half", "waiting", 4, 3),
            ("new", "waiting", 5, 0),
            ("wrong", "failed", 3, 0),
        ):
            one.job(name, state, pieces, done)
        one.claim()
        one.want("edge-1", "main")
        one.want("edge-1", "wall", BIG)
        one.until(lambda: "main" in one.nodes["node-1"].running, "an owner")
        one.node("node-2")
        one.until(
            lambda: "node-2" in one.office.desk.coordinator.cluster.scheduler.bins.slots, "nodes"
        )
        one.until(lambda: "wall" in one.office.desk.waits, "word that there is no room")
        yield list(_scraped(one.port))


def _scraped(port: int) -> Iterator[Sample]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


def test_every_figure_that_is_asked_for_is_given(samples: list[Sample]) -> None:
    asked = {found for query in queries() for found in OURS.findall(query)}
    assert len({name for name, _ in asked}) >= 12
    for name, inside in sorted(asked):
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', inside))
        there = [labels for other, labels, _ in samples if other == name]
        assert any(wanted.items() <= labels.items() for labels in there), (name, inside)


def test_every_label_that_is_told_apart_by_is_there(samples: list[Sample]) -> None:
    named = {
        label
        for query in queries()
        for one in re.findall(r"by \(([\w, ]+)\)", query)
        for label in one.split(", ")
    }
    there = {label for _, labels, _ in samples for label in labels}
    assert named <= there | {"instance"}


def test_every_figure_is_asked_for_somewhere(samples: list[Sample]) -> None:
    """What nobody looks at need not be counted."""
    part = re.compile(r"_(bucket|sum|count|created)$")
    asked = {part.sub("", name) for query in queries() for name, _ in OURS.findall(query)}
    assert {part.sub("", name) for name, _, _ in samples} == asked


def test_jobs_and_their_pieces_are_counted_by_state(samples: list[Sample]) -> None:
    states = ("waiting", "running", "done", "failed", "cancelled")
    for name, numbers in (("jobs", (1, 1, 1, 1, 0)), ("job_pieces", (8, 1, 5, None, 0))):
        for state, number in zip(states, numbers, strict=True):
            wanted = [] if number is None else [number]
            assert told(samples, name, state=state) == wanted, (name, state)
    assert told(samples, "job_piece_seconds_count") == [5]
    assert told(samples, "job_piece_seconds_sum") == [5 * PIECE_S]


def test_each_node_tells_how_full_it_is_in_each_dimension_that_it_has(
    samples: list[Sample],
) -> None:
    assert told(samples, "node_used", node="node-1", dimension="cpu_ms") == [500]
    assert told(samples, "node_limit", node="node-1", dimension="cpu_ms") == [3_600]
    assert told(samples, "node_used", node="node-2", dimension="memory_mb") == [0]
    assert told(samples, "node_limit", dimension="gpu_ms") == []
    for name in ("used", "limit"):
        for dimension in ("cpu_ms", "memory_mb"):
            [all_] = told(samples, name, dimension=dimension)
            assert sum(told(samples, f"node_{name}", dimension=dimension)) == all_


def test_messages_are_counted_by_what_they_say(samples: list[Sample]) -> None:
    assert told(samples, "messages_heard_total", kind="NodeRegistered") == [2]
    assert told(samples, "messages_heard_total", kind="StreamWanted") == [2]
    (waits,) = told(samples, "messages_said_total", kind="Wait")
    assert waits >= 1  # until when may be told again
    assert told(samples, "messages_said_total", kind="Assign") == [2]  # to node and edge


def told(samples: list[Sample], name: str, **labels: str) -> list[float]:
    """What is given under this name with these labels, and perhaps others."""
    return [
        value
        for other, inside, value in samples
        if other == f"streamgen_coordinator_{name}" and labels.items() <= inside.items()
    ]
