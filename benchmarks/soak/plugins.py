"""What isolation survives: plugins that go wrong for minutes, and a thousand kills.

    python benchmarks/soak/plugins.py --seconds 600        # all bad plugins side by side at 30 fps
    python benchmarks/soak/plugins.py --kills 1000         # kill -9 of workers
    python benchmarks/soak/plugins.py --host-kills 100     # kill -9 of whole hosts

The soak prints a table and one JSON line: pictures in, right, bypassed, lost, how many in a row,
the longest time from a failure to the next right picture, and memory, descriptors, processes and
`/dev/shm` before and after.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamgen.errors import StageError
from streamgen.graph.declared import stage_class
from streamgen.graph.isolation.zygote import zygote
from streamgen.graph.spec import Limits, NodeSpec
from streamgen.media.frame import CPU
from streamgen.media.shared import SharedPool
from streamgen.protocols import Mode, StageContext
from streamgen.telemetry import Times
from streamgen.testing import NoEngines, picture

ROOT = Path(__file__).resolve().parents[2]
FPS = 30
WAYS = ("null", "signal", "exit", "hang", "leak", "print", "shape", "name", "raise", "scribble")


def install(folder: Path) -> None:
    """Put the bad plugins of the tests on the import path, ours and the children's."""
    about = folder / "soak_stages-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: soak-stages\nVersion: 1.0\n")
    lines = ["[streamgen.stages]", "soak-troubled = tests.graph.isolation.troubled:Troubled"]
    (about / "entry_points.txt").write_text("\n".join(lines))
    sys.path[:0] = [str(folder), str(ROOT)]


def opened(**node: Any) -> Any:
    pool = SharedPool()
    context = StageContext(CPU, Mode.LIVE, pool, pool.meter, NoEngines(), {})
    limits = Limits(memory_mb=300)
    found = stage_class(
        NodeSpec(stage="soak-troubled", isolation="process", limits=limits).model_copy(update=node)
    )
    return found(found.Params(), context)


@dataclass
class Tally:
    """What became of the pictures of one stream."""

    way: str
    pictures: int = 0
    right: int = 0
    bypassed: int = 0
    wrong: int = 0
    windows: int = 0
    longest_ms: float = 0.0
    """From the first picture's failure to the next right picture."""
    most_in_a_row: int = 0
    times: Times = field(default_factory=Times)


def stream(way: str, every: int, seconds: float, tally: Tally) -> None:
    """One live stream whose stage goes wrong on every so many pictures."""
    stage = opened()
    params = stage.Params(way=way, every=every)
    source = stage._source.shared(picture(320, 180, seed=1))
    wanted = 255 - source.planes[0].array()
    began = time.monotonic()
    failed_at, in_a_row = 0.0, 0
    while (now := time.monotonic()) - began < seconds:
        frame = source.retimed(pts=tally.pictures)
        tally.pictures += 1
        try:
            result = stage.process({"picture": frame}, params).outputs()["picture"]
        except StageError:
            tally.bypassed += 1
            tally.windows += not in_a_row
            failed_at, in_a_row = failed_at or time.monotonic(), in_a_row + 1
            tally.most_in_a_row = max(tally.most_in_a_row, in_a_row)
        else:
            good = bool((result.planes[0].array() == wanted).all())
            tally.right += good
            tally.wrong += not good
            came = time.monotonic()
            if in_a_row:
                tally.longest_ms = max(tally.longest_ms, (came - failed_at) * 1e3)
            else:
                tally.times.add(round((came - now) * 1e9))
            failed_at, in_a_row = 0.0, 0
        time.sleep(max(0.0, 1 / FPS - (time.monotonic() - now)))
    stage.close()


def state() -> dict[str, int]:
    """What could be left behind, of this process and its children."""
    own = Path("/proc/self/statm").read_text().split()
    return {
        "memory_mb": (int(own[1]) - int(own[2])) * 4096 >> 20,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(family(os.getpid())),
        "dev_shm": len(os.listdir("/dev/shm")),
        "threads": threading.active_count(),
    }


