"""A server that is full says so, by every protocol, and has more room after SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from aiortc.mediastreams import VideoStreamTrack

from tests.edge.webrtc.peers import Watching, publish
from tests.edge.webrtc.test_served import over_http
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
CONFIG = """
pipeline: transcode
limits: {streams: 1, viewers: 1, connections: {webrtc: 2}}
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose one stream is there."""
    server = Server(tmp_path_factory.mktemp("full"), config=CONFIG)
    one = Publisher(server, "one", size="64x36", rate=10, gop=10)
    try:
        server.until(lambda: server.frames_out("one") > 5, "pictures")
        yield server
    finally:
        one.close()
        server.stop()


async def offered(server: Server, path: str) -> tuple[int, str, dict[str, str]]:
    if path.startswith("/whip/"):
        peer, answer = await publish(over_http(server), path, VideoStreamTrack())
    else:
        viewer = Watching()
        await viewer.start(over_http(server), path)
        peer, answer = viewer.peer, viewer.answer
    await peer.close()
    return answer.status, answer.text, answer.headers


def test_a_full_server_refuses_by_every_protocol_until_its_limits_are_raised(full: Server) -> None:
    two = Publisher(full, "two", size="64x36", rate=10, gop=10, seconds=5)
    try:
        assert two.process.wait(10) != 0
    finally:
        two.close()
    assert "as many streams as it may" in full.log()
    status, text, headers = asyncio.run(offered(full, "/whip/two"))
    assert status == 503 and headers["retry-after"] and "as many streams" in text
    full.until(lambda: full.get("/hls/one/index.m3u8")[0] == 200, "a playlist")
    status, text, headers = asyncio.run(offered(full, "/whep/one"))
    assert status == 503 and headers["retry-after"] and "too many viewers" in text
    status, told = full.get("/hls/one/index.m3u8?token=another")
    assert status == 503 and told["status"] == 503 and "too many viewers" in told["detail"]
    text = full.get("/metrics")[1]
    for reason, number in (("streams", 2), ("viewers", 2)):
        assert f'streamgen_refused_total{{reason="{reason}",stream=""}} {number}' in text, text
    (full.errors.parent / "streamgen.yaml").write_text("pipeline: transcode")
    os.kill(full.process.pid, signal.SIGHUP)
    full.until(lambda: "the configuration was read again" in full.log(), "the new limits")
    assert full.get("/hls/one/index.m3u8?token=another")[0] == 200
    assert asyncio.run(offered(full, "/whep/one"))[0] == 201
    two = Publisher(full, "two", size="64x36", rate=10, gop=10)
    try:
        full.until(lambda: full.frames_out("two") > 5, "pictures of another stream")
    finally:
        two.close()
