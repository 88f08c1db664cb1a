"""How a browser's picture fares when its way narrows: Chromium by WHEP behind a UDP proxy.

    PYTHONPATH=. python benchmarks/adaptive.py cap|flap|rough [--seconds 300]

A stream of three rungs (2.5, 0.9 and 0.3 Mbit/s at 30 pictures per second), encoded before the
clock starts, is played by one Chromium page through a proxy, and by a second viewer, a process of
its own, without. `cap`: 4 Mbit/s become 0.8 for a while, and are 4 again. `flap`: the
same every ten seconds. `rough`: 2 % of the packets are lost, and each is up to 50 ms late. Prints
one line of JSON. No limit of the way is told to anybody: the proxy's queue holds 300 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import uvicorn
from playwright.sync_api import sync_playwright

from streamgen.media.packet import Packet
from streamgen_edge.demo.whep_viewer import WhepViewer
from streamgen_edge.feed import Feed
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.network import Network
from tests.browsing import FLAGS
from tests.edge.webrtc.proxy import Proxy
from tests.edge.webrtc.serving import PAGE
from tests.edge.webrtc.studio import ask
from tests.edge.webrtc.test_browser import PLAY

FPS = 30
BASE = Fraction(1, 90_000)
RUNGS = {"720p": (1280, 720, 2_500_000), "480p": (854, 480, 900_000), "240p": (426, 240, 300_000)}
WIDE, NARROW = 4_000_000, 800_000
QUEUE_MS = 300.0
SEEN = """async () => {
  let found = null;
  (await pc.getStats()).forEach(r => { if (r.type == 'inbound-rtp' && r.kind == 'video') found = {
    frames: r.framesDecoded, freezes: r.freezeCount, frozen_s: r.totalFreezesDuration,
    lost: r.packetsLost, pli: r.pliCount, nack: r.nackCount, width: r.frameWidth,
    dropped: r.framesDropped, delay_s: r.jitterBufferDelay, emitted: r.jitterBufferEmittedCount,
    now: performance.now() - seen.began }; });
  found.pictures = seen.times.length;
  return found;
}"""


class Facts:
    kind, codec, config = "video", "h264", b""

    def __init__(self, name: str, width: int, height: int, bitrate_bps: int) -> None:
        self.name, self.width, self.height = f"video/{name}", width, height
        self.bitrate_bps = bitrate_bps


def encoded(width: int, height: int, bps: int) -> list[Packet]:
    """Four seconds of a picture that moves everywhere, a key frame each second."""
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.framerate, codec.bit_rate = Fraction(1, FPS), FPS, bps
    rate = f"keyint={FPS}:scenecut=0:vbv-maxrate={bps // 1000}:vbv-bufsize={bps // 2000}"
    codec.options = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline"}
    codec.options |= {"x264-params": rate}
    y, x = np.mgrid[0 : height * 3 // 2, 0:width].astype(np.float32) * (720 / height)
    grain = np.random.default_rng(1).normal(0, 3, y.shape)
    out = []
    for n in range(5 * FPS):
        wave = 60 * np.sin((x + 9 * n) / 23) + 50 * np.sin((y - 6 * n) / 17 + x / 40)
        image = np.clip(128 + wave + np.roll(grain, 5 * n, axis=1), 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        out += codec.encode(frame)
    # Of the first second a rate control knows too little.
    return [Packet(bytes(p), 0, 0, 0, BASE, p.is_keyframe, "") for p in out[FPS:]]


class Loop:
    """The same four seconds again and again, all rungs aligned (`channel.Playable`)."""

    name = session = "bench"
    over = False
    resting: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.feed = Feed()
        self.tracks = [Facts(name, *how) for name, how in RUNGS.items()]
        self.pictures = {f"video/{name}": encoded(*how) for name, how in RUNGS.items()}
        self.began = 0.0
        self._key = False

    def request_keyframe(self, reason: str) -> None:
        self._key = True

    async def run(self) -> None:
        self.began, number, at = time.monotonic(), 0, 0
        while True:
            await asyncio.sleep(max(0.0, self.began + number / FPS - time.monotonic()))
            if self._key:
                at, self._key = 0, False
            pts = number * 90_000 // FPS
            for name, pictures in self.pictures.items():
                one = pictures[at % len(pictures)]
                self.feed.put(replace(one, pts=pts, dts=pts, track=name))
            number, at = number + 1, at + 1


class Hub:
    def __init__(self, show: Loop) -> None:
        self.show = show

    async def find(self, name: str, /) -> Any:
        return self.show

    async def may_play(self, viewer: Any, /) -> int | None:
        return None


class Stage:
    """The server, on a loop and a thread of its own."""

    def __init__(self) -> None:
        self.proxy: Any = None
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Stage:
        self.show = Loop()
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.app = WebRtcApp(Hub(self.show), Network(wall_s=time.time))  # type: ignore[arg-type]
        running = asyncio.create_task(self.show.run())
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
        )
        server = uvicorn.Server(config)
        door = socket.create_server(("127.0.0.1", 0))
        self.port = door.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[door]))
        self._ready.set()
        await self._stop.wait()
        running.cancel()
        await self.app.close()
        if self.proxy is not None:
            self.proxy.close()
        server.should_exit = True
        await serving

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/through":
            if scope["path"] != "/":
                await self.app(scope, receive, send)
                return
            head = [(b"content-type", b"text/html")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": PAGE})
            return
        self.proxy = Proxy()
        self.proxy.down.queue_ms = QUEUE_MS
        text = (await receive())["body"].decode()
        answer = await self.proxy.through(await ask(self.app, "POST", "/whep/bench", text))
        head = [(b"location", answer.headers["location"].encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.text.encode()})

    def viewing(self) -> Any:
        """The page's session."""
        return next(iter(self.app.sessions.values())).media


