"""Does a plugin that goes wrong slow the other streams of its worker down?

    python benchmarks/neighbour.py [--rounds 4] [--seconds 5] [--json]

One 360p stream is painted at 30 frames a second, at moments that have nothing to do with those of
the stream beside it in the same process, whose isolated plugin behaves for a few seconds, then goes
wrong on every 50th picture, then behaves again, and so on through every way of going wrong. The p99
of the painted pictures' latencies, all of one kind together, must change by 5 % at most.

A p99 moves by itself: every other stretch of good behaviour is a second control, and intervals
come from drawing whole stretches again (bootstrap), so that a change can be told from noise.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from soak import FPS, WAYS, install, opened

from streamgen.config import cache_dir, cores
from streamgen.errors import StageError
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
Stretches = list[list[float]]


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

    def run(self, seconds: float, moments: random.Random) -> list[float]:
        """Milliseconds from `put` to `get` of each picture."""
        times_ms = []
        due = time.monotonic()
        until = due + seconds
        while due < until:
            due += moments.uniform(0.7, 1.3) / FPS
            time.sleep(max(0.0, due - time.monotonic()))
            began_ns = time.monotonic_ns()
            self._pts += 1
            self._seat.put(self._picture.retimed(pts=self._pts))
            self._seat.get()
            times_ms.append((time.monotonic_ns() - began_ns) / 1e6)
        return times_ms

    def close(self) -> None:
        self._seat.close()
        self._seat.get()
        self._graph.close()


class Beside:
    """The other stream, on a thread of its own; `every` and `way` may change at any time."""

    def __init__(self) -> None:
        self.way, self.every = "raise", 0
        self.bypassed = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        stage = opened()
        source = stage._source.shared(picture(320, 180, seed=1))
        number = 0
        while not self._ended.is_set():
            began = time.monotonic()
            number += 1
            params = stage.Params(way=self.way, every=self.every)
            try:
                stage.process({"picture": source.retimed(pts=number)}, params).outputs()
            except StageError:
                self.bypassed += 1
            time.sleep(max(0.0, 1 / FPS - (time.monotonic() - began)))
        stage.close()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def measured(rounds: int, seconds: float) -> dict[str, Any]:
    """Stretches of good behaviour, of each way of going wrong, and of good behaviour in turn."""
    kinds = Stretches(), Stretches(), Stretches()
    moments = random.Random(1)
    with Lane() as lane:
        painted, other = Painted(lane), Beside()
        painted.run(3, moments)
        for number in range(rounds * len(WAYS)):
            order = [(0, 0), (1, EVERY), (2, 0)]
            for kind, every in order if number % 2 else reversed(order):
                other.way, other.every = WAYS[number % len(WAYS)], every
                painted.run(0.5, moments)  # what the last stretch began has ended
                kinds[kind].append(painted.run(seconds, moments))
        other.close()
        painted.close()
    zygote("soak-troubled", None).end()
    good, bad, again = kinds
    return {
        "p99_ms_beside_good_bad_good": [round(p99(one), 2) for one in kinds],
        "p50_ms_beside_good_bad_good": [
            round(float(np.median(np.concatenate(k))), 2) for k in kinds
        ],
        "change_of_p99_by_going_wrong": change([*good, *again], bad),
        "change_of_p99_by_nothing": change(good, again),
        "pictures": [sum(map(len, one)) for one in kinds],
        "bypassed": other.bypassed,
    }


def p99(stretches: Stretches) -> float:
    """Of all pictures of these stretches together."""
    return float(np.percentile(np.concatenate(stretches), 99))


def change(before: Stretches, after: Stretches) -> dict[str, float]:
    """Of the p99, and where it lies in nine of ten draws of the stretches."""
    draw = random.Random(2)
    found = [
        p99(draw.choices(after, k=len(after))) / p99(draw.choices(before, k=len(before))) - 1
        for _ in range(500)
    ]
    low, high = np.percentile(found, [5, 95])
    middle = p99(after) / p99(before) - 1
    return {"is": round(middle, 3), "from": round(float(low), 3), "to": round(float(high), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
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
