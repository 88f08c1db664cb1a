"""What it costs a stream's home that other edges serve the stream, too, and how much later they do.

    python benchmarks/edges.py [--edges 4] [--seconds 20]

A rung of 4 Mbit/s at 30 pictures per second, encoded before the clock starts, is published at a
home in real time; other edges, in another process, fetch its parts for HLS and its packets for
WebRTC over a socket of the same machine. CPU is what the home's process takes for each of them,
over what it takes without; delays are from when a part or a packet is at the home to when it is at
the other edge. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from streamgen.control.coordinator.homes import Home
from streamgen.deliver.live import LiveSettings
from streamgen.media.packet import Packet
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.attachment import OutTrack
from streamgen_edge.feed import Subscriber
from streamgen_edge.mirror.door import MirrorDoor
from streamgen_edge.mirror.mirrors import Mirrors, address
from streamgen_edge.viewing import Viewing

FPS, BPS, HZ = 30, 4_000_000, 90_000
NAME, TRACK = "bench", "video/720p"
Seen = dict[str, int]
"""When a part (`segment.part`) or packet (PTS) was there, in ns."""


def encoded() -> list[Packet]:
    """One second that can follow itself."""
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = 1280, 720, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, FPS), Fraction(FPS)
    codec.bit_rate, codec.gop_size = BPS, FPS
    rate = {"maxrate": str(BPS), "bufsize": str(BPS // 4)}
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", **rate}
    noise = np.random.default_rng(1)
    found = []
    for number in range(FPS):
        picture = noise.integers(0, 255, (90, 160, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        found += codec.encode(frame)
    return [
        Packet(bytes(one), None, None, HZ // FPS, Fraction(1, HZ), bool(one.is_keyframe), TRACK)
        for one in found
    ]


class Noting(Subscriber):
    """When each part and packet is there."""

    def __init__(self, viewing: Viewing) -> None:
        self.parts: Seen = {}
        self.packets: Seen = {}
        self._packager = viewing.packager
        assert self._packager is not None
        self._packager.watch(self._published)
        viewing.feed.join(TRACK, self)

    def _published(self, rendition: Any) -> None:
        number, index = rendition.window.position()
        self.parts.setdefault(f"{number}.{index}", time.monotonic_ns())

    def put(self, packet: Packet) -> None:
        self.packets[str(packet.pts)] = time.monotonic_ns()

    def end(self) -> None: ...


class Shown:
    """The stream, at its home (`mirror.door.Homes`)."""

    name, session, over = NAME, "s" * 22, False

    def __init__(self) -> None:
        self.viewing = Viewing(Telemetry(), LiveSettings())
        self.telemetry = self.viewing.telemetry
        track = OutTrack(TRACK, "video", "h264", 1280, 720, Fraction(FPS), BPS, 0, 0, b"")
        self.viewing.begin(self.session, time.time_ns(), [track])

    def find(self, name: str, /) -> Shown:
        return self

    def request_keyframe(self, name: str, reason: str, /) -> None: ...

    async def publish(self) -> None:
        packets, began, number = encoded(), time.monotonic(), 0
        while True:
            at = number * HZ // FPS
            self.viewing.put(replace(packets[number % FPS], pts=at, dts=at))
            number += 1
            await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))


class There:
    """Says where the stream is (`mirror.mirrors.Seeking`)."""

    edge = "other"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def seek(self, stream: str, changed: Callable[[Home], None], /) -> None:
        asyncio.get_running_loop().call_soon(changed, Home(stream, "home", 1, self._folder))

    def forget(self, stream: str, /) -> None: ...


def ask(edge: Mirrors) -> None:
    """As a player does."""
    found = edge.find(NAME)
    if found is not None and found.viewing.packager is not None:
        found.viewing.packager.wanted("720p")


async def others(folder: str, edges: int, seconds: float) -> None:
    """Edges that fetch the stream; what they saw, as JSON, on standard output."""
    copies = [Mirrors(There(folder), lambda name: 5, Telemetry(), Metrics()) for _ in range(edges)]
    for one in copies:
        await one.__aenter__()
    notings = []
    for one in copies:
        found = await one.demand(NAME, hls=True)
        assert found is not None
        notings.append(Noting(found.viewing))
        ask(one)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await asyncio.sleep(1)
        for one in copies:
            one.get(NAME, hls=True)
            ask(one)
    print(json.dumps([[one.parts, one.packets] for one in notings]))
    for one in copies:
        await one.__aexit__()


async def home(edges: int, seconds: float) -> dict[str, Any]:
    async def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    with TemporaryDirectory() as folder:
        shown = Shown()
        noting = Noting(shown.viewing)
        async with MirrorDoor(address(folder), shown, answer, Telemetry()):
            publishing = asyncio.create_task(shown.publish())
            await asyncio.sleep(3)
            alone = await _cpu(seconds)
            command = [sys.executable, __file__, "--other", folder]
            command += ["--edges", str(edges), "--seconds", str(seconds + 6)]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            await asyncio.sleep(4)
            busy = await _cpu(seconds)
            told, _ = await process.communicate()
            publishing.cancel()
    delays: dict[str, list[float]] = {"part": [], "packet": []}
    for parts, packets in json.loads(told):
        for kind, here, there in (
            ("part", noting.parts, parts),
            ("packet", noting.packets, packets),
        ):
            # The first came with what there was already.
            later = sorted(there, key=lambda name: there[name])[2:]
            delays[kind] += [(there[name] - here[name]) / 1e6 for name in later if name in here]
    facts: dict[str, Any] = {"edges": edges, "seconds": seconds}
    facts["cpu_percent_for_each_edge"] = round((busy - alone) / edges, 2)
    for kind, found in delays.items():
        cuts = statistics.quantiles(found, n=100)
        facts |= {f"{kind}s": len(found), f"{kind}_ms_p50": round(cuts[49], 2)}
        facts |= {f"{kind}_ms_p99": round(cuts[98], 2)}
    return facts


async def _cpu(seconds: float) -> float:
    """Percent of a core that this process takes."""
    before, began = _used(), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (_used() - before) / (time.monotonic() - began)


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--other", default="")
    asked = parser.parse_args()
    if asked.other:
        asyncio.run(others(asked.other, asked.edges, asked.seconds))
    else:
        print(json.dumps(asyncio.run(home(asked.edges, asked.seconds))))


if __name__ == "__main__":
    main()
