"""The rules of low-latency HLS hold while a publisher is away."""

from __future__ import annotations

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

    def look(holds: Callable[[], object], what: str) -> None:
        def polled() -> object:
            for place, trace in traces.items():
                status, text = server.get(place)
                assert status == 200
                trace.poll(text)
            return holds()

        server.until(polled, what)

    look(lambda: all(trace.polls > 4 and trace.segments for trace in traces.values()), "segments")
    publisher.kill()
    server.until(lambda: server.stream(name)["state"] == "gap", "gap")
    filled = {place: max(trace.segments) + 3 for place, trace in traces.items()}
    look(lambda: all(filled[place] in trace.segments for place, trace in traces.items()), "stills")
    assert server.stream(name)["filled"]["picture"] > 8
