"""How soon a stream that comes to a cluster is seen, and what its pictures cost the coordinator.

    python benchmarks/admission.py [--streams 100] [--seconds 20]

A coordinator, an edge and two workers, all by TCP with keys. Streams come one after the other
(RTMP, 180p25, GOP of a second) and are painted by `starry`, whose network the workers have loaded.
Told is the time from before the publisher connects until a viewer has decoded the first painted
picture. The viewer (WHEP) asks for the stream as soon as the edge has any of it; painted is what
has colours where the publisher's pictures have none. The first few streams, which load the network,
are not counted.

Then a stream runs for some time, and none for as long: `messages` are those between the coordinator
and all others. As none comes of pictures, there are as many with the stream as without, but for
`TIMERS`: each may ring once more in one time than in the other. `messages_for_pictures` are those
beyond that. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from publishing import Camera, publish_rtmp  # noqa: E402

from streamgen_edge.demo.whep_viewer import WhepViewer  # noqa: E402
from tests.live.apart import WORKERS, Apart  # noqa: E402
from tests.live.wires import Loopback  # noqa: E402
from tests.ports import free_port  # noqa: E402

PIPELINE: dict[str, Any] = {
    "stages": [{"style": {"model": "starry"}}],
    "ladder": [{"height": "source", "bitrate": "400k"}],
    "audio": {"codec": "none"},
}
RATE, GOP, BPS = 25, 25, 600_000
WARMING = 4
LOOK_S = 0.005
WITHIN_S = 60.0
COLOURED = 4.0
"""Mean distance from grey of the red plane, in 8-bit steps: 0 as published, 9 and more as painted
by `starry`."""
TIMERS = 3 * len(WORKERS) + 2
"""A worker's heartbeats, reports and beats of the coordinator; an edge's heartbeats and beats."""


class Direct(Loopback):
    """Without wires: they are in this process, as the publisher is, which holds it up while its
    server makes it wait for the coordinator."""

    def place(self, name: str, port: int) -> tuple[str, str]:
        place = f"127.0.0.1:{free_port(2)}"
        return place, place


def camera() -> Camera:
    return Camera(320, 180, RATE, GOP, BPS, 0)


def admitted(cluster: Apart, name: str) -> float:
    """Seconds until a viewer sees one more stream painted."""
    edge, there = cluster.edge, threading.Event()
    said = edge.get(f"/v1/streams/{name}", "PUT", {"pipeline": {"name": name, **PIPELINE}})
    assert said[0] in (200, 202), said
    sent = f"rtmp://127.0.0.1:{edge.rtmp}/live/{name}", camera(), WITHIN_S, there.is_set
    sending = threading.Thread(target=publish_rtmp, args=sent)
    began = time.monotonic()
    sending.start()
    try:
        return asyncio.run(first_painted(cluster, name)) - began
    finally:
        there.set()
        sending.join()


async def first_painted(cluster: Apart, name: str) -> float:
    """When the first picture that is painted was decoded (`time.monotonic`)."""
    place = f"127.0.0.1:{cluster.edge.http}"
    found: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def shown(frame: VideoFrame, timestamp: int, at_s: float) -> None:
        if painted(frame) and not found.done():
            found.set_result(at_s)

    async with asyncio.timeout(WITHIN_S):
        await asyncio.to_thread(until_begun, place, name)
        viewer = WhepViewer(shown)
        await viewer.start(f"http://{place}/whep/{name}")
        try:
            return await found
        finally:
            await viewer.close()


def until_begun(place: str, name: str) -> None:
    """Wait until the edge has any picture for viewers."""
    ends = time.monotonic() + WITHIN_S
    with closing(http.client.HTTPConnection(place, timeout=WITHIN_S)) as line:
        while True:
            line.request("GET", f"/v1/streams/{name}")
            answer = line.getresponse()
            row = json.loads(answer.read())
            if answer.status == 200 and row.get("stats", {}).get("frames_out", 0) > 0:
                return
            assert time.monotonic() < ends, f"{name} was not there"
            time.sleep(LOOK_S)


def painted(frame: VideoFrame) -> bool:
    red = frame.to_ndarray(format="yuv420p")[frame.height * 5 // 4 :].astype(float)
    return bool(np.abs(red - 128).mean() > COLOURED)


def admission(cluster: Apart, streams: int) -> dict[str, float]:
    took = [admitted(cluster, f"stream-{n}") * 1000 for n in range(WARMING + streams)][WARMING:]
    return {
        "streams": streams,
        "first_p50_ms": round(float(np.percentile(took, 50)), 1),
        "first_p99_ms": round(float(np.percentile(took, 99)), 1),
        "first_max_ms": round(max(took), 1),
    }


def calls(cluster: Apart, way: Loopback, seconds: float) -> dict[str, float]:
    """Messages of the coordinator with a stream and without."""

    def messages() -> int:
        before = way.carried("coordinator")
        time.sleep(seconds)
        return way.carried("coordinator") - before

    url = f"rtmp://127.0.0.1:{cluster.edge.rtmp}/live/counted"
    sending = threading.Thread(target=publish_rtmp, args=(url, camera(), seconds + 4))
    sending.start()
    cluster.edge.until(lambda: cluster.edge.frames_out("counted") > RATE, "motion", WITHIN_S)
    pictures = cluster.edge.frames_out("counted")
    running = messages()
    pictures = cluster.edge.frames_out("counted") - pictures
    sending.join()
    cluster.edge.until(lambda: not cluster.edge.stream("counted"), "end of the stream", WITHIN_S)
    idle = messages()
    return {
        "messages_running": running,
        "messages_idle": idle,
        "pictures": pictures,
        "messages_for_pictures": max(0, running - idle - TIMERS),
    }


def measured(streams: int, seconds: float) -> dict[str, float]:
    with ExitStack() as stack, Direct() as way:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        found = admission(stack.enter_context(Apart(folder, way)), streams)
    with ExitStack() as stack, Loopback() as way:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        return found | calls(stack.enter_context(Apart(folder, way)), way, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    print(json.dumps(measured(given.streams, given.seconds)))


if __name__ == "__main__":
    main()
