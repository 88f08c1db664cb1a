"""A configured server lets in who has the key, and says nothing of it to anybody."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
SECRET = "s3cret-of-one"
OFFER = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
CONFIG = f"""
auth: {{publish_keys: {{one: {SECRET}, other: another}}, admin_keys: {{}}}}
pipeline: transcode
streams:
  "cam-*": {{publish: [one], play: [one], grace: 1s}}
  "thin-*": {{publish: anyone, grace: 1s, limits: {{bitrate: 300k, viewers: 1}}}}
"""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("keyed"), config=CONFIG)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("name", "query"),
    [("cam-1", ""), ("cam-1", "?token=wrong"), ("cam-1", "?token=another"), ("other", "?token=x")],
)
def test_without_the_right_key_nobody_publishes(keyed: Server, name: str, query: str) -> None:
    one = Publisher(keyed, name, query=query, seconds=3)
    try:
        assert one.process.wait(15) != 0
        assert keyed.stream(name) == {}
    finally:
        one.close()


def test_the_right_key_publishes_and_plays_and_is_never_logged(keyed: Server) -> None:
    one = Publisher(keyed, "cam-2", query=f"?token={SECRET}")
    try:
        keyed.until(lambda: keyed.frames_out("cam-2") > 50, "motion")
        assert keyed.get("/hls/cam-2/index.m3u8")[0] == 401
        assert keyed.get("/hls/cam-2/index.m3u8?token=wrong")[0] == 403
        status, text = keyed.get(f"/hls/cam-2/index.m3u8?token={SECRET}")
        assert status == 200 and text.startswith("#EXTM3U")
        one.kill()
        keyed.until(lambda: keyed.stream("cam-2")["state"] == "ended", "end of its grace", 10)
    finally:
        one.close()
    assert SECRET not in keyed.log()
    assert "token=" not in keyed.log()


def test_a_publisher_that_sends_too_much_for_long_is_ended(keyed: Server) -> None:
    one = Publisher(keyed, "thin-1", size="640x360")
    try:
        assert one.process.wait(20) != 0
        row = keyed.until(lambda: keyed.stream("thin-1"), "stream")
        assert row["refused"] == {"bitrate": 1} and row["stats"]["frames_out"] > 25
        assert "more than the 0.3 Mbit/s" in keyed.log()
        keyed.until(lambda: keyed.stream("thin-1")["state"] == "ended", "end of its grace", 10)
    finally:
        one.close()


def test_a_viewer_too_many_is_told_to_come_again(keyed: Server) -> None:
    one = Publisher(keyed, "thin-2", size="160x90", rate=10, gop=10)
    try:
        keyed.until(lambda: keyed.get("/hls/thin-2/index.m3u8")[0] == 200, "a playlist")
        assert keyed.get("/hls/thin-2/index.m3u8?token=another")[0] == 503
        assert keyed.get("/hls/thin-2/index.m3u8")[0] == 200
        assert keyed.stream("thin-2")["viewers"] == 1
    finally:
        one.close()


@pytest.mark.parametrize("path", ["/whip/cam-5", "/whep/cam-5", "/hls/cam-5/index.m3u8"])
def test_no_token_of_a_request_is_ever_logged(keyed: Server, path: str) -> None:
    for token in (SECRET, "a-wrong-one"):
        for query, headers in (
            (f"?token={token}", {}),
            ("", {"authorization": f"Bearer {token}"}),
        ):
            request = urllib.request.Request(
                f"http://127.0.0.1:{keyed.http}{path}{query}",
                None if path.startswith("/hls") else OFFER,
                {"content-type": "application/sdp", **headers},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                with error:
                    status = error.code
            assert 200 <= status < 500, (status, token)
    with socket.create_connection(("127.0.0.1", keyed.http), 5) as rude:
        rude.sendall(f"GET {path}?token={SECRET} NONSENSE\r\n\r\n".encode())
        rude.recv(4096)
    for secret in (SECRET, "a-wrong-one", "token="):
        assert secret not in keyed.log()


def test_logs_are_objects_that_name_stream_and_session(keyed: Server) -> None:
    one = Publisher(keyed, "cam-6", query=f"?token={SECRET}")
    try:
        keyed.until(lambda: keyed.frames_out("cam-6") > 10, "motion")
        session = keyed.stream("cam-6")["session"]
    finally:
        one.close()
    keyed.until(lambda: keyed.stream("cam-6").get("state") == "ended", "end", 10)
    rows = [json.loads(line) for line in keyed.log().splitlines()]
    short = session[:6]
    ours = [row for row in rows if row.get("stream") == "cam-6" and row.get("session") == short]
    assert len(ours) >= 3
    assert session not in keyed.log()
    assert {"at", "level", "from", "message"} <= set(ours[0])


def test_keys_change_while_it_runs_and_nobody_is_dropped(keyed: Server) -> None:
    one = Publisher(keyed, "cam-3", query=f"?token={SECRET}")
    two = None
    try:
        keyed.until(lambda: keyed.frames_out("cam-3") > 10, "motion")
        file = keyed.errors.parent / "streamgen.yaml"
        file.write_text(CONFIG.replace(SECRET, "a-new-one"))
        os.kill(keyed.process.pid, signal.SIGHUP)
        keyed.until(lambda: "the configuration was read again" in keyed.log(), "the new keys")
        out = keyed.frames_out("cam-3")
        keyed.until(lambda: keyed.frames_out("cam-3") > out + 10, "motion that goes on")
        two = Publisher(keyed, "cam-4", query=f"?token={SECRET}", seconds=3)
        assert two.process.wait(15) != 0
        file.write_text("nonsense: true")
        os.kill(keyed.process.pid, signal.SIGHUP)
        keyed.until(lambda: "stays as it was" in keyed.log(), "the refusal")
        assert keyed.stream("cam-3")["state"] == "live"
    finally:
        one.close()
        if two is not None:
            two.close()
