"""What those who watch see when something goes wrong: a rest, a dead worker, a still publisher."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.watching import View, until, watched

pytestmark = needs_ffmpeg
ROOT = Path(__file__).resolve().parents[2]
LADDER = [{"height": 180, "bitrate": "400k"}, {"height": 90, "bitrate": "150k"}]
LIVE = {"latency_budget": "200ms", "when_late": ["drop_rung"]}
PATIENT = {"latency_budget": "1s", "when_late": ["reuse"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a stage that is as slow as it is told to be."""
    folder = tmp_path_factory.mktemp("server")
    info = folder / "site" / "slow_stages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-stages\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamgen.stages]\nslow = tests.live.stages:Slow\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), str(ROOT)]))
        one = Server(folder, "--pipeline", "transcode")
        yield one
        one.stop()


def choose(server: Server, name: str, live: dict[str, Any]) -> None:
    """The pipeline of a stream to come."""
    pipeline = {"name": name, "stages": ["slow"], "ladder": LADDER, "live": live}
    assert server.get(f"/v1/streams/{name}", "PUT", {"pipeline": pipeline})[0] in (200, 202)


def slow(server: Server, name: str, ms: float) -> None:
    body = {"node": "slow", "values": {"ms": ms}}
    assert server.get(f"/v1/streams/{name}/params", "PATCH", body)[0] in (200, 202)


def test_a_rung_that_the_governor_drops_has_gaps_and_comes_back(server: Server) -> None:
    choose(server, "rungs", LIVE)
    publisher = Publisher(server, "rungs")
    seen: dict[str, Seen] = {}
    texts: dict[str, str] = {}

    def look() -> bool:
        for place in renditions(server, "rungs"):
            texts[place] = server.get(place)[1]
            seen.setdefault(place, Seen()).look(texts[place])
        return False

    async def scene(view: View) -> None:
        await until(lambda: look() or len(view.shown) > 25, "pictures")
        await asyncio.to_thread(slow, server, "rungs", 50)
        await until(lambda: look() or server.stream("rungs")["rested"], "rest")
        rested = time.monotonic()
        await until(lambda: look() or view.heights(rested + 0.5) == {90}, "the lower rung", 5)
        await until(lambda: look() or time.monotonic() > rested + 3, "time")
        await asyncio.to_thread(slow, server, "rungs", 0)
        await until(lambda: look() or view.shown[-1].height == 180, "the upper rung", 25)
        back = time.monotonic()
        await until(lambda: look() or time.monotonic() > back + 3, "time")
        assert view.heights(back) == {180}

    try:
        server.until(lambda: len(renditions(server, "rungs")) == 3, "playlists")
        view = watched(server, "/whep/rungs?rung=180p", scene)
    finally:
        publisher.close()
    print("longest between two pictures", view.longest_s)
    assert view.monotonic and view.longest_s < 1.0
    top, low = (next(t for p, t in texts.items() if rung in p) for rung in ("/180p/", "/90p/"))
    assert "#EXT-X-GAP" in top and "GAP" not in low
    last = top[top.rindex("#EXT-X-GAP") :]
    assert last.count("#EXTINF") >= 2  # and segments after it again
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place


@pytest.mark.parametrize("gop", [25, 250])
def test_a_dead_worker_costs_viewers_a_moment_and_no_setting(server: Server, gop: int) -> None:
    name = f"killed-{gop}"
    choose(server, name, PATIENT)
    publisher = Publisher(server, name, gop=gop)
    killed = 0.0

    async def scene(view: View) -> None:
        nonlocal killed
        await until(lambda: len(view.shown) > 25, "pictures")
        await asyncio.to_thread(slow, server, name, 9)
        before = await asyncio.to_thread(server.stream, name)
        await asyncio.sleep(3.5)  # the other worker gets ready meanwhile
        os.kill(server.pids()[before["worker"]], signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: view.shown[-1].at_s > killed + 0.3, "motion")
        await asyncio.sleep(2)
        row = await asyncio.to_thread(server.stream, name)
        assert row["session"] == before["session"] and row["worker"] != before["worker"]
        assert (row["params"], row["version"]) == ({"slow": {"ms": 9}}, before["version"])
        assert row["stats"]["stages"][0]["p50_ms"] >= 9
        for count in ("frames_in", "frames_out"):
            assert row["stats"][count] > before["stats"][count] + 50

    try:
        server.until(lambda: server.frames_out(name) > 5, "pictures")
        view = watched(server, f"/whep/{name}?rung=180p", scene)
    finally:
        publisher.close()
    print(name, "longest between two pictures", view.longest_s)
    assert view.monotonic and view.heights() == {180} and view.longest_s < 2.0
    first, last = view.shown[5], view.shown[-1]
    passed_s = (last.pts - first.pts) / 90_000
    assert abs(passed_s - (last.at_s - first.at_s)) < 0.5  # one timeline, before and after


def test_a_publisher_that_stands_still_stops_nobody(server: Server) -> None:
    choose(server, "still", PATIENT)
    publisher = Publisher(server, "still")

    async def scene(view: View) -> None:
        await until(lambda: len(view.shown) > 25, "pictures")
        before = await asyncio.to_thread(server.stream, "still")
        publisher.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        assert (await asyncio.to_thread(server.stream, "still"))["state"] == "gap"
        publisher.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(2)
        row = await asyncio.to_thread(server.stream, "still")
        assert row["state"] == "live" and row["session"] == before["session"]
        assert row["stalls"] == {"no_packets": 1} and row["filled"]["picture"] > 5
        assert row["publisher"] is not None

    try:
        server.until(lambda: server.frames_out("still") > 5, "pictures")
        view = watched(server, "/whep/still?rung=180p", scene)
    finally:
        publisher.process.send_signal(signal.SIGCONT)
        publisher.close()
    print("longest between two pictures", view.longest_s)
    assert view.monotonic and view.longest_s < 1.0
