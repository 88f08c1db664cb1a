"""What a thousand idle and hostile connections do to a viewer of a painted stream.

    python benchmarks/hostile.py [--pairs 5] [--seconds 6] [--connections 1000] [--json]

One stream by RTMP is painted (`starry`, 360p15) and watched by WHEP the whole time; every picture
carries when it was drawn, so its age at the viewer is the latency (`scene.py`). For a while nobody
else is there, then the others are, in turns. They keep their number: who is ended comes again.
Equal shares of them

* connect to HTTP and say nothing,
* say half a head,
* say a head, and then their body by a byte each second,
* offer to watch by WHEP, and never send a packet,
* begin the handshake of RTMP, and stop.

`p95_ratio` is the median over the pairs of turns, so that one disturbance from outside is not it.
They come from eight addresses, as one address gets no more than the limits allow. Their process
is at the lowest priority, for in life it has a machine of its own: what they cost the server is
measured, and as little as can be of what they cost themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiortc import RTCPeerConnection
from scene import Scene, Watch, ages, cores, spread

from streamgen_edge.demo.figures import quantile

SETTLE_S = 3.0
"""What the viewer sees is not counted for so long after the others have come or gone."""
ADDRESSES = [f"127.0.0.{number}" for number in range(11, 19)]
PAUSE_S = 1.0
"""Before one that was ended comes again."""
WARM_S = 10.0
"""The worker's first pictures are no measure."""
MOST_RATIO = 1.10
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Hostile = Callable[[Opened, bytes], Awaitable[None]]


async def silent(opened: Opened, offer: bytes) -> None:
    await opened[0].read()


async def half_a_head(opened: Opened, offer: bytes) -> None:
    opened[1].write(b"GET /hls/show/index.m3u8 HTTP/1.1\r\nhost: loc")
    await opened[0].read()


async def slow_body(opened: Opened, offer: bytes) -> None:
    reader, writer = opened
    writer.write(_post(len(offer)))
    for byte in offer:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)
    await reader.read()


async def no_ice(opened: Opened, offer: bytes) -> None:
    reader, writer = opened
    writer.write(_post(len(offer)) + offer)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(15)  # the session is there so long
    writer.close()


async def handshake(opened: Opened, offer: bytes) -> None:
    opened[1].write(b"\x03" + bytes(700))
    while await opened[0].read(4096):
        pass


KINDS: tuple[Hostile, ...] = (silent, half_a_head, slow_body, no_ice, handshake)


def _post(size: int) -> bytes:
    head = "POST /whep/show HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/sdp\r\n"
    return f"{head}content-length: {size}\r\n\r\n".encode()


async def crowd(http: int, rtmp: int, number: int) -> None:
    """Be so many, until standard input ends; then say how many were there at a time, and how often
    each kind was ended."""
    offer, open_now, ended = await _offer(), Counter[str](), Counter[str]()
    most = 0

    async def again(kind: Hostile, address: str) -> None:
        nonlocal most
        port = rtmp if kind is handshake else http
        while True:
            try:
                opened = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                open_now[kind.__name__] += 1
                most = max(most, open_now.total())
                try:
                    await kind(opened, offer)
                finally:
                    open_now[kind.__name__] -= 1
                    opened[1].transport.abort()
            except (OSError, asyncio.IncompleteReadError):
                pass
            ended[kind.__name__] += 1
            await asyncio.sleep(PAUSE_S)

    tasks = []
    for kind, address in itertools.islice(
        zip(itertools.cycle(KINDS), itertools.cycle(ADDRESSES)), number
    ):
        tasks.append(asyncio.create_task(again(kind, address)))
        await asyncio.sleep(0.002)
    print("all are there", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"most": most, "ended": dict(ended)}), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _offer() -> bytes:
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    text = peer.localDescription.sdp
    await peer.close()
    return text.encode()


class Others:
    """The crowd's process."""

    def __init__(self, scene: Scene, number: int) -> None:
        ports = [str(scene.server.http), str(scene.server.rtmp)]
        self._process = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, __file__, "--crowd", *ports, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # what their coming costs is not measured

    def leave(self) -> dict[str, object]:
        told, _ = self._process.communicate(timeout=20)
        found: dict[str, object] = json.loads(told)
        return found


def between(viewer: Watch, begin_s: float, end_s: float) -> list[float]:
    return ages([one for one in list(viewer.shown) if begin_s <= one.at_s < end_s])


def measure(folder: Path, pairs: int, seconds: float, connections: int) -> dict[str, object]:
    alone: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    there, ended = 0, Counter[str]()
    with Scene(folder / "hostile", "starry") as scene:
        scene.publish("show", rate=15, gop=15, bitrate=800_000)
        scene.until_pictures("show")
        viewer = scene.watch("/whep/show")
        time.sleep(WARM_S)
        for _ in range(pairs):
            before = _seen(viewer, seconds)
            others = Others(scene, connections)
            try:
                during = _seen(viewer, seconds)
            finally:
                told = others.leave()
            alone += before
            beside += during
            ratios.append(spread(during, 3)["p95"] / spread(before, 3)["p95"])
            there = max(there, int(told["most"]))  # type: ignore[call-overload]
            ended.update(told["ended"])  # type: ignore[call-overload]
        viewer.close()
    ratio = quantile(ratios, 0.5)
    return {
        "row": "hostile",
        **{f"alone_{name}_ms": value for name, value in spread(alone).items()},
        **{f"beside_{name}_ms": value for name, value in spread(beside).items()},
        "pictures": [len(alone), len(beside)],
        "connections": there,
        "ended": dict(ended),
        "p95_ratios": [round(one, 3) for one in ratios],
        "p95_ratio": round(ratio, 3),
        "must": {"p95_ratio": MOST_RATIO},
        "met": ratio <= MOST_RATIO,
        "cores": cores(),
    }


def _seen(viewer: Watch, seconds: float) -> list[float]:
    time.sleep(SETTLE_S)
    begin_s = time.monotonic()
    time.sleep(seconds)
    return between(viewer, begin_s, begin_s + seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=5, help="turns without and with the others")
    parser.add_argument("--seconds", type=float, default=6, help="of each half of a pair")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--crowd", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON line")
    options = parser.parse_args()
    if options.crowd:
        asyncio.run(crowd(*options.crowd))
        return
    folder = Path(tempfile.mkdtemp(prefix="streamgen-hostile-"))
    try:
        row = measure(folder, options.pairs, options.seconds, options.connections)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
