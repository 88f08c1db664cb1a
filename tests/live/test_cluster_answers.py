"""What an edge of a cluster answers for the coordinator that leads: a real edge and a real
coordinator; nodes and the other edge only act as such."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiortc.mediastreams import VideoStreamTrack

pytest.importorskip("fastapi")

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


def test_a_publisher_by_whip_is_told_that_there_is_no_room_and_until_when(
    led: tuple[Shown, Server], tmp_path: Path
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
