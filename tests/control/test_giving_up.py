"""Rungs that a live session gives up rest, and begin anew with a key frame on all of them."""

from __future__ import annotations

import threading
import time
from typing import Any

from streamgen.deliver.link import LinkOutlet
from streamgen.graph.lane import Lane
from streamgen.ingest.link import LinkSource, MendedTimes, probe
from streamgen.media.tracks import SourceInfo
from streamgen.opening import open_session
from streamgen.pipeline import parse_pipeline
from streamgen.protocols import Mode
from streamgen.report import measure
from streamgen.session import run
from streamgen.telemetry import Telemetry
from tests.control.test_link_session import BASE, Wire, published

PIPELINE: dict[str, Any] = {
    "name": "three",
    "ladder": [{"height": height, "bitrate": "200k"} for height in (90, 68, 46)],
    "audio": {"codec": "none"},
    "keyframe_interval": "1min",
    "live": {"latency_budget": "30s", "when_late": []},
}
WITHIN_S = 30.0


def test_all_rungs_but_the_lowest_rest_and_come_back_with_a_key_frame_on_each() -> None:
    packets, telemetry, wire = published(12), Telemetry(), Wire()
    video = probe("h264", bytes(packets[0].data), name="x", time_base=BASE, rate=None)
    source = LinkSource(SourceInfo("x", "link", video, live=True))
    with Lane() as lane:
        session = open_session(
            parse_pipeline(PIPELINE),
            source,
            [LinkOutlet(wire)],
            lane=lane,
            mode=Mode.LIVE,
            telemetry=telemetry,
            timeline=MendedTimes(),
        )
        director = session.director
        assert director is not None
        with session:
            running = threading.Thread(target=run, args=(session,), daemon=True)
            running.start()
            for number, packet in enumerate(packets):
                director.give_up(stages=False, rungs=4 <= number < 8)
                source.feed(packet)
                wait_for(wire, packet.pts)
            source.end()
            running.join(WITHIN_S)
            assert not running.is_alive()
        report = measure(session)
    came = {
        name: [((p.pts or 0) // 3600, p.keyframe) for p in wire.packets[f"video/{name}"]]
        for name in ("90p", "68p", "46p")
    }
    assert came["90p"] == came["68p"] == [(n, n in (0, 8)) for n in (*range(4), *range(8, 12))]
    assert came["46p"] == [(n, n in (0, 8)) for n in range(12)]
    assert report.dropped == {"rung": 4} and report.frames_in == report.frames_out + 4


def wait_for(wire: Wire, pts: int | None) -> None:
    """The lowest rung has this picture, and with it all have that get it."""
    end = time.monotonic() + WITHIN_S
    while not (wire.packets.get("video/46p") and wire.packets["video/46p"][-1].pts == pts):
        assert time.monotonic() < end, "no picture"
        time.sleep(0.001)
