"""What one more WHEP viewer costs: our sender beside aiortc's own, in one run; first pictures.

    python benchmarks/whep.py [--viewers 8] [--seconds 8]

A stream of 4 Mbit/s at 30 pictures per second, encoded before the clock starts, is sent over
loopback to viewers in another process, which decrypt and throw away. CPU is that of the sending
process alone, less what it takes without viewers. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import uvicorn
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from streamgen.media.packet import Packet
from streamgen_edge.feed import Feed
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.network import Network

FPS = 30
BPS = 4_000_000
BASE = Fraction(1, 90_000)


class Facts:
    name, kind, codec, width, height, config = "video/720p", "video", "h264", 1280, 720, b""
    bitrate_bps = BPS


class Loop:
    """The same two seconds again and again, as a stream (`channel.Playable`)."""

    name = session = "bench"
    over = False

    def __init__(self) -> None:
        self.feed = Feed()
        self.tracks = [Facts]
        self.resting: frozenset[str] = frozenset()
        self.packets = _encoded()
        self.key = False

    def request_keyframe(self, reason: str) -> None:
        self.key = True

    async def run(self, put: Any) -> None:
        began, number, at = time.monotonic(), 0, 0
        while True:
            await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))
            if self.key:
                at, self.key = 0, False
            packet = self.packets[at % len(self.packets)]
            pts = number * 90_000 // FPS
            put(replace(packet, pts=pts, dts=pts))
            number, at = number + 1, at + 1


def _encoded() -> list[Packet]:
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = 1280, 720, "yuv420p"
    codec.time_base, codec.framerate, codec.bit_rate = Fraction(1, FPS), FPS, BPS
    rate = f"keyint=60:scenecut=0:vbv-maxrate={BPS // 1000}:vbv-bufsize=800:nal-hrd=cbr:filler=0"
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    codec.options |= {"x264-params": rate + ":force-cfr=1"}
    noise = np.random.default_rng(1).integers(0, 255, (1080, 1280), np.uint8)
    out = []
    for n in range(2 * FPS):
        image = np.roll(noise, 16 * n, axis=1)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        out += codec.encode(frame)
    made = [Packet(bytes(p), 0, 0, 0, BASE, p.is_keyframe, "video/720p") for p in out]
    size = sum(p.size_bytes for p in made)
    want = BPS // 8 * 2
    # Filler NAL units would not be sent: pictures that are too small grow by a slice's tail.
    if size < want:
        more = (want - size) // len(made)
        made = [replace(p, data=p.data + b"\xa5" * more) for p in made]
    return made


class Hub:
    def __init__(self, show: Loop) -> None:
        self.show = show

    async def find(self, name: str, /) -> Any:
        return self.show

    async def may_play(self, viewer: Any, /) -> int | None:
        return None


class Replayed(MediaStreamTrack):
    """The stream as aiortc's own sender takes it."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[Any] = asyncio.Queue(64)

    async def recv(self) -> Any:
        return await self.queue.get()