def family(root: int) -> set[int]:
    """Every process that descends from this one."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            rest = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(rest[1])
    found = {root}
    while True:
        grown = found | {pid for pid, parent in parents.items() if parent in found}
        if grown == found:
            return found - {root}
        found = grown


def soak(seconds: float, every: int) -> dict[str, Any]:
    """All ways of going wrong at once, and one stream beside them that does not."""
    tallies = [Tally(way) for way in ("none", *WAYS)]
    alone = Tally("none")
    stream("raise", 0, min(seconds / 10, 20), alone)
    zygote("soak-troubled", None).end()
    before = state()
    threads = []
    for tally in tallies:
        way, often = ("raise", 0) if tally.way == "none" else (tally.way, every)
        threads.append(threading.Thread(target=stream, args=(way, often, seconds, tally)))
        threads[-1].start()
    memory = watch(threads, seconds)
    zygote("soak-troubled", None).end()
    gc.collect()
    time.sleep(0.2)  # for the threads that drain what the processes printed
    heads = ("pictures", "right", "bypassed", "wrong", "windows", "in a row", "longest ms")
    print(f"{'way':10}" + "".join(f"{head:>12}" for head in heads))
    for t in tallies:
        row = (t.pictures, t.right, t.bypassed, t.wrong, t.windows, t.most_in_a_row)
        print(f"{t.way:10}" + "".join(f"{n:12}" for n in row) + f"{t.longest_ms:12.0f}")
    return {
        "seconds": seconds,
        "lost": sum(t.pictures - t.right - t.bypassed - t.wrong for t in tallies),
        "wrong": sum(t.wrong for t in tallies),
        "bypassed": {t.way: t.bypassed for t in tallies},
        "pictures_per_window": {
            t.way: round(t.bypassed / t.windows, 2) for t in tallies if t.windows
        },
        "longest_window_ms": {t.way: round(t.longest_ms) for t in tallies},
        "p99_ms_alone_and_beside": [
            round(t.times.quantile_ms(0.99), 2) for t in (alone, tallies[0])
        ],
        "memory_mb_over_time": memory,
        "before": before,
        "after": state(),
    }


def watch(threads: list[threading.Thread], seconds: float) -> list[int]:
    """Our own memory at ten points of the run."""
    memory = []
    step = max(seconds / 10, 0.5)
    while any(thread.is_alive() for thread in threads):
        time.sleep(step)
        memory.append(state()["memory_mb"])
    for thread in threads:
        thread.join()
    return memory


def worker_kills(number: int) -> dict[str, Any]:
    """Kill -9 the worker so often; each time wait for the next one and use it."""
    stage = opened()
    params = stage.Params()
    source = stage._source.shared(picture(320, 180))
    stage.process({"picture": source}, params).outputs()
    before, began = state(), time.monotonic()
    gaps_ms = []
    for killed in range(1, number + 1):
        for _ in range(3):
            stage.process({"picture": source}, params).outputs()
        died = time.monotonic()
        os.kill(stage.line.keeper.pid, signal.SIGKILL)
        wait(lambda killed=killed: stage.deaths >= killed and stage.line.keeper.pid is not None)
        gaps_ms.append((time.monotonic() - died) * 1e3)
    after = state()
    stage.close()
    stage.zygote.end()
    return {
        "kills": number,
        "seconds": round(time.monotonic() - began, 1),
        "restart_ms_p50_p99_max": [
            round(float(np.percentile(gaps_ms, share)), 1) for share in (50, 99, 100)
        ],
        "before": before,
        "after": after,
        "closed": state(),
    }


HOST = """
import sys
sys.path[:0] = {path!r}
from benchmarks.soak.plugins import opened
from streamgen.testing import picture
stage = opened()
source = stage._source.shared(picture(320, 180))
params = stage.Params()
stage.process({{"picture": source}}, params).outputs()
print("works", flush=True)
while True:
    stage.process({{"picture": source}}, params).outputs()
"""


def host_kills(number: int) -> dict[str, Any]:
    """Kill -9 a whole host in the middle of its work; count what is left of it."""
    before = state()
    left = 0
    for _ in range(number):
        script = HOST.format(path=sys.path)
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as host:
            assert host.stdout is not None
            host.stdout.readline()
            children = family(host.pid)
            host.kill()
        left += not wait(lambda pids=children: not any(alive(pid) for pid in pids))
    return {"host_kills": number, "with_something_left": left, "before": before, "after": state()}


def alive(pid: int) -> bool:
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return rest[0] != "Z" and "isolation.child" in Path(f"/proc/{pid}/cmdline").read_text()


def wait(come: Callable[[], bool], limit_s: float = 10.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if come():
            return True
        time.sleep(0.001)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=50, help="pictures between two faults")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--host-kills", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        if asked.kills:
            print(json.dumps(worker_kills(asked.kills)))
        if asked.host_kills:
            print(json.dumps(host_kills(asked.host_kills)))
        if asked.seconds:
            print(json.dumps(soak(asked.seconds, asked.every)))


if __name__ == "__main__":
    main()
