"""A cluster at a glance: what a leader says of it, and what a standby says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("zmq")

from streamgen.control.placement.resources import Profile, Resources
from tests.control.api.shown import Shown

BIG = Profile("huge", (Resources(cpu_ms=90_000),))


def cluster(shown: Shown, query: str = "") -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", shown.port, timeout=30)
    try:
        connection.request("GET", f"/v1/cluster?{query}")
        answer = connection.getresponse()
        assert answer.status == 200
        return dict(json.loads(answer.read()))
    finally:
        connection.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Two nodes, one of which died with a stream, one stream without room, some jobs."""
    with Shown(tmp_path_factory.mktemp("cluster")) as one:
        one.until(one.leads, "it leads")
        one.edge("edge-1")
        one.node("node-1")
        one.want("edge-1", "main")
        one.until(lambda: "main" in one.nodes["node-1"].running, "an owner")
        one.want("edge-1", "wall", BIG)
        one.node("node-2")
        one.until(lambda: cluster(one)["nodes"]["states"] == {"up": 2}, "two nodes")
        one.dies("node-1")
        one.until(lambda: "main" in one.nodes["node-2"].running, "another owner")
        one.job("half", "waiting", 4, 2)
        one.job("over", "done", 2)
        one.job("bad", "failed", 3)
        one.until(lambda: settled(cluster(one)), "all of it")
        yield one


def settled(told: dict[str, Any]) -> bool:
    streams, jobs = told["streams"]["states"], told["jobs"] or {"states": {}}
    return (
        told["nodes"]["states"] == {"up": 2}
        and len(told["edges"]) == 1
        and (streams["running"], streams["waiting"]) == (1, 1)
        and len(jobs["states"]) == 3
    )


def test_a_leader_tells_of_nodes_streams_edges_and_jobs(shown: Shown) -> None:
    told = cluster(shown, "most=99")
    assert told["leads"] and told["leader"] | {"for_ms": 0} == {
        "name": "host-1",
        "epoch": 1,
        "for_ms": 0,
    }
    assert told["load"]["cpu_ms"] == {"used": 500, "limit": 7_200}
    assert told["streams"]["states"] == {"running": 1, "starting": 0, "moving": 0, "waiting": 1}
    waiting, running = told["streams"]["rows"]
    assert (waiting["name"], running["name"]) == ("wall", "main")  # what is wrong comes first
    assert "cpu_ms 90000" in waiting["reason"]
    assert running["owner"]["node"] == "node-2"
    [edge] = told["edges"]
    assert edge == {"name": "edge-1", "place": "tcp://10.0.0.9:7006", "streams": 2}
    news = [(one["kind"], one["name"]) for one in told["events"]]
    assert ("takeovers", "main") in news and ("node died", "node-1") in news
    assert news[-1] == ("leads", "host-1")
    assert all(one["ago_ms"] >= 0 for one in told["events"])


def test_jobs_that_are_not_over_come_first_with_what_is_made_of_them(shown: Shown) -> None:
    jobs = cluster(shown, "most=98")["jobs"]
    assert jobs["states"] == {"waiting": 1, "done": 1, "failed": 1}
    first = jobs["rows"][0]
    assert (first["name"], first["pieces_done"], first["pieces"]) == ("half", 2, 4)
    rows = {row["name"]: row for row in jobs["rows"]}
    assert rows["over"]["pieces_done"] == 2
    assert rows["bad"]["error"] == "no such file"


@pytest.mark.parametrize(
    ("find", "nodes", "streams"),
    [("main", [], ["main"]), ("NODE-2", ["node-2"], ["main"]), ("edge-1", [], ["wall", "main"])],
)
def test_nodes_and_streams_are_found_by_their_names_and_streams_by_who_has_them(
    shown: Shown, find: str, nodes: list[str], streams: list[str]
) -> None:
    told = cluster(shown, f"find={quote(find)}")
    assert [one["name"] for one in told["nodes"]["rows"]] == nodes
    assert [one["name"] for one in told["streams"]["rows"]] == streams
    assert told["nodes"]["states"] == {"up": 2}  # of all of them


def test_only_so_many_are_told_as_are_asked_for(shown: Shown) -> None:
    told = cluster(shown, "most=1")
    assert (told["nodes"]["found"], len(told["nodes"]["rows"])) == (2, 1)
    assert (told["streams"]["found"], len(told["streams"]["rows"])) == (2, 1)


def test_a_standby_says_who_leads_and_shows_the_jobs(shown: Shown) -> None:
    with Shown(shown.folder, "host-2") as standby:
        told = cluster(standby)
        assert not told["leads"] and "nodes" not in told
        assert told["leader"] == {"name": "host-1", "epoch": 1}
        assert told["jobs"]["states"]["failed"] == 1
        assert told["store"]["answers"]