class Stock:
    """The same endpoint with aiortc as it is: a sender loop for each viewer."""

    def __init__(self) -> None:
        self.peers: list[RTCPeerConnection] = []
        self.tracks: list[Replayed] = []

    def put(self, packet: Packet) -> None:
        for track in self.tracks:
            one = av.Packet(packet.data)
            one.pts, one.time_base = packet.pts, BASE
            if not track.queue.full():
                track.queue.put_nowait(one)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        text = (await receive())["body"].decode()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        track = Replayed()
        line = peer.addTransceiver(track, direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        line.setCodecPreferences([c for c in known if c.mimeType in ("video/H264", "video/rtx")])
        await peer.setRemoteDescription(RTCSessionDescription(text, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        self.peers.append(peer)
        self.tracks.append(track)
        head = [(b"content-type", b"application/sdp"), (b"location", b"/")]
        await send({"type": "http.response.start", "status": 201, "headers": head})
        body = peer.localDescription.sdp.encode()
        await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(ours: bool, viewers: int, seconds: float) -> dict[str, Any]:
    show = Loop()
    if ours:
        app: Any = WebRtcApp(Hub(show), Network(wall_s=time.time))  # type: ignore[arg-type]
        put = show.feed.put
    else:
        app = Stock()
        put = app.put
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", ws="none")
    )
    door = socket.create_server(("127.0.0.1", 0))
    port = door.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[door]))
    running = asyncio.create_task(show.run(put))
    before = cpu_s()
    await asyncio.sleep(seconds / 2)
    idle = (cpu_s() - before) / (seconds / 2)
    command = [sys.executable, __file__, "--watch", str(port), "--viewers", str(viewers)]
    child = await asyncio.create_subprocess_exec(
        *command, "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    firsts = json.loads(await child.stdout.readline())
    before, began = cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    busy = (cpu_s() - before) / (time.monotonic() - began)
    received = json.loads(await child.stdout.readline())
    await child.wait()
    running.cancel()
    await app.close()
    server.should_exit = True
    await serving
    out = {
        "cpu_percent_per_viewer": round(100 * (busy - idle) / viewers, 3),
        "mbit_per_viewer": round(received["bits"] / received["wall_s"] / viewers / 1e6, 2),
    }
    if ours:  # aiortc begins in the middle of a GOP: what comes first shows nothing
        out["first_picture_ms_p50"] = round(float(np.percentile(firsts, 50)))
        out["first_picture_ms_p95"] = round(float(np.percentile(firsts, 95)))
    return out


class Counting:
    """Stands in a receiver's place: decrypted packets are counted."""

    def __init__(self) -> None:
        self.first = 0.0
        self.seen = asyncio.Event()
        self.bits = 0

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        self.bits += 8 * len(packet.payload)
        if packet.marker and not self.seen.is_set():
            self.first = time.monotonic()
            self.seen.set()

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        return None

    def _handle_disconnect(self) -> None:
        return None


async def watch(port: int, viewers: int, seconds: float) -> None:
    """The viewers' process: first pictures in ms as one line of JSON, bits received as another."""
    counts, peers, began = [], [], []
    for _ in range(viewers):
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        line = peer.addTransceiver("video", direction="recvonly")
        count = Counting()

        async def receive(parameters: Any, line: Any = line, count: Any = count) -> None:
            line.receiver.transport._register_rtp_receiver(count, parameters)

        line.receiver.receive = receive  # type: ignore[method-assign]
        began.append(time.monotonic())
        await peer.setLocalDescription(await peer.createOffer())
        text = await asyncio.to_thread(_post, port, peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(text, "answer"))
        counts.append(count)
        peers.append(peer)
        await asyncio.sleep(0.15)
    await asyncio.gather(*(asyncio.wait_for(count.seen.wait(), 20) for count in counts))
    firsts = [1000 * (c.first - b) for c, b in zip(counts, began, strict=True)]
    print(json.dumps(firsts), flush=True)
    before, at = sum(c.bits for c in counts), time.monotonic()
    await asyncio.sleep(seconds)
    bits = sum(c.bits for c in counts) - before
    print(json.dumps({"bits": bits, "wall_s": time.monotonic() - at}), flush=True)
    await asyncio.gather(*(peer.close() for peer in peers))


def _post(port: int, text: str) -> str:
    command = ["curl", "-s", "-H", "content-type: application/sdp", "--data-binary", "@-"]
    url = f"http://127.0.0.1:{port}/whep/bench"
    return subprocess.run([*command, url], input=text, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--watch", type=int)
    asked = parser.parse_args()
    if asked.watch:
        asyncio.run(watch(asked.watch, asked.viewers, asked.seconds))
        return
    out: dict[str, Any] = {"name": "whep", "viewers": asked.viewers, "cores": os.cpu_count()}
    for name, ours in (("streamgen", True), ("aiortc", False)):
        out[name] = asyncio.run(measure(ours, asked.viewers, asked.seconds))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
