"""Does batch work leave a live stream alone? Jobs that fill the machine, and a stream that comes.

A server, then `streamgen jobs work` with a process for each core, all on one machine. A live stream
(`starry`, 360p25, one rung, RTMP) runs alone, ends, and comes again while the jobs keep every core
busy. Told are the stream's pictures that were painted (of those that came, but for those before
its first), its latency with and without the jobs, how long its worker's threads waited for a core
over how long they ran, and what the jobs had before, beside and after it: cores and pictures a
second. `yield_ms` is the time from the first live picture until the jobs have come more than half
of the way down to what they have beside the stream.

    python benchmarks/yielding.py --clip bigbuckbunny.mp4 [--seconds 60] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clips import looped
from scene import Scene, cores, ended, until

from streamgen.control.chunks.child import MODULE
from streamgen.control.chunks.packets import _HEAD
from streamgen_edge.demo.figures import painted

LIVE = """
name: live
stages: [{style: {model: starry}}]
ladder: [{height: source, bitrate: 1M}]
audio: {codec: none}
"""
BATCH = """
name: batch
stages: [{style: {model: starry}}]
ladder: [{height: 720, bitrate: 2500k}, {height: 480, bitrate: 1200k}]
"""
TICK_S = 0.05
WINDOW_S = 0.2
"""Over which cores are told."""
IDLE = 0.1
"""Part of all cores that have nothing to do on a machine that is full."""
TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Look:
    at_s: float
    cpu_s: float
    """That processes which make pieces have used since we look."""


class Jobs:
    """Work without end, and what it takes. Ends with its `with`."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.folder = folder
        self.looks: list[Look] = []
        self._used: dict[int, float] = {}
        self._over = threading.Event()
        (folder / "batch.yaml").write_text(BATCH)
        environment = {**os.environ, "STREAMGEN_STORE": f"sqlite:///{folder / 'state.db'}"}
        program = [sys.executable, "-m", "streamgen.cli", "jobs"]
        for number in range(2):
            output = str(folder / f"out-{number}.mp4")
            line = [*program, "submit", str(folder / "batch.yaml"), str(clip), "-o", output]
            subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
        line = [*program, "work", "--processes", str(cores())]
        self._process = subprocess.Popen(
            line, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._looking = threading.Thread(target=self._look)
        self._looking.start()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            ended(self._process)

    def _look(self) -> None:
        while not self._over.wait(TICK_S):
            for pid in _making(self._process.pid):
                self._used[pid] = max(self._used.get(pid, 0.0), _cpu_s(pid))
            self.looks.append(Look(time.monotonic(), sum(self._used.values())))

    def cores(self, since_s: float, until_s: float) -> float:
        """Used on average between two moments."""
        seen = [look for look in self.looks if since_s <= look.at_s <= until_s]
        return (seen[-1].cpu_s - seen[0].cpu_s) / (seen[-1].at_s - seen[0].at_s)

    @property
    def full(self) -> bool:
        """They are at work, and leave no core idle. Takes some seconds."""
        before, began_s = idle_s(), time.monotonic()
        time.sleep(2)
        idle = (idle_s() - before) / (time.monotonic() - began_s)
        return self.cores(began_s, time.monotonic()) > 1 and idle < IDLE * cores()

    def pictures(self) -> int:
        """Made so far, whole pieces or not."""
        return sum(map(_packets, self.folder.glob(".out-*/*.packets")))

    def fell_s(self, below: float, since_s: float) -> float:
        """When the cores of the last window were less than `below`, first after `since_s`."""
        for look in self.looks:
            if look.at_s > since_s and self.cores(look.at_s - WINDOW_S, look.at_s) < below:
                return look.at_s
        return float("inf")


@dataclass(frozen=True, slots=True)
class Waited:
    """Of all threads of the workers, since they started."""

    ran_s: float
    waited_s: float

    @classmethod
    def now(cls, pids: list[int]) -> Waited:
        ran = waited = 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    one = (task / "schedstat").read_text().split()
                except OSError:
                    continue
                ran, waited = ran + int(one[0]), waited + int(one[1])
        return cls(ran / 1e9, waited / 1e9)


def _packets(path: Path) -> int:
    """In a file of a piece that may still grow; jobs of one rung have one for each picture."""
    number = 0
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            file.seek(_HEAD.unpack(head)[-1], os.SEEK_CUR)
            number += 1
    return number


def _making(parent: int) -> list[int]:
    """Children of a process that make pieces."""
    found = []
    lists = Path(f"/proc/{parent}/task").glob("*/children")  # of the thread that started them
    for pid in " ".join(one.read_text() for one in lists).split():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if MODULE.encode() in line:
            found.append(int(pid))
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_HZ


def idle_s() -> float:
    """Of all cores together, since the machine started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / TICKS_HZ


def streamed(scene: Scene, name: str, seconds: float) -> dict[str, Any]:
    """What became of one live stream of so many seconds, and when its first picture came."""
    workers = [pid for child, pid in scene.server.pids().items() if child.startswith("worker")]
    before = Waited.now(workers)
    publisher = scene.publish(name, rate=25, gop=25, bitrate=1_000_000)
    first = until(lambda: _came(scene, name) and time.monotonic(), 30)
    time.sleep(seconds)
    stats, after = scene.stats(name), Waited.now(workers)
    ended(publisher)
    found = painted(stats)
    starting = stats["dropped"].get("starting", 0)
    came = max(1, stats["frames_in"] - starting)
    missed = found["reused"] + found["passed_through"]
    ran, waited = after.ran_s - before.ran_s, after.waited_s - before.waited_s
    return {
        **found,
        "painted_percent": round(100 * (stats["frames_out"] - missed) / came, 2),
        "p50_ms": stats["latency_ms"]["p50"],
        "p95_ms": stats["latency_ms"]["p95"],
        "waited_percent": round(100 * waited / ran, 1),
        "first_s": first,
        "last_s": time.monotonic(),
    }


def _came(scene: Scene, name: str) -> bool:
    return bool(scene.server.stream(name).get("stats", {}).get("frames_in", 0))


def measured(folder: Path, clip: Path, seconds: float) -> dict[str, Any]:
    with Scene(folder / "server", LIVE) as scene:
        alone = streamed(scene, "alone", seconds / 3)
        with Jobs(folder, clip) as jobs:
            if not until(lambda: jobs.full, 60):
                now_s = time.monotonic()
                had = jobs.cores(now_s - 5, now_s)
                raise SystemExit(f"the jobs have {had:.2f} cores: something else is at work here")
            counted = [(time.monotonic(), jobs.pictures())]
            time.sleep(seconds / 6)
            counted.append((time.monotonic(), jobs.pictures()))
            beside = streamed(scene, "beside", seconds)
            counted.append((time.monotonic(), jobs.pictures()))
            time.sleep(seconds / 6)
            counted.append((time.monotonic(), jobs.pictures()))
    (a, _), (b, _), (c, _), (d, _) = counted
    had, has = jobs.cores(a, b), jobs.cores(beside["first_s"] + 2, beside["last_s"])
    fell = jobs.fell_s((had + has) / 2, b)
    batch = {
        name: {"cores": round(jobs.cores(*span), 2), "fps": fps}
        for name, span, fps in zip(
            ("before", "beside", "after"), ((a, b), (b, c), (c, d)), _rates(counted), strict=True
        )
    }
    for stream in (alone, beside):
        del stream["last_s"]
    first_s = beside.pop("first_s")
    del alone["first_s"]
    yield_ms = round(1000 * max(0.0, fell - first_s))
    met = beside["painted_percent"] >= 99 and yield_ms <= 500
    return {
        "alone": alone,
        "beside": beside,
        "batch": batch,
        "yield_ms": yield_ms,
        "met": met,
        "cores": cores(),
    }


def _rates(counted: list[tuple[float, int]]) -> list[float]:
    pairs = itertools.pairwise(counted)
    return [round((now[1] - then[1]) / (now[0] - then[0]), 1) for then, now in pairs]


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--frames", type=int, default=4000, help="of each of two jobs")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamgen-bench-") as name:
        folder = Path(name)
        looped(Path(options.clip), folder / "clip.mp4", options.frames)
        answer = measured(folder, folder / "clip.mp4", options.seconds)
    print(json.dumps(answer, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
