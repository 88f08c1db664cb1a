"""What thousands of sessions leave behind: nothing.

    python benchmarks/soak/sessions.py [--sessions 10000] [--kinds rtmp,whip,whep,hls]

One server without a network in its pipeline; a stream that stays, and sessions that are opened,
see or send pictures, and are closed, as many of each kind: publishers by RTMP and by WHIP, each of
which is a whole stream with its encoders, viewers by WHEP and by LL-HLS of the stream that stays.
After a tenth of them the server's own memory (what its processes share with the files of
programs and libraries left out), open descriptors, UDP sockets and processes are the base; at the
end they must be there again: memory within 2 %, the others exactly.
It prints one JSON line for each tenth, and one at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from publishing import Camera, Pictures, publish_rtmp
from scene import HERE, IDENTITY, ended, program

from streamgen.errors import StreamGenError
from streamgen_edge.demo.hls_reader import HlsReader
from streamgen_edge.demo.own_server import OwnServer
from streamgen_edge.demo.whep_viewer import PORTS, WhepViewer, negotiated
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.network import Network
from streamgen_edge.webrtc.whep import preferred

STAYS = "stays"
NAMES = 16
"""Streams that come and go have one of so many names."""
SETTLES_S = 30.0
WITHIN_S = 60.0
SENDS_S = 0.4
MOST_MEMORY = 0.02


def small() -> Camera:
    return Camera(160, 90, 25, 25, 200_000, 0)


class Sessions:
    """One of each kind, from its opening to its end."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._opened = 0

    def _name(self) -> str:
        self._opened += 1
        return f"comes-{self._opened % NAMES}"

    async def rtmp(self) -> None:
        url = self._server.publish_url(self._name())
        await asyncio.to_thread(publish_rtmp, url, small(), SENDS_S)

    async def whip(self) -> None:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        line = peer.addTransceiver(Pictures(small(), 60.0), direction="sendonly")
        line.setCodecPreferences(preferred("video", "H264", "rtx"))
        stack.use_network(peer, Network(udp_ports=PORTS, wall_s=time.time))
        name = self._name()
        try:
            await peer.setLocalDescription(await peer.createOffer())
            text = await asyncio.to_thread(
                negotiated, self._server.url(f"/whip/{name}"), peer.localDescription.sdp
            )
            await peer.setRemoteDescription(RTCSessionDescription(text, "answer"))
            await holds(lambda: peer.connectionState == "connected", "a connection")
            await asyncio.sleep(SENDS_S)
        finally:
            await peer.close()

    async def whep(self) -> None:
        viewer = WhepViewer(lambda *_: None)
        try:
            await viewer.start(self._server.url(f"/whep/{STAYS}"))
            await holds(lambda: viewer.pictures, "a picture")
        finally:
            await viewer.close()

    async def hls(self) -> None:
        heard: list[Any] = []
        url = self._server.url(f"/hls/{STAYS}/index.m3u8")
        reader = HlsReader(url, lambda *part: heard.append(part), lowest=True)
        reader.start()
        try:
            await holds(lambda: heard or reader.error, "a part")
            if reader.error:
                raise StreamGenError(reader.error)
        finally:
            await asyncio.to_thread(reader.stop)


async def holds(what: Callable[[], Any], name: str) -> None:
    end = time.monotonic() + WITHIN_S
    while not what():
        if time.monotonic() > end:
            raise StreamGenError(f"no {name} within {WITHIN_S:g} s")
        await asyncio.sleep(0.02)


def processes(root: int) -> list[int]:
    """A process and all below it."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def memory_mb(pid: int) -> float:
    rows = map(str.split, Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(row[1]) for row in rows if row[0] in ("Pss_Anon:", "Pss_Shmem:")) / 1024


def state(server: OwnServer) -> dict[str, Any]:
    """What the server holds of the machine now."""
    pids = processes(server.process.pid)
    named = {pid: name for name, pid in server.pids().items()}
    links = [
        link.readlink().as_posix() for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()
    ]
    udp = Path("/proc/net/udp").read_text() + Path("/proc/net/udp6").read_text()
    inodes = {f"socket:[{row.split()[9]}]" for row in udp.splitlines() if "inode" not in row}
    memory = {named.get(pid, str(pid)): round(memory_mb(pid), 1) for pid in pids}
    return {
        "memory_mb": round(sum(memory.values()), 1),
        "by_process_mb": memory,
        "descriptors": len(links),
        "udp_sockets": sum(link in inodes for link in links),
        "processes": len(pids),
    }


async def opened(one: Callable[[], Awaitable[None]], times: int, at_once: int) -> int:
    """So many sessions of a kind, `at_once` of them beside each other; how many failed."""
    left, failed = times, 0

    async def line() -> None:
        nonlocal left, failed
        while left > 0:
            left -= 1
            try:
                await one()
            except (StreamGenError, av.FFmpegError, OSError) as error:
                failed += 1
                print(f"failed: {error}", file=sys.stderr)

    await asyncio.gather(*(line() for _ in range(at_once)))
    return failed


async def soak(server: OwnServer, kinds: list[str], sessions: int) -> dict[str, Any]:
    of = Sessions(server)
    base: dict[str, Any] = {}
    now, failed, began = base, 0, time.monotonic()
    for tenth in range(10):
        for kind in kinds:
            failed += await opened(getattr(of, kind), sessions // 10 // len(kinds), 2)
        await asyncio.sleep(SETTLES_S)
        now = state(server)
        base = base or now
        print(json.dumps({"tenth": tenth + 1, "failed": failed, **now}), flush=True)
    grown = now["memory_mb"] / base["memory_mb"] - 1
    leaked = {k: now[k] - base[k] for k in ("descriptors", "udp_sockets", "processes")}
    return {
        "sessions": sessions,
        "kinds": kinds,
        "failed": failed,
        "memory_grown": round(grown, 4),
        "leaked": leaked,
        "took_s": round(time.monotonic() - began),
        "met": not failed and abs(grown) <= MOST_MEMORY and not any(leaked.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--kinds", default="rtmp,whip,whep,hls")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder, "pipeline.yaml")
        pipeline.write_text(IDENTITY)
        with OwnServer(Path(folder, "serve.log"), "--pipeline", str(pipeline)) as server:
            url = server.publish_url(STAYS)
            command = [*program("publishing"), url, "--size", "160x90", "--seconds", "86400"]
            publisher = subprocess.Popen(command, cwd=HERE)
            try:
                server.until(lambda: server.frames_out(STAYS) > 50, "pictures", 30)
                print(json.dumps(asyncio.run(soak(server, asked.kinds.split(","), asked.sessions))))
            finally:
                ended(publisher)


if __name__ == "__main__":
    main()
