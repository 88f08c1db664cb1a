"""A worker that dies is replaced: viewers see motion again soon, and no segment is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.deliver.live_trace import Trace
from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg


@pytest.mark.parametrize("gop", [25, 250])
def test_viewers_keep_their_segments_when_the_worker_is_killed(
    server: Server, publish: Callable[..., Publisher], gop: int
) -> None:
    name = f"gop-{gop}"
    publish(name, gop=gop)
    places = server.until(lambda: renditions(server, name), "playlists")
    seen = {place: Seen() for place in places}
    rules = {place: Trace(len(places) - 1) for place in places}

    def look() -> bool:
        for place, one in seen.items():
            text = server.get(place)[1]
            one.look(text)
            rules[place].poll(text)
        return False

    for _ in range(2):
        server.until(lambda: look() or server.frames_out(name) > 50, "motion")
        before = server.stream(name)
        os.kill(server.pids()[before["worker"]], signal.SIGKILL)
        killed = time.monotonic()
        taken = len(before["took_over_s"])
        row = server.until(
            lambda taken=taken: (
                look() or ((s := server.stream(name)) and len(s["took_over_s"]) > taken and s)
            ),
            "motion after the kill",
        )
        assert time.monotonic() - killed < 5.0
        print(name, row["took_over_s"])
        end = time.monotonic() + 3
        while time.monotonic() < end:
            look()
            time.sleep(0.1)
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place
        assert len(one.segments) > 5
    stats = server.stream(name)["stats"]
    assert stats["frames_in"] - stats["frames_out"] - sum(stats["dropped"].values()) < 10
