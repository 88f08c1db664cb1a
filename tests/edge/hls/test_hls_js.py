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
  window.seen = {errors: [], parts: 0, segments: 0, blocked: 0, plain: 0, levels: [], samples: []};
  const v = document.getElementById('v');
  const hls = window.hls = new Hls({lowLatencyMode: true, startLevel: level});
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (data.details !== 'bufferStalledError' || data.fatal)
      seen.errors.push(`${data.details} ${data.fatal ? 'fatal' : ''}`.trim());
  });
  hls.on(Hls.Events.FRAG_LOADED, (_, data) => data.part ? seen.parts++ : seen.segments++);
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => seen.levels.push(hls.levels[data.level].height));
  hls.on(Hls.Events.LEVEL_LOADED, (_, data) =>
    data.networkDetails?.responseURL?.includes('_HLS_msn') ? seen.blocked++ : seen.plain++);
  setInterval(() => hls.latency > 0 && seen.samples.push(hls.latency), 50);
  let last = [0, 0];
  setInterval(() => {
    const now = performance.now();
    if (v.currentTime !== last[0]) last = [v.currentTime, now];
    else if (last[0]) seen.stood = Math.max(seen.stood || 0, now - last[1]);
  }, 20);
  hls.loadSource(url); hls.attachMedia(v); v.play();
}"""
PARTS = 40
MOST_STALL_MS = 1000
CLOSE_S = 2.5
"""To the live edge, which no more than three parts are held back from."""


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


def comes(page: Any, what: str) -> None:
    """Wait for it to be true."""
    page.wait_for_function(f"() => {{ const v = document.getElementById('v'); return {what}; }}")


def test_hls_js_plays_by_parts_and_comes_close_to_the_live_edge(
    live: Callable[..., Any], page: Any, script: str, record_property: Callable[..., None]
) -> None:
    with live(page=PAGE.format(script)) as stream:
        start(page, stream)
        comes(page, f"seen.parts > {PARTS} && Math.min(...seen.samples) < {CLOSE_S}")
        seen = page.evaluate("seen")
        width = page.evaluate("document.getElementById('v').videoWidth")
    samples = sorted(seen["samples"])
    record_property("p50", samples[len(samples) // 2])
    record_property("p95", samples[len(samples) * 95 // 100])
    assert seen["errors"] == []
    assert width in {320, 160}
    assert seen["segments"] <= 8
    assert seen["blocked"] > 10 * seen["plain"] / 3


def test_a_viewer_of_a_dropped_rung_goes_on_with_another_without_a_stall_of_a_second(
    live: Callable[..., Any], page: Any, script: str, record_property: Callable[..., None]
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
        comes(page, "v.currentTime > 3 && seen.levels.at(-1) === 180")
        page.evaluate("seen.stood = 0")  # the beginning is no stall
        comes(page, "v.currentTime > 10 && seen.levels.at(-1) === 90")
        errors, stood_ms = page.evaluate("[seen.errors, seen.stood]")
    record_property("stood_ms", stood_ms)
    assert not any("fatal" in error for error in errors)
    assert stood_ms < MOST_STALL_MS
