"""What the page shows of a stream and does with it: both players, before and after, a recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamgen_edge.page as page_package
from tests.live.conftest import opened_page
from tests.live.serving import Server
from tests.live.test_page import LOOK, STATE

pytestmark = pytest.mark.browser
HLS_JS = Path(page_package.__file__).parent / "vendor" / "hls.mjs"
COLUMNS = """() => {
  const video = document.getElementById('video');
  const g = Object.assign(document.createElement('canvas'),
    {width: 64, height: 36}).getContext('2d');
  g.drawImage(video, 0, 0, 64, 36);
  const data = g.getImageData(0, 0, 64, 36).data;
  const color = (x) => { let sum = 0;
    for (let y = 0; y < 36; y++) { const n = 4 * (64 * y + x);
      sum += Math.max(...data.subarray(n, n + 3)) - Math.min(...data.subarray(n, n + 3)); }
    return sum / 36; };
  return [...Array(64).keys()].map(color);
}"""

PASTE = """(text) => {
  document.getElementById('push-url').focus();
  document.getElementById('push-url').dispatchEvent(new ClipboardEvent('paste'));
  document.execCommand('insertText', false, text);
}"""
SECRET = "c4nary-of-a-target"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    config = f"recording: {{folder: {folder / 'kept'}, min_free: 1M}}\n"
    config += "outbound: {allow: [127.0.0.1]}\n"
    one = Server(folder, "--pipeline", "ink", config=config)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def shown(browser: Any, server: Server) -> Iterator[Any]:
    """The page, playing its own sample in ink."""
    with opened_page(browser, server, "/pushes/127") as page:
        page.select_option("#size", "240")
        page.click("#veil-try")
        server.until(lambda: page.evaluate(STATE) == "playing", "picture")
        yield page


def late(page: Any, way: str) -> str:
    return str(page.text_content(f"#late-{way}"))


def test_both_players_tell_their_latency_and_one_of_hls_is_there_at_a_time(
    server: Server, shown: Any
) -> None:
    if not HLS_JS.exists():
        pytest.skip("hls.js is not there (make setup fetches it)")
    server.until(lambda: re.search(r"WebRTC \d+ ms", late(shown, "whep")), "latency by WebRTC")
    shown.check("input[value=both]", force=True)
    server.until(lambda: re.search(r"HLS [\d.]+ m?s", late(shown, "hls")), "latency by HLS", 30)
    assert "HLS" in shown.inner_text("#figures")
    assert shown.evaluate("document.getElementById('video-hls').src").startswith("blob:")
    shown.check("input[value=hls]", force=True)
    server.until(lambda: server.stream("me")["viewers"] == 1, "WebRTC is left")
    assert shown.evaluate("document.getElementById('video').srcObject") is None
    shown.check("input[value=whep]", force=True)
    server.until(lambda: shown.evaluate(STATE) == "playing", "picture by WebRTC")
    assert shown.evaluate("document.getElementById('video-hls').src") == ""


def test_the_way_of_a_picture_is_told_step_by_step(server: Server, shown: Any) -> None:
    server.until(lambda: "Player" in shown.inner_text("#times"), "times")
    told = shown.inner_text("#times")
    for step in ("Link and queues", "Decode", "style", "Encode", "Player"):
        assert re.search(rf"{step}\s+[\d.]+ ms", told), told
    health = shown.inner_text("#health")
    assert "Full quality" in health or "Short of time" in health or "original" in health
    assert re.search(r"426\D240", health)


def test_before_and_after_are_split_where_the_slider_is(server: Server, shown: Any) -> None:
    shown.click("#compare")
    server.until(lambda: shown.is_visible("#split"), "the slider", 30)
    nodes = server.stream("me")["pipeline"]["graph"]
    assert nodes["compare"]["from"] == {"picture": "style", "before": "source"}

    def colors(left: float, right: float) -> bool:
        """Ink has hardly any colour, the original has."""
        row = shown.evaluate(COLUMNS)
        bare = [number for number, color in enumerate(row) if color < 25]
        return bool(bare) and left <= bare[0] / 64 <= right

    server.until(lambda: colors(0.4, 0.6), "half of each", 30)
    shown.focus("#split-at")
    shown.keyboard.press("Home")
    for _ in range(4):
        shown.keyboard.press("PageUp")
    at = float(shown.input_value("#split-at"))
    assert 0.2 < at < 0.49
    server.until(
        lambda: server.stream("me")["params"].get("compare", {}).get("split") == at, "the split"
    )
    server.until(lambda: colors(at - 0.08, at + 0.08), "a line further left", 30)

    shown.click("#compare")
    server.until(lambda: "compare" not in server.stream("me")["pipeline"]["graph"], "no split")
    server.until(lambda: shown.evaluate(LOOK)["color"] < 25, "ink alone", 30)
    assert shown.is_hidden("#split")


def test_the_page_records_and_says_where(server: Server, shown: Any) -> None:
    shown.click("#record")
    server.until(lambda: "kB" in shown.inner_text("#record"), "bytes", 20)
    assert shown.get_attribute("#record", "aria-pressed") == "true"
    file = server.stream("me")["recording"]["file"]
    shown.click("#record")
    server.until(lambda: shown.inner_text("#record") == "Record", "its end")
    assert file in shown.inner_text("#deck-told")
    assert server.stream("me")["recording"] is None


def test_the_page_sends_a_stream_on_stops_and_starts_it_and_shows_no_key(
    server: Server, shown: Any
) -> None:
    def told() -> str:
        return str(shown.inner_text("#pushes"))

    def add(url: str, key: str = "") -> None:
        shown.click("#push-add summary")
        shown.fill("#push-url", url)
        shown.fill("#push-key", key)
        shown.click("#push button")

    assert "nowhere else" in told()
    add(f"rtmp://127.0.0.1:{server.rtmp}/live/copy?token={SECRET}")
    server.until(lambda: re.search(r"Sending · 240p · [\d.]+ .B", told()), "the push")
    server.until(lambda: server.stream("copy")["state"] == "live", "the copy")
    add("rtmp://127.0.0.1:9/live", SECRET)
    server.until(lambda: "The target refuses connections." in told(), "the reason")
    server.until(lambda: "Retrying in" in told(), "the next try")
    assert len(server.stream("me")["pushes"]) == 2

    shown.click("[aria-label='Stop: 127.0.0.1']")
    server.until(lambda: "Stopped" in told(), "its end")
    server.until(lambda: server.stream("copy")["state"] == "ended", "the end of the copy")
    shown.click("[aria-label='Start: 127.0.0.1']")
    server.until(lambda: "Sending" in told(), "the push again")
    for id in ("127.0.0.1", "127.0.0.1-2"):
        shown.click(f"[aria-label='Stop: {id}']")
        shown.click(f"[aria-label='Remove: {id}']")
    assert "nowhere else" in told()
    assert server.get("/v1/streams/me/pushes") == (200, [])

    add(f"srt://127.0.0.1/{SECRET}")
    server.until(lambda: "rtmp" in shown.inner_text("#push-told"), "why not")
    shown.fill("#push-url", "")
    shown.evaluate(PASTE, f"rtmps://a.example/app/{SECRET}")
    server.until(lambda: shown.input_value("#push-url") == "rtmps://a.example/app", "its address")
    assert shown.input_value("#push-key") == SECRET
    assert SECRET not in shown.inner_text("body") + server.log()
    shown.click("#push-add summary")


def test_a_link_is_shown_as_a_qr_code(server: Server, shown: Any) -> None:
    shown.click("[aria-label='QR code: This page']")
    server.until(
        lambda: shown.evaluate("document.querySelector('#code-picture img')?.naturalWidth > 0"),
        "a picture",
    )
    assert f"127.0.0.1:{server.http}/#me" in shown.inner_text("#code-text")
    shown.keyboard.press("Escape")
    assert shown.is_hidden("#code")
    assert shown.evaluate("document.activeElement.ariaLabel") == "QR code: This page"