def watch(url: str, seconds: float) -> None:
    """The second viewer: for each picture, when it was there and its time, a line of JSON."""

    async def run() -> None:
        viewer = WhepViewer(
            lambda frame, stamp, at: print(json.dumps([at, stamp / 90_000]), flush=True)
        )
        await viewer.start(url + "?rung=480p")
        await asyncio.sleep(seconds)
        await viewer.close()

    asyncio.run(run())


def late_ms(rows: list[tuple[float, float]], began: float, end: float) -> float:
    """95th percentile of how much later than the luckiest picture the others were there."""
    delays = np.array([at - time_s for at, time_s in rows])
    some = [d for d, (at, _) in zip(delays, rows, strict=True) if began <= at < end]
    return round(float(np.percentile(some, 95) - delays.min()) * 1000, 2)


class Watch:
    """What the page shows from now on."""

    def __init__(self, page: Any, stage: Stage) -> None:
        self.page, self.stage = page, stage
        self.states: list[dict[str, Any]] = []
        self.rungs: list[tuple[float, str]] = []
        self.look()

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(SEEN)
        found["at"] = time.monotonic()
        self.states.append(found)
        viewing = self.stage.viewing()
        if not self.rungs or self.rungs[-1][1] != viewing.rung:
            self.rungs.append((time.monotonic(), viewing.rung))
        return found

    def until(self, holds: Callable[[dict[str, Any]], bool], seconds: float) -> float | None:
        """Seconds until the page's state is such; None when it never was."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if holds(self.look()):
                return round(time.monotonic() - began, 2)
            self.page.wait_for_timeout(50)
        return None

    def grown(self, name: str, since: int = 0) -> float:
        return round(self.states[-1][name] - self.states[since][name], 3)


def cap(page: Any, stage: Stage, seconds: float) -> dict[str, Any]:
    """Down, and up again."""
    before = time.monotonic()
    page.wait_for_timeout(seconds / 3 * 1000)
    watch = Watch(page, stage)
    stage.proxy.down.rate_bps = NARROW
    began = time.monotonic()
    down = watch.until(lambda s: s["width"] < 1280, 10)
    watch.until(lambda s: False, seconds / 3)
    frozen, end = watch.grown("frozen_s"), time.monotonic()
    stage.proxy.down.rate_bps = WIDE
    up = watch.until(lambda s: s["width"] == 1280, 40)
    return {
        "lower_rung_s": down,
        "frozen_s": frozen,
        "top_rung_s": up,
        "rungs": [rung for _, rung in watch.rungs],
        "spans": [("before", before, began), ("narrow", began, end)],
    }


def flap(page: Any, stage: Stage, seconds: float) -> dict[str, Any]:
    watch = Watch(page, stage)
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < seconds:
        number += 1
        stage.proxy.down.rate_bps = NARROW if number % 2 else WIDE
        watch.until(lambda s: False, 10)
    switches = sum(stage.viewing().adapting.switches.values())
    took = time.monotonic() - began
    return {
        "switches": switches,
        "per_minute": round(switches / took * 60, 2),
        "rungs": [(round(at - began, 1), rung) for at, rung in watch.rungs],
        "frozen_s": watch.grown("frozen_s"),
        "spans": [("flapping", began, time.monotonic())],
    }


def rough(page: Any, stage: Stage, seconds: float) -> dict[str, Any]:
    stage.proxy.down.loss, stage.proxy.down.jitter_ms = 0.02, 50.0
    page.wait_for_timeout(3000)
    watch = Watch(page, stage)
    began = time.monotonic()
    minutes = []
    while time.monotonic() - began < seconds:
        at = len(watch.states) - 1
        watch.until(lambda s: False, min(60.0, seconds / 2))
        delay = watch.grown("delay_s", at) / max(1, watch.grown("emitted", at))
        minutes.append([watch.grown("frozen_s", at), round(delay * 1000)])
    took = time.monotonic() - began
    return {
        "frozen_percent": round(100 * watch.grown("frozen_s") / took, 2),
        "by_minute_frozen_s_delay_ms": minutes,
        "rungs": [(round(at - began, 1), rung) for at, rung in watch.rungs],
        "spans": [("rough", began, time.monotonic())],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=["cap", "flap", "rough", "watch"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--url", default="")
    asked = parser.parse_args()
    if asked.case == "watch":
        watch(asked.url, asked.seconds)
        return
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        Stage() as stage,
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryFile("w+") as rows,
    ):
        context = playwright.chromium.launch_persistent_context(
            home, executable_path=chromium, headless=False, args=FLAGS, timeout=20_000
        )
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{stage.port}/")
        status, place = page.evaluate(PLAY, ["/through", ["video"]])
        assert status == 201, place
        stage.proxy.down.rate_bps = WIDE
        page.wait_for_function("seen.times.length > 60", timeout=15_000, polling=50)
        command = [sys.executable, __file__, "watch", "--url"]
        command += [
            f"http://127.0.0.1:{stage.port}/whep/bench",
            "--seconds",
            str(asked.seconds + 45),
        ]
        child = subprocess.Popen(command, stdout=rows)
        page.wait_for_timeout(4000)
        try:
            found = {"cap": cap, "flap": flap, "rough": rough}[asked.case](
                page, stage, asked.seconds
            )
        finally:
            child.terminate()
            child.wait()
        context.close()
        rows.seek(0)
        times = [tuple(json.loads(line)) for line in rows if line.endswith("\n")]
    for name, began, end in found.pop("spans"):
        found[f"other_viewer_p95_ms_{name}"] = late_ms(times, began, end)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
