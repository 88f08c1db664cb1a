"""WebRTC viewers of another edge's stream, in its process and in one of their own."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from streamgen.telemetry import Telemetry
from streamgen_edge.egress.spread import Spread
from streamgen_edge.mirror import replica
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.served import ServedStreams
from tests.deliver.live_packets import moved
from tests.edge.webrtc.peers import Watching, looped, posting
from tests.edge.webrtc.serving import network

from .edges import NAME, SECONDS, HomeEdge, Tape, home, other, until

PLACE = f"/whep/{NAME}?rung=180p"


async def publish(one: HomeEdge) -> None:
    """In real time, without an end."""
    began, packets = time.monotonic(), list(one.packets)
    for lap in itertools.count():
        for packet in moved(packets, lap * SECONDS):
            await asyncio.sleep(max(0.0, began + packet.time_s - time.monotonic()))
            one.viewing.put(packet)


@looped
async def test_they_see_motion_and_share_one_copy(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "LINGER_S", 0.5)
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        two.word.moved(one)
        app = WebRtcApp(ServedStreams(two.streams), network())
        spread = Spread(app, {}, most=1, full=0.0, telemetry=Telemetry())
        (process,) = spread.processes
        publishing, viewers = asyncio.create_task(publish(one)), []
        try:
            viewers.append(await Watching("video").start(posting(app), PLACE))
            assert viewers[0].answer.status == 201, viewers[0].answer.text
            await until(lambda: process.ready, "the process of viewers")
            for _ in range(2):
                viewers.append(await Watching("video").start(posting(spread), PLACE))
            for viewer in viewers:
                shown = [frame.pts for frame in await viewer.frames(20)]
                assert shown == sorted(set(shown))
            assert spread.elsewhere(NAME) == 2 and app.watching(NAME) == 1
            assert one.wants == ["packets video/180p", "stream"]
            assert one.asked  # nobody could begin without a key frame
        finally:
            for viewer in viewers:
                await viewer.peer.close()
            await spread.close()
            publishing.cancel()
        await until(lambda: one.wants == [], "nobody watches any more")
