"""What an edge of a cluster answers for the coordinator that leads: a real edge and a real
coordinator; nodes and the other edge only act as such."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiortc.mediastreams import VideoStreamTrack
from typer.testing import CliRunner

pytest.importorskip("fastapi")

from streamgen.cli import app
from streamgen.control.api import inquiries
from streamgen.control.coordinator.events import StreamEnds
from streamgen.control.placement.resources import Profile, Resources
from tests.control.api.shown import Shown
from tests.edge.webrtc.peers import publish
from tests.edge.webrtc.test_served import over_http
from tests.live.serving import Server

ALL = Profile("all", (Resources(cpu_ms=3_600),))
"""Of the time that a node of the tests has to give."""


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shown, Server]]:
    """A node whose time one stream takes, and an edge of a process of its own."""
    folder = tmp_path_factory.mktemp("led")
    with Shown(folder) as shown:
        shown.until(shown.leads, "it leads")
        shown.edge("other")
        shown.node("node-1")
        shown.want("other", "first", ALL)
        shown.until(lambda: "first" in shown.nodes["node-1"].running, "an owner")
        (folder / "edge").mkdir()
        config = f"workers: 0\ncluster: {{name: edge, coordinators: [{shown.wire}]}}\n"
        edge = Server(folder / "edge", config=config, workers=0)
        try:
            edge.until(lambda: shown.knows("edge"), "the edge at the coordinator")
            yield shown, edge
        finally:
            edge.stop()


def offered(edge: Server, name: str) -> tuple[int, str, str]:
    """Status, when to come again, and the answer's text."""

    async def ask() -> tuple[int, str, str]:
        peer, answer = await publish(over_http(edge), f"/whip/{name}", VideoStreamTrack())
        await peer.close()
        return answer.status, answer.headers.get("retry-after", ""), answer.text

    return asyncio.run(ask())


def printed(*line: str) -> str:
    """What a command prints."""
    answer = CliRunner().invoke(app, list(line))
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_an_edge_tells_of_the_cluster_what_the_coordinator_says(
    led: tuple[Shown, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, edge = led
    told = edge.get("/v1/nodes")[1]
    assert [row["name"] for row in told["nodes"]] == ["node-1"]
    assert [row["name"] for row in told["edges"]] == ["edge", "other"]
    monkeypatch.setattr(inquiries, "LONGEST_BODY", 100)  # in parts
    [row] = edge.get("/v1/cluster/streams")[1]
    assert (row["name"], row["owner"]["node"]) == ("first", "node-1")
    glance = edge.get("/v1/cluster?find=node&most=5")[1]
    assert glance["leads"] and glance["nodes"]["found"] == 1 and glance["streams"]["found"] == 1
    assert edge.get("/v1/cluster?most=0")[0] == 422
    assert edge.get(f"/v1/cluster?find={'x' * 2000}")[0] == 414
    status, told = edge.get("/v1/nodes/nobody/drain", "POST")
    assert (status, told["detail"]) == (404, "no node 'nobody'")


def test_commands_of_a_cluster_may_ask_any_edge(led: tuple[Shown, Server]) -> None:
    shown, edge = led
    for port in (edge.http, shown.port):
        url = f"http://127.0.0.1:{port}"
        [row] = json.loads(printed("nodes", "list", "--json", "--coordinator", url))
        assert (row["name"], row["streams"]) == ("node-1", ["first"])
        assert "1 nodes, 2 edges; streams: 0 waiting, 0 starting, 0 moving, 1 running" in printed(
            "top", "--once", "--coordinator", url
        )
        printed("nodes", "drain", "node-1", "--coordinator", url)
        assert "draining" in printed("nodes", "show", "node-1", "--coordinator", url)
        printed("nodes", "drain", "node-1", "--undo", "--coordinator", url)


def test_an_edge_without_a_store_tells_of_the_coordinators_jobs(
    led: tuple[Shown, Server],
) -> None:
    shown, edge = led
    shown.job("half", "waiting", 4, 2)
    for port in (edge.http, shown.port):
        url = f"http://127.0.0.1:{port}"
        [row] = json.loads(printed("jobs", "list", "--json", "--server", url))
        assert (row["name"], row["state"], row["frames_done"]) == ("half", "running", 20)
        assert json.loads(printed("jobs", "show", "half", "--server", url)) == row
        answer = CliRunner().invoke(app, ["jobs", "show", "none", "--server", url])
        assert answer.exit_code == 2 and "there is no job 'none'" in answer.output
    status, told = edge.get("/v1/jobs", "POST", {})
    assert status == 404 and "no store here" in told["detail"]
    assert printed("jobs", "cancel", "half", "--server", f"http://127.0.0.1:{edge.http}") == (
        "cancelled\n"
    )


def test_a_publisher_by_whip_is_told_that_there_is_no_room_and_until_when(
    led: tuple[Shown, Server],
) -> None:
    shown, edge = led
    status, again_s, text = offered(edge, "second")
    assert (status, again_s) == (503, "5")
    assert "no room for the stream: all nodes are full, most of cpu_ms" in text
    assert edge.get("/v1/streams") == (200, [])

    ends_ms = shown.office.now_ms() + 300_000
    shown.say(shown.edges["other"], StreamEnds("first", ends_ms))
    shown.until(lambda: offered(edge, "second")[1] != "5", "word of its end")
    status, again_s, text = offered(edge, "second")
    assert status == 503 and 5 < int(again_s) <= 300
    assert f"room is expected in {again_s} s" in text

    shown.node("node-2")
    shown.until(lambda: offered(edge, "second")[0] == 201, "room")


def test_an_edge_says_that_nobody_leads(led: tuple[Shown, Server]) -> None:
    shown, edge = led
    shown.stop()
    status: int = edge.until(lambda: _refused(edge), "end of its patience")
    assert status == 503
    problem: dict[str, Any] = edge.get("/v1/jobs")[1]
    assert problem["detail"] == "no coordinator leads"
    url = f"http://127.0.0.1:{edge.http}"
    answer = CliRunner().invoke(app, ["nodes", "list", "--coordinator", url])
    assert answer.exit_code == 1 and "no coordinator leads" in answer.output


def _refused(edge: Server) -> int:
    """Once it does not wait for an answer that might come."""
    status, told = edge.get("/v1/nodes")
    return status if "no coordinator leads" in str(told) else 0
