"""How soon a stream that comes to a cluster is seen, and what its pictures cost the coordinator.

    python benchmarks/admission.py [--streams 100] [--seconds 20]

A coordinator, an edge and two workers, all by TCP with keys. Streams come one after the other
(RTMP, 180p25, GOP of a second) and are painted by `starry`, whose network the workers have loaded.
Told is the time from before the publisher connects until the edge has the first painted picture for
viewers; the first few streams, which load the network, are not counted.

Then a stream runs for some time, and none for as long: `messages` are those between the coordinator
and all others, in each second, with and without, and `per_picture` is the difference for each
picture: a call for each would be 2, and heartbeats alone differ by some hundredths. Prints one JSON
line.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from publishing import Camera, publish_rtmp  # noqa: E402

from tests.live.apart import Apart  # noqa: E402
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


class Direct(Loopback):
    """Without wires: they are in this process, as the publisher is, which holds it up while its
    server makes it wait for the coordinator."""

    def place(self, name: str, port: int) -> tuple[str, str]:
        place = f"127.0.0.1:{free_port(2)}"
        return place, place


def camera() -> Camera:
    return Camera(320, 180, RATE, GOP, BPS, 0)


def admitted(cluster: Apart, name: str) -> float:
    """Seconds until one more stream is painted."""
    edge, there = cluster.edge, threading.Event()
    said = edge.get(f"/v1/streams/{name}", "PUT", {"pipeline": {"name": name, **PIPELINE}})
    assert said[0] in (200, 202), said
    sent = f"rtmp://127.0.0.1:{edge.rtmp}/live/{name}", camera(), WITHIN_S, there.is_set
    sending = threading.Thread(target=publish_rtmp, args=sent)
    line = http.client.HTTPConnection("127.0.0.1", edge.http, timeout=WITHIN_S)
    began = time.monotonic()
    sending.start()
    try:
        while not painted(line, name):
            assert time.monotonic() < began + WITHIN_S, f"{name} was not painted"
            time.sleep(LOOK_S)
        return time.monotonic() - began
    finally:
        there.set()
        sending.join()
        line.close()


def painted(line: http.client.HTTPConnection, name: str) -> bool:
    """Whether the edge has any picture for viewers."""
    line.request("GET", f"/v1/streams/{name}")
    answer = line.getresponse()
    row = json.loads(answer.read())
    return answer.status == 200 and row.get("stats", {}).get("frames_out", 0) > 0


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

    def rate() -> float:
        before, began = way.carried("coordinator"), time.monotonic()
        time.sleep(seconds)
        return (way.carried("coordinator") - before) / (time.monotonic() - began)

    url = f"rtmp://127.0.0.1:{cluster.edge.rtmp}/live/counted"
    sending = threading.Thread(target=publish_rtmp, args=(url, camera(), seconds + 4))
    sending.start()
    cluster.edge.until(lambda: cluster.edge.frames_out("counted") > RATE, "motion", WITHIN_S)
    pictures = cluster.edge.frames_out("counted")
    running = rate()
    pictures = cluster.edge.frames_out("counted") - pictures
    sending.join()
    cluster.edge.until(lambda: not cluster.edge.stream("counted"), "end of the stream", WITHIN_S)
    idle = rate()
    return {
        "messages_running_s": round(running, 2),
        "messages_idle_s": round(idle, 2),
        "pictures_s": round(pictures / seconds, 1),
        "per_picture": round(max(0.0, running - idle) * seconds / pictures, 3),
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
