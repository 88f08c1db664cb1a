"""Streams sent on to other servers by a real one; it is a target of its own, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
CONFIG = """
pipeline: transcode
outbound: {allow: [127.0.0.1]}
streams: {"*": {publish: anyone, grace: 10s}}
"""
SECRET = "c4nary-of-push"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("push"), config=CONFIG)
    yield one
    one.stop()


def pushed(server: Server, name: str) -> dict[str, Any]:
    rows = server.stream(name).get("pushes") or [{}]
    return dict(rows[0])


def test_a_stream_is_pushed_to_another_server_and_seen_there(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    url = f"rtmp://127.0.0.1:{server.rtmp}/live/copy?token={SECRET}"
    assert server.get("/v1/streams/one/pushes/there", "PUT", {"url": url})[0] == 202
    publish("one")
    server.until(lambda: server.frames_out("copy") > 50, "pictures of the copy")
    row = pushed(server, "one")
    assert row["state"] == "live" and row["frames"] > 25 and row["dropped"] == 0
    print(row, server.stream("copy"))
    status, text = server.get("/metrics")
    assert status == 200 and 'streamgen_push{of="there",stream="one"} 1.0' in text
    assert server.get("/v1/streams/one/pushes/there", "DELETE")[0] == 204
    server.until(lambda: server.stream("copy")["state"] == "ended", "the end of the copy")
    assert server.stream("one")["state"] == "live"
    assert SECRET not in server.log() + text + str(server.stream("one"))
