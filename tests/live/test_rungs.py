"""Too little time for the top rung: players see gaps there, or the next rung, and no hole."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.conftest import Install
from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.watching import View, until, watched

pytestmark = needs_ffmpeg
PIPELINE = """
name: slow
stages: [slow]
ladder:
  - {height: 180, bitrate: 400k}
  - {height: 90, bitrate: 150k}
live: {latency_budget: 200ms, when_late: [drop_rung]}
"""


def test_a_rung_that_the_governor_drops_has_gaps_and_comes_back(
    tmp_path: Path, install: Install
) -> None:
    install(slow="tests.live.stages:Slow")
    file = tmp_path / "slow.yaml"
    file.write_text(PIPELINE)
    server = Server(tmp_path, "--pipeline", str(file))
    publisher = Publisher(server, "rungs")
    seen: dict[str, Seen] = {}
    texts: dict[str, str] = {}

    def look() -> bool:
        for place in renditions(server, "rungs"):
            texts[place] = server.get(place)[1]
            seen.setdefault(place, Seen()).look(texts[place])
        return False

    def slow(ms: float) -> None:
        body = {"node": "slow", "values": {"ms": ms}}
        assert server.get("/v1/streams/rungs/params", "PATCH", body)[0] in (200, 202)

    async def scene(view: View) -> None:
        await until(lambda: look() or len(view.shown) > 25, "pictures")
        await asyncio.to_thread(slow, 50)
        await until(lambda: look() or server.stream("rungs")["rested"], "rest")
        rested = time.monotonic()
        await until(lambda: look() or view.heights(rested + 0.5) == {90}, "the lower rung", 5)
        await until(lambda: look() or time.monotonic() > rested + 3, "time")
        await asyncio.to_thread(slow, 0)
        await until(lambda: look() or view.shown[-1].height == 180, "the upper rung", 25)
        back = time.monotonic()
        await until(lambda: look() or time.monotonic() > back + 3, "time")
        assert view.heights(back) == {180}

    try:
        server.until(lambda: len(renditions(server, "rungs")) == 3, "playlists")
        view = watched(server, "/whep/rungs?rung=180p", scene)
        row = server.stream("rungs")
    finally:
        publisher.close()
        server.stop()
    print("longest between two pictures", view.longest_s, row["stats"]["dropped"])
    assert view.monotonic and view.longest_s < 1.0
    top, low = (next(t for p, t in texts.items() if rung in p) for rung in ("/180p/", "/90p/"))
    assert "#EXT-X-GAP" in top and "GAP" not in low
    last = top[top.rindex("#EXT-X-GAP") :]
    assert last.count("#EXTINF") >= 2  # and segments after it again
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place
