"""Does a plugin that goes wrong slow the other streams of its worker down?

    python benchmarks/neighbour.py [--rounds 6] [--seconds 12] [--json]

One 360p stream is painted at 30 frames a second; beside it, in the same process, runs a stream with
an isolated plugin that behaves, then one whose plugin goes wrong on every 50th picture, in turn.
The p99 of the painted pictures' latencies, all rounds together, must change by 5 % at most.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from soak import FPS, WAYS, Tally, install, stream

from streamgen.config import cache_dir, cores
from streamgen.graph.isolation.zygote import zygote
from streamgen.graph.lane import Lane
from streamgen.graph.seat import Seat
from streamgen.media.frame import CPU
from streamgen.media.pool import FramePool
from streamgen.opening import open_graph
from streamgen.pipeline import load_pipeline
from streamgen.plugins import models
from streamgen.protocols import Mode, StageContext
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.telemetry import Telemetry
from streamgen.testing import picture

EVERY = 50


class Painted:
    """A stream that paints, one picture at a time, as a live one does."""

    def __init__(self, lane: Lane) -> None:
        telemetry, pool = Telemetry(), FramePool()
        engines = MeasuredEngines(Mode.LIVE, cache=cache_dir(), cores=cores(), telemetry=telemetry)
        context = StageContext(CPU, Mode.LIVE, pool, pool.meter, engines, models())
        self._graph = open_graph(load_pipeline("starry"), context, telemetry)
        self._picture = picture(640, 360)
        self._graph.prepare(640, 360, self._picture.color)
        self._seat = Seat(lane, self._graph, telemetry, depth=2, parallel=1)
        self._pts = 0

    def run(self, seconds: float, times_ms: list[float]) -> None:
        """Add the time from `put` to `get` of each picture."""
        until = time.monotonic() + seconds
        while (began_ns := time.monotonic_ns()) < until * 1e9:
            self._pts += 1
            self._seat.put(self._picture.retimed(pts=self._pts))
            self._seat.get()
            times_ms.append((time.monotonic_ns() - began_ns) / 1e6)
            time.sleep(max(0.0, 1 / FPS - (time.monotonic_ns() - began_ns) / 1e9))

    def close(self) -> None:
        self._seat.close()
        self._seat.get()
        self._graph.close()


def beside(painted: Painted, way: str, every: int, seconds: float, times_ms: list[float]) -> Tally:
    """Paint beside one plugin's stream."""
    tally = Tally(way)
    other = threading.Thread(target=stream, args=(way, every, seconds + 1, tally))
    other.start()
    time.sleep(1)  # its start is not the question
    painted.run(seconds, times_ms)
    other.join()
    return tally


def measured(rounds: int, seconds: float) -> dict[str, Any]:
    """Both in turn, each way of going wrong once before any comes again."""
    calm: list[float] = []
    troubled: list[float] = []
    bypassed = 0
    with Lane() as lane:
        painted = Painted(lane)
        painted.run(3, [])
        for number in range(rounds):
            way = WAYS[number % len(WAYS)]
            runs = [("raise", 0, calm), (way, EVERY, troubled)]
            for name, every, times_ms in runs if number % 2 else reversed(runs):
                bypassed += beside(painted, name, every, seconds, times_ms).bypassed
        painted.close()
    zygote("soak-troubled", None).end()
    found = [float(np.percentile(times_ms, 99)) for times_ms in (calm, troubled)]
    return {
        "p99_ms_beside_a_good_and_a_bad_plugin": [round(ms, 2) for ms in found],
        "change": round(found[1] / found[0] - 1, 3),
        "p50_ms": [round(float(np.median(times_ms)), 2) for times_ms in (calm, troubled)],
        "pictures": [len(calm), len(troubled)],
        "bypassed": bypassed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=len(WAYS))
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        row = measured(args.rounds, args.seconds)
    if args.json:
        print(json.dumps(row))
    else:
        for name, value in row.items():
            print(f"{name:42} {value}")


if __name__ == "__main__":
    main()
