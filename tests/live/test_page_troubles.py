"""What the page does when things go wrong, and when it may not have what it asks for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsing import FAKE_DEVICES, chromium
from tests.live.conftest import opened_page
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.test_page import LOOK, STATE
from tests.ports import free_port

pytestmark = [pytest.mark.browser, needs_ffmpeg]
SECRET = "s3cret-of-one"
ADMIN = "s3cret-of-ops"
CONFIG = """
auth: {{publish_keys: {{one: {secret}}}, admin_keys: {{{admin}}}}}
pipeline: transcode
streams:
  "locked": {{publish: [one], play: [one], grace: 1s}}
  "*": {{publish: anyone, play: anyone, grace: 20s}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("troubles")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    one = Server(folder, config=CONFIG.format(secret=SECRET, admin=""), port=free_port(2))
    yield one
    one.stop()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with opened_page(browser, server, "/") as page:  # requests may fail here
        page.select_option("#size", "240")
        yield page


def use_keys(page: Any, stream: str = "", admin: str = "") -> None:
    page.click("#keys-open")
    page.fill("#key-stream", stream)
    page.fill("#key-api", admin)
    page.click("#keys .primary")


def go_live(server: Server, page: Any, name: str, *, kind: str = "sample") -> None:
    page.fill("#name", name)
    page.press("#name", "Tab")
    page.check(f"input[value={kind}]", force=True)
    page.click("#go")
    server.until(lambda: page.evaluate(STATE) == "playing", "picture", 25)


def moving(page: Any) -> bool:
    """Whether its pictures still change."""
    first = page.evaluate(LOOK)
    page.wait_for_function(
        "(time) => document.getElementById('video').currentTime > time + 0.4", arg=first["time"]
    )
    pairs = zip(first["luma"], page.evaluate(LOOK)["luma"], strict=True)
    return sum(abs(a - b) for a, b in pairs) / len(first["luma"]) > 0.5


def test_a_wrong_key_is_said_and_the_right_one_publishes_and_plays(
    server: Server, page: Any
) -> None:
    def told() -> str:
        return str(page.inner_text("#publish-told"))

    page.fill("#name", "locked")
    page.press("#name", "Tab")
    for key in ("", "wrong"):
        use_keys(page, key)
        page.click("#go")
        server.until(lambda: "key" in told().lower(), f"the refusal, not: {told()}")
        assert page.inner_text("#go") == "Go live" and page.is_hidden("#inset")
        assert server.stream("locked") == {}
    use_keys(page, SECRET)
    go_live(server, page, "locked")
    use_keys(page, "wrong")
    server.until(lambda: page.evaluate(STATE) == "refused", "the refusal to play")
    assert "may not play" in page.inner_text("#veil-text")
    use_keys(page, SECRET)
    server.until(lambda: page.evaluate(STATE) == "playing", "picture")
    assert SECRET not in page.content() + page.url + server.log()


def test_who_may_not_look_any_more_is_told_so_and_goes_on_with_another_key(
    server: Server, folder: Path, page: Any
) -> None:
    def reload(admin: str) -> None:
        (folder / "streamgen.yaml").write_text(CONFIG.format(secret=SECRET, admin=admin))
        server.process.send_signal(signal.SIGHUP)

    server.until(lambda: "version" in page.inner_text("#server"), "the server's word")
    try:
        reload(f"ops: {ADMIN}")
        server.until(lambda: "key" in page.inner_text("#server"), "that it asks for one")
        use_keys(page, admin="wrong")
        server.until(lambda: "wrong" in page.get_attribute("#server", "class"), "the refusal")
        use_keys(page, admin=ADMIN)
        server.until(lambda: "version" in page.inner_text("#server"), "the server's word")
    finally:
        reload("")
        server.until(lambda: server.get("/v1/streams")[0] == 200, "the former configuration")


def test_the_picture_moves_again_after_the_death_of_the_worker(server: Server, page: Any) -> None:
    go_live(server, page, "worked")
    worker = server.stream("worked")["worker"]
    os.kill(server.pids()[worker], signal.SIGKILL)
    server.until(lambda: server.stream("worked")["takeovers"].get("done"), "another worker")
    server.until(lambda: moving(page), "moving pictures")
    assert page.evaluate(STATE) == "playing"
    server.until(lambda: "worker lost" in page.inner_text("#health"), "the lost pictures")


def test_a_server_that_was_gone_is_found_again_and_its_stream_plays(
    server: Server, page: Any, publish: Callable[..., Publisher]
) -> None:
    publish("back")
    server.until(lambda: server.frames_out("back") > 0, "pictures")
    page.evaluate("location.hash = 'back'")
    server.until(lambda: page.evaluate(STATE) == "playing", "picture")
    edge = server.pids()["edge"]
    os.kill(edge, signal.SIGKILL)
    server.until(lambda: "version" not in page.inner_text("#server"), "the loss")
    assert page.get_attribute("#server", "class") == "quiet wrong"
    server.until(lambda: server.pids()["edge"] != edge, "another edge")
    server.until(lambda: "version" in page.inner_text("#server"), "the server's word", 25)
    publish("back")
    server.until(lambda: page.evaluate(STATE) == "playing" and moving(page), "picture", 25)


@pytest.mark.parametrize("sound", ["own", "usual"], ids=["screen", "microphone"])
def test_a_screen_is_published_with_its_own_sound_or_a_microphone(
    server: Server, page: Any, sound: str
) -> None:
    page.check("input[value=screen]", force=True)
    page.wait_for_selector(f"#microphone option[value={sound}]", state="attached")
    page.select_option("#microphone", sound)
    go_live(server, page, f"screen-{sound}", kind="screen")
    assert page.evaluate(LOOK)["width"] <= 426
    row = server.stream(f"screen-{sound}")
    assert row["publisher"]["protocol"] == "whip"
    if sound == "usual":
        server.until(lambda: any("audio" in track for track in row["tracks"]), "sound")
        names = page.locator("#microphone option").all_inner_texts()
        assert any("Fake" in name for name in names), names
    page.evaluate("document.getElementById('preview').srcObject.getVideoTracks()[0].stop()")
    page.click("#go")
    server.until(lambda: server.stream(f"screen-{sound}")["state"] == "ended", "end")


@pytest.mark.parametrize(
    ("flags", "words"),
    [([FAKE_DEVICES], "not allowed"), ([], "no such camera or microphone")],
    ids=["not-allowed", "no-camera"],
)
def test_without_a_camera_a_microphone_or_leave_to_use_it_the_reason_is_said(
    playwright: Any, tmp_path: Path, server: Server, flags: list[str], words: str
) -> None:
    with chromium(playwright, tmp_path, *flags) as one, opened_page(one, server) as page:
        for source in ("camera", "sample"):
            page.check(f"input[value={source}]", force=True)
            page.select_option("#microphone", "usual")
            page.click("#go")
            server.until(lambda: words in page.inner_text("#publish-told"), words)
            assert page.inner_text("#go") == "Go live" and page.is_hidden("#inset")
            page.reload()
