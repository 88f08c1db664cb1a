"""hls.js in Chromium plays the ladder with low latency, by parts, and survives a dropped rung."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Live

pytestmark = pytest.mark.browser
PAGE = "<!doctype html><video id=v muted width=320></video><script>{}</script>"
PLAY = """([url, level]) => {
  window.seen = {errors: [], parts: 0, segments: 0, blocked: 0, plain: 0, levels: []};
  window.began = performance.now();
  const v = document.getElementById('v');
  v.addEventListener('playing', () => seen.first = seen.first ?? performance.now() - began);
  const hls = window.hls = new Hls({lowLatencyMode: true, startLevel: level});
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (data.details !== 'bufferStalledError' || data.fatal)
      seen.errors.push(`${data.details} ${data.fatal ? 'fatal' : ''}`.trim());
  });
  hls.on(Hls.Events.FRAG_LOADED, (_, data) => data.part ? seen.parts++ : seen.segments++);
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => seen.levels.push(hls.levels[data.level].height));
  hls.on(Hls.Events.LEVEL_LOADED, (_, data) =>
    data.networkDetails?.responseURL?.includes('_HLS_msn') ? seen.blocked++ : seen.plain++);
  hls.loadSource(url); hls.attachMedia(v); v.play();
}"""
WATCH = """seconds => new Promise(done => {
  const v = document.getElementById('v'), latency = [];
  let last = v.currentTime, moved = performance.now(), freeze = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    if (v.currentTime > last) { last = v.currentTime; moved = now; }
    freeze = Math.max(freeze, now - moved);
    if (hls.latency > 0) latency.push(hls.latency);
  }, 50);
  setTimeout(() => {
    clearInterval(timer);
    latency.sort((a, b) => a - b);
    done({...seen, time: v.currentTime, width: v.videoWidth, freeze, samples: latency.length,
      target: hls.targetLatency, p50: latency[latency.length >> 1],
      p95: latency[Math.floor(latency.length * 0.95)],
      dropped: v.getVideoPlaybackQuality().droppedVideoFrames});
  }, 1000 * seconds);
})"""


@pytest.fixture(scope="module")
def script() -> str:
    """`hls.min.js`, from what `npm pack hls.js` or `npm install hls.js` left."""
    place = Path(os.environ.get("STREAMGEN_TEST_HLSJS", "node_modules/hls.js"))
    found = [place] if place.suffix == ".js" and place.is_file() else place.rglob("hls.min.js")
    for path in sorted(found):
        return path.read_text(encoding="utf-8")
    pytest.skip("hls.js is not there (npm pack hls.js; STREAMGEN_TEST_HLSJS names its folder)")


def start(page: Any, stream: Live, *, level: int = -1) -> None:
    page.goto(f"http://127.0.0.1:{stream.port}/")
    page.evaluate(PLAY, [f"{stream.url}/index.m3u8", level])


def await_picture(page: Any) -> None:
    page.wait_for_function("seen.first !== undefined", timeout=8000, polling=50)


def test_hls_js_plays_by_parts_and_stays_close_to_the_live_edge(
    live: Callable[..., Any], page: Any, script: str, record_property: Callable[..., None]
) -> None:
    with live(page=PAGE.format(script)) as stream:
        start(page, stream)
        await_picture(page)
        page.wait_for_timeout(3000)
        seen = page.evaluate(WATCH, 7)
    for name in ("first", "p50", "p95", "target", "freeze"):
        record_property(name, seen[name])
    print(seen)
    assert seen["errors"] == []
    assert seen["first"] < 4000
    assert seen["width"] in {320, 160}
    assert seen["samples"] > 50
    assert seen["p95"] < 2.5
    assert seen["parts"] > 40
    assert seen["blocked"] > 10 * seen["plain"] / 3
    assert seen["segments"] <= 8
    assert seen["freeze"] < 1000


def test_a_viewer_of_a_dropped_rung_goes_on_with_another(
    live: Callable[..., Any], page: Any, script: str
) -> None:
    with live(page=PAGE.format(script)) as stream:
        write = stream.packager.write

        def without(packet: Any) -> None:
            if packet.track == "video/180p" and packet.time_s > 6:
                rendition = stream.packager.renditions["180p"]
                if not rendition.cutter.absent:
                    stream.packager.drop("video/180p")
                return
            write(packet)

        stream.packager.write = without
        start(page, stream, level=1)
        await_picture(page)
        seen = page.evaluate(WATCH, 12)
        print(seen)
    assert seen["levels"][-1] == 90
    assert seen["time"] > 8
    assert not any("fatal" in error for error in seen["errors"])
    assert seen["freeze"] < 1000
