"""`GET /v1/streams/{name}/picture` shows what a stream shows, and the edge decodes nothing."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable
from pathlib import Path

import av

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_picture_of_a_live_stream(server: Server, publish: Callable[..., Publisher]) -> None:
    assert server.get("/v1/streams/shown/picture")[0] == 404
    publish("shown")
    server.until(lambda: server.frames_out("shown") > 30, "motion")
    url = f"http://127.0.0.1:{server.http}/v1/streams/shown/picture"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"
        data = answer.read()
    with av.open(io.BytesIO(data)) as file:
        frame = next(file.decode(video=0))
    top = next(t for t in server.stream("shown")["tracks"] if t.startswith("video/"))
    assert (frame.width, frame.height) == (320, 180) and top.endswith("180p")
    assert frame.to_ndarray(format="gray").std() > 20  # a test picture, no plain slate
    assert children(server.pids()["edge"]) == []
    assert server.stream("shown")["state"] == "live"
