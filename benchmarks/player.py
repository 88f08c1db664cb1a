"""What players of HLS get: key frames of all rungs, and hls.js's picture in Chromium.

In Chromium each new picture of the video element is drawn to a small canvas, a pixel or more for
each of the barcode's cells, and read by the same reader as everywhere. The browser's clock is tied
to ours by the wall clock that both can read.
"""

from __future__ import annotations

import binascii
import os
import shutil
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
from barcode import read
from scene import spread

from streamgen_edge.demo.hls_reader import PartDecoder
from streamgen_edge.demo.media_playlist import MediaPlaylist

WIDTH, HEIGHT = 128, 96
SCRIPT = Path(
    os.environ.get(
        "STREAMGEN_TEST_HLSJS",
        str(Path(__file__).resolve().parents[1] / ".venv/hlsjs/dist/hls.min.js"),
    )
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PAGE = "<!doctype html><video id=v muted width=320></video><canvas id=c></canvas>"
PLAY = """([url, width, height]) => {
  const v = document.getElementById('v'), c = document.getElementById('c');
  c.width = width; c.height = height;
  const paper = c.getContext('2d', {willReadFrequently: true});
  window.seen = []; window.errors = []; window.began = performance.now();
  window.now = () => performance.timeOrigin + performance.now();
  const look = (at) => {
    paper.drawImage(v, 0, 0, width, height);
    const all = paper.getImageData(0, 0, width, height).data, grey = new Uint8Array(width * height);
    for (let n = 0; n < grey.length; n++) grey[n] = all[4 * n + 1];
    let text = ''; for (const one of grey) text += one.toString(16).padStart(2, '0');
    seen.push([now(), text]);
    v.requestVideoFrameCallback(look);
  };
  v.requestVideoFrameCallback(look);
  const hls = window.hls = new Hls({lowLatencyMode: true, capLevelToPlayerSize: true});
  hls.on(Hls.Events.ERROR, (_, data) => errors.push(`${data.details} ${data.fatal}`));
  hls.loadSource(url); hls.attachMedia(v); v.play();
}"""
TAKE = "() => { const some = seen; window.seen = []; return some; }"
TIMES = 5


class Missing(Exception):
    """A row needs what is not on this machine."""


def renditions(index: str) -> list[str]:
    """Addresses of all picture rungs' playlists."""
    text = _get(index).decode()
    return [urljoin(index, line) for line in text.splitlines() if line and line[0] != "#"]


def key_times(rung: str) -> set[int]:
    """Times of the key frames in all whole segments that are listed, in 1/90000 s."""
    playlist = MediaPlaylist.parsed(_get(rung).decode())
    init = _get(urljoin(rung, playlist.init))
    found: set[int] = set()
    for segment in playlist.segments:
        packets = PartDecoder().packets(_get(urljoin(rung, segment.uri)), init)
        found |= {round(one.pts * one.time_base * 90_000) for one in packets if one.is_keyframe}
    return found


def in_chromium(url: str, seconds: float) -> dict[str, Any]:
    """Ages of the pictures on Chromium's screen, and seconds until the first of several visits."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or not SCRIPT.is_file() or find_spec("playwright") is None:
        raise Missing("chromium, playwright and hls.js (make test SYSTEM_DEPS=1 brings them)")
    from playwright.sync_api import sync_playwright  # of the `test` extra

    firsts, found, unread, errors = [], [], 0, []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, headless=False, args=FLAGS, timeout=20_000
        )
        for visit in range(TIMES):
            page = context.new_page()
            page.route(
                "**/play.html", lambda route: route.fulfill(body=PAGE, content_type="text/html")
            )
            page.goto(urljoin(url, "/play.html"))
            page.add_script_tag(content=SCRIPT.read_text(encoding="utf-8"))
            page.evaluate(PLAY, [url, WIDTH, HEIGHT])
            page.wait_for_function("seen.length > 0", timeout=20_000, polling=20)
            firsts.append(page.evaluate("(seen[0][0] - performance.timeOrigin - began) / 1000"))
            last = visit == TIMES - 1
            if last:
                page.wait_for_timeout(2000)
                page.evaluate(TAKE)
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    page.wait_for_timeout(500)
                    ages, missed = _ages(page.evaluate(TAKE))
                    found += ages
                    unread += missed
                told = page.evaluate("[hls.latency, hls.targetLatency]")
                errors = page.evaluate("errors")
            page.close()
        context.close()
    ahead = {f"first_{k}_s": v for k, v in spread(firsts, 2).items()}
    said = {"player_says_s": round(told[0], 2), "player_wants_s": round(told[1], 2)}
    seen = {f"{k}_ms": v for k, v in spread(found).items()}
    return {**seen, "pictures": len(found), "unread": unread, **ahead, **said, "errors": errors}


def _ages(seen: list[tuple[float, str]]) -> tuple[list[float], int]:
    ahead_ms = 1000 * (time.time() - time.monotonic())
    ages = []
    for wall_ms, text in seen:
        grey = np.frombuffer(binascii.unhexlify(text), np.uint8).reshape(HEIGHT, WIDTH)
        mark = read(grey)
        if mark is not None:
            ages.append(mark.age_ms(wall_ms - ahead_ms))
    return ages, len(seen) - len(ages)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body
