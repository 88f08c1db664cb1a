"""The rules of low-latency HLS hold while a publisher is away."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.deliver.live_trace import Trace
from tests.live.playlists import renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg


@pytest.mark.parametrize("rate", [25, 30])
def test_playlists_keep_the_rules_in_a_gap(
    server: Server, publish: Callable[..., Publisher], rate: int
) -> None:
    name = f"rules-{rate}"
    publisher = publish(name, size="640x360", rate=rate, gop=rate)
    places = server.until(lambda: len(p := renditions(server, name)) >= 2 and p, "playlists")
    server.until(lambda: server.frames_out(name) > 2 * rate, "motion")
    traces = {place: Trace(len(places) - 1) for place in places}

    def look(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for place, trace in traces.items():
                status, text = server.get(place)
                assert status == 200
                trace.poll(text)
            time.sleep(0.1)

    look(0.5)
    publisher.kill()
    server.until(lambda: server.stream(name)["state"] == "gap", "gap")
    look(2.2)
    assert server.stream(name)["filled"]["picture"] > 8
    for place, trace in traces.items():
        assert len(trace.segments) > 4, place
