"""A configured server lets in who has the key, and says nothing of it to anybody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
SECRET = "s3cret-of-one"
CONFIG = f"""
auth: {{publish_keys: {{one: {SECRET}, other: another}}, admin_keys: {{}}}}
pipeline: transcode
streams:
  "cam-*": {{publish: [one], play: [one], grace: 1s}}
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
