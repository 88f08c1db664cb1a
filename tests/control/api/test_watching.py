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
from tests.control.api.shown import Shown

DEPLOY = ROOT / "edge" / "deploy"
BIG = Profile("huge", (Resources(cpu_ms=90_000),))
OURS = re.compile(r"(streamgen_\w+)(?:\{([^}]*)\})?")
Sample = tuple[str, dict[str, str]]


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
        one.want("edge-1", "main")
        one.want("edge-1", "wall", BIG)
        one.until(lambda: "main" in one.nodes["node-1"].running, "an owner")
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
            yield sample.name, dict(sample.labels)


def test_every_figure_that_is_asked_for_is_given(samples: list[Sample]) -> None:
    asked = {found for query in queries() for found in OURS.findall(query)}
    assert len({name for name, _ in asked}) >= 12
    for name, inside in sorted(asked):
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', inside))
        there = [labels for other, labels in samples if other == name]
        assert any(wanted.items() <= labels.items() for labels in there), (name, inside)


def test_every_label_that_is_told_apart_by_is_there(samples: list[Sample]) -> None:
    named = {
        label
        for query in queries()
        for one in re.findall(r"by \(([\w, ]+)\)", query)
        for label in one.split(", ")
    }
    there = {label for _, labels in samples for label in labels}
    assert named <= there | {"instance"}


def test_every_figure_is_asked_for_somewhere(samples: list[Sample]) -> None:
    """What nobody looks at need not be counted."""
    asked = {name.removesuffix("_bucket") for query in queries() for name, _ in OURS.findall(query)}
    given = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name, _ in samples}
    assert given == asked
