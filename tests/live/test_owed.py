"""A worker that is killed takes no picture with it: what was inside comes out of the next one."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.live.numbered import RATE, Watched, published, tape
from tests.live.playlists import renditions
from tests.live.serving import Server, needs_ffmpeg

pytestmark = needs_ffmpeg
PIPELINE: dict[str, Any] = {
    "ladder": [{"height": 180, "bitrate": "400k"}, {"height": 90, "bitrate": "150k"}],
    "live": {"latency_budget": "1s"},
}
KILLS = 5
SECONDS = 90
NO_TIME = {"late", "overflow", "behind_still", "link_credit"}
"""Why a machine that is too slow for the stream drops pictures, whether workers die or not."""
ALONE_S = 2.2
"""So long a worker lives at least: not to be taken for one that the stream kills."""


def watched_for(server: Server, rungs: Sequence[Watched], seconds: float) -> None:
    end = time.monotonic() + seconds
    watched_until(server, rungs, lambda: time.monotonic() > end)


def watched_until(server: Server, rungs: Sequence[Watched], holds: Callable[[], Any]) -> None:
    def look() -> Any:
        for rung in rungs:
            rung.look()
        return holds()

    server.until(look, "end of the wait")


def kill_worker(server: Server, name: str, rungs: Sequence[Watched]) -> None:
    """And wait until another one has the stream, and a third is there."""
    here, row = server.log().count(" is here"), server.stream(name)
    os.kill(server.pids()[row["worker"]], signal.SIGKILL)
    taken = len(row["took_over_s"])
    watched_until(server, rungs, lambda: len(server.stream(name)["took_over_s"]) > taken)
    watched_until(server, rungs, lambda: server.log().count(" is here") > here)


@pytest.mark.parametrize(("gop", "reordered"), [(25, 0), (110, 2)])
def test_every_picture_is_shown_once_however_often_a_worker_is_killed(
    tmp_path: Path, gop: int, reordered: int
) -> None:
    name, chance = "numbered", random.Random(gop)
    file = tape(tmp_path / "numbered.flv", SECONDS * RATE, gop=gop, reordered=reordered)
    server = Server(tmp_path, "--pipeline", "transcode")
    try:
        server.get(f"/v1/streams/{name}", "PUT", {"pipeline": {"name": name, **PIPELINE}})
        publisher = published(server, name, file)
        places = server.until(lambda: renditions(server, name), "playlists")
        rungs = [Watched(server, place) for place in places if "audio" not in place]
        for _ in range(KILLS):
            watched_for(server, rungs, ALONE_S + chance.uniform(0, 1))
            kill_worker(server, name, rungs)
        watched_for(server, rungs, 3)
        row = server.stream(name)
        publisher.kill()
        publisher.wait(10)
    finally:
        server.stop()
    stats = row["stats"]
    slow = NO_TIME & set(stats["dropped"])
    lost = sum(stats["dropped"].values()) - stats["dropped"]["starting"]
    assert slow or not lost, stats["dropped"]
    assert stats["on_the_way"] < 10 and row["takeovers"]["done"] >= KILLS
    assert len(rungs) == len(PIPELINE["ladder"])
    for rung in rungs:
        numbers = rung.numbers()
        assert all(a < b for a, b in pairwise(numbers)), rung.place
        assert numbers[-1] - numbers[0] + 1 - len(numbers) <= lost, (rung.place, stats)
        assert len(numbers) + lost > ALONE_S * KILLS * RATE
