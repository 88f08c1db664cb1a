"""A ladder plays in a real browser: natively where Chromium can, and with hls.js."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamgen.deliver.hls import HlsOutlet

from .conftest import Encoded, deliver, encode_audio, encode_video

pytestmark = pytest.mark.browser
PAGE = """<!doctype html><video id=v muted width=320></video><script src=hls.js></script><script>
const v = document.getElementById('v'), errors = [];
v.onerror = () => errors.push(v.error.message);
const wait = (name, test) => new Promise((done, fail) => {
  const began = performance.now();
  (function look() {
    if (test()) return done();
    if (errors.length) return fail(new Error(errors.join('; ')));
    if (performance.now() - began > 8000) return fail(new Error('no ' + name));
    setTimeout(look, 20);
  })();
});
"""
NATIVE = PAGE + "const starts = {}; v.src = 'index.m3u8';</script>"
HLS_JS = (
    PAGE
    + """const starts = {}, switched = new Set(), hls = new Hls();
hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => switched.add(data.level));
hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) errors.push(data.details); });
hls.on(Hls.Events.BUFFER_APPENDED, (_, data) => {
  for (const [kind, range] of Object.entries(data.timeRanges))
    if (range.length) starts[kind] = range.start(0);
});
hls.loadSource('index.m3u8'); hls.attachMedia(v);</script>"""
)
WATCH = """async () => {
  await v.play();
  await wait('picture', () => v.currentTime > 0.3 && v.videoWidth > 0);
  const begin = {time: v.currentTime, width: v.videoWidth, start: v.buffered.start(0)};
  v.currentTime = 7.1;
  await wait('picture after seeking', () => !v.seeking && v.currentTime > 7.3);
  return {...begin, duration: v.duration, starts, errors};
}"""
SWITCH = """async () => {
  const seen = [];
  switched.clear();
  for (const level of hls.currentLevel ? [0, 1] : [1, 0]) {
    v.currentTime = 1;
    await wait('end of seeking', () => !v.seeking);
    hls.currentLevel = level;
    const height = hls.levels[level].height;
    await wait(`segments of ${height} lines`, () => switched.has(level));
    v.currentTime = 3;  // Chromium may show its last picture until then
    await wait(`picture of ${height} lines`, () => v.videoHeight === height);
    seen.push(height);
  }
  return {seen: seen.sort((a, b) => a - b), errors};
}"""


@pytest.fixture
def hls_js() -> Path:
    """`hls.min.js`, from what `npm pack hls.js` or `npm install hls.js` left."""
    place = Path(os.environ.get("STREAMGEN_TEST_HLSJS", "node_modules/hls.js"))
    if place.is_file() and place.suffix == ".js":
        return place
    found = sorted(place.rglob("hls.min.js"))
    if found:
        return found[0]
    pytest.skip("hls.js is not there (npm pack hls.js; STREAMGEN_TEST_HLSJS names its folder)")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder` on loopback while the block runs."""

    class Quiet(SimpleHTTPRequestHandler):
        timeout = 10

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return browser.new_page()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder of two rungs that reorder differently, with sound, and the two pages."""
    times = range(0, 10 * 90_000, 3600)
    options = {"preset": "ultrafast", "forced-idr": "1", "x264-params": "keyint=9999:scenecut=0"}
    parts: list[Encoded] = [
        encode_video("video/180p", size=(320, 180), times=times, options={**options, "bf": "2"}),
        encode_video("video/90p", size=(160, 90), times=times, options=options),
        encode_audio(seconds=10),
    ]
    out = tmp_path_factory.mktemp("playback") / "out"
    deliver(HlsOutlet(out, segment_ns=2_000_000_000), *parts)
    (out / "native.html").write_text(NATIVE)
    (out / "hls.html").write_text(HLS_JS)
    return out


def check(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert seen["width"] in {320, 160}
    assert seen["start"] == pytest.approx(0, abs=0.02)
    assert seen["duration"] == pytest.approx(10, abs=0.05)


def test_a_ladder_plays_and_seeks_in_chromium_itself(page: Any, folder: Path) -> None:
    with served(folder) as url:
        page.goto(f"{url}/native.html")
        if not page.evaluate("v.canPlayType('application/vnd.apple.mpegurl')"):
            pytest.skip("this Chromium does not play HLS itself")
        check(page.evaluate(WATCH))


def test_a_ladder_plays_seeks_and_switches_in_hls_js(page: Any, folder: Path, hls_js: Path) -> None:
    shutil.copy(hls_js, folder / "hls.js")
    with served(folder) as url:
        page.goto(f"{url}/hls.html")
        seen = page.evaluate(WATCH)
        check(seen)
        assert seen["starts"] == {
            "audio": pytest.approx(0, abs=0.02),
            "video": pytest.approx(0, abs=0.02),
        }
        assert page.evaluate(SWITCH) == {"seen": [90, 180], "errors": []}
