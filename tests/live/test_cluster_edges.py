"""Publishers go from edge to edge, as edges die or as they like, and viewers elsewhere see no more
than a pause: the session, its numbers, its dates and its clock go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.clustering import Cluster
from tests.live.numbered import RATE, published, tape
from tests.live.playing import Player
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.watching import View, until, watched

pytestmark = needs_ffmpeg
SECONDS = 90


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, ("edge-a", "edge-b", "edge-c")) as one:
        yield one
        print(one.logs())


def test_a_publisher_goes_on_at_another_edge_where_its_own_dies_and_where_it_lives(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Killed at edge-a, goes on at edge-b; then comes to edge-c, where others watch already. Each
    time it begins again with the first picture, and viewers see it from its first GOP on."""
    a, b, c = (cluster.edges[f"edge-{name}"] for name in "abc")
    file = tape(tmp_path / "numbered.flv", SECONDS * RATE, gop=RATE)
    publishers = [published(a, "cam", file)]

    def comes_to(edge: Server) -> float:
        publishers.append(published(edge, "cam", file))
        return time.monotonic()

    async def scene(view: View) -> None:
        await until(lambda: len(view.shown) > 25, "motion at c")
        await asyncio.to_thread(players[0].moves)
        cluster.kill_edge("edge-a")
        publishers[0].kill()
        await until(lambda: time.monotonic() - view.shown[-1].at_s > 0.5, "end of what was sent")
        before, began = len(view.shown), comes_to(b)
        await until(lambda: len(view.shown) > before + RATE, "motion at c, of edge-b", 30)
        first = min(view.shown[before:], key=lambda one: one.number)
        print(f"picture {first.number} {first.at_s - began:.2f} s after its publisher's start")
        assert first.number < 3 * RATE
        players.append(await asyncio.to_thread(Player, b, "cam"))
        with players[1]:
            await asyncio.to_thread(players[0].moves)
            await asyncio.to_thread(players[1].moves)

            comes_to(c)
            before = len(view.shown)
            await until(lambda: publishers[1].poll() is not None, "end of b's publisher")
            await until(lambda: c.stream("cam").get("publisher"), "the publisher at c")
            shown = len(view.shown)
            await until(lambda: len(view.shown) > shown + RATE, "motion of c's own", 30)
            assert min(one.number for one in view.shown[before:]) < 3 * RATE
            for player in players:
                await asyncio.to_thread(player.moves)

    try:
        a.until(lambda: a.frames_out("cam") > 25, "motion")
        session = a.stream("cam")["session"]
        players = [Player(c, "cam")]
        with players[0]:
            view = watched(c, "/whep/cam", scene)
        for player in players:
            print(player.facts())
            assert player.session == session
            assert player.wrong == [] and player.parts > 10
            assert player.double == 0
        assert view.monotonic
        assert c.stream("cam")["session"] == session
    finally:
        for publisher in publishers:
            publisher.kill()
            publisher.wait(10)


def test_the_streams_of_an_edge_that_is_restarted_go_on_in_their_sessions(
    cluster: Cluster,
) -> None:
    """It is told to leave them; its publishers come to another edge, and back."""
    a, b = cluster.edges["edge-a"], cluster.edges["edge-b"]
    publishers = [Publisher(a, "cam", seconds=240)]
    try:
        a.until(lambda: a.frames_out("cam") > 25, "motion")
        session = a.stream("cam")["session"]
        with Player(b, "cam") as player:
            player.moves()
            os.kill(a.pids()["edge"], signal.SIGUSR1)
            a.until(lambda: publishers[0].process.poll() is not None, "the end of its publisher")
            publishers.append(Publisher(b, "cam", seconds=240))
            player.moves(3, 60)
        print(player.facts())
        assert player.session == session == b.stream("cam")["session"]
        assert player.wrong == [] and player.parts > 10
        here = '"message": "the stream ended"'
        assert a.log().count(here) == 1
        a.until(lambda: a.log().count("listening: http") == 2, "the edge that was started again")
    finally:
        for publisher in publishers:
            publisher.close()
