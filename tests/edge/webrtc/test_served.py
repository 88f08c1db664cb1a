"""The whole server: what comes by RTMP and by WHIP is painted and plays by WHEP."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from tests.edge.webrtc.peers import Post, Watching, publish
from tests.edge.webrtc.studio import Answer
from tests.live.serving import Publisher, Server, needs_ffmpeg


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"), "--pipeline", "transcode")
    yield one
    one.stop()


def over_http(server: Server) -> Post:
    def send(path: str, text: str) -> Answer:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.http}{path}",
            text.encode(),
            {"content-type": "application/sdp"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as got:
                status, headers, body = got.status, got.headers, got.read()
        except urllib.error.HTTPError as error:
            with error:
                status, headers, body = error.code, error.headers, error.read()
        named = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        return Answer(status, named, body)

    async def post(path: str, text: str) -> Answer:
        return await asyncio.to_thread(send, path, text)

    return post


async def watch(server: Server, path: str, seconds: float) -> tuple[int, float, set[int]]:
    """Pictures shown in so many seconds, when the first came, and their heights."""
    viewer = Watching()
    began = time.monotonic()
    await viewer.start(over_http(server), path)
    assert viewer.answer.status == 201, viewer.answer.text
    try:
        first = await viewer.frame()
        took = time.monotonic() - began
        number, heights = 1, {first.height}
        while time.monotonic() < began + seconds:
            frame = await viewer.frame()
            number += 1
            heights.add(frame.height)
        await viewer.frames(10, "audio")
        return number, took, heights
    finally:
        await viewer.peer.close()


@needs_ffmpeg
def test_what_comes_by_rtmp_plays_by_whep(server: Server) -> None:
    one = Publisher(server, "first", size="640x360")
    try:
        server.until(lambda: server.frames_out("first") > 5, "pictures")
        number, took, heights = asyncio.run(watch(server, "/whep/first?rung=240p", 4))
        print("first picture", took, number)
    finally:
        one.close()
    assert heights == {240}
    assert took < 2.5 and number > 60


def test_nobody_publishes_and_a_viewer_is_told_to_come_again(server: Server) -> None:
    viewer = asyncio.run(_ask(server, "/whep/nobody"))
    assert viewer.status == 404 and viewer.headers["retry-after"] == "1"


async def _ask(server: Server, path: str) -> Answer:
    viewer = Watching()
    await viewer.start(over_http(server), path)
    await viewer.peer.close()
    answer: Answer = viewer.answer
    return answer


async def _both(server: Server, codec: str) -> tuple[int, float, set[int], str]:
    tracks = VideoStreamTrack(), AudioStreamTrack()
    peer, answer = await publish(over_http(server), f"/whip/{codec}", *tracks, codec=codec)
    assert answer.status == 201, answer.text
    try:
        await asyncio.to_thread(
            server.until, lambda: server.frames_out(codec) > 5, "pictures of the worker"
        )
        seen = await watch(server, f"/whep/{codec}", 4)
        publisher = (await asyncio.to_thread(server.stream, codec))["publisher"]
        (coded,) = (one["codec"] for one in publisher["tracks"] if one["name"] == "video/0")
        return *seen, coded
    finally:
        await peer.close()


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_what_comes_by_whip_plays_by_whep(server: Server, codec: str) -> None:
    number, took, heights, coded = asyncio.run(_both(server, codec))
    print("first picture", took, number, heights)
    assert coded == codec.lower()
    assert len(heights) == 1 and took < 2.5 and number > 60
