"""What a graph costs: the executor's own time, branches over their critical path, a list before
and after a change.

    python benchmarks/graph.py [--json] [--clip bigbuckbunny.mp4 --before OTHER_CHECKOUT]

`--before` names a checkout of an earlier state with an environment of its own (`.venv`); the same
film then runs through both in turn, and the ratio of frame rates is printed. Latency budgets and
isolation have their own benchmarks, `governor.py` and `isolation.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from clips import looped
from offline import PIPELINE

from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.plan import plan
from streamgen.graph.seat import Seat
from streamgen.graph.spec import NodeSpec
from streamgen.media.frame import Fence, Frame
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.protocols import Value
from streamgen.telemetry import Telemetry
from streamgen.testing import LateFence, picture

ROUNDS = 4000
WARM_UP = 200
SIX = {
    "a": "source",
    "b": "a",
    "c": "a",
    "d": "b",
    "e": "c",
    "out": {PICTURE: "d", "other": "e"},
}
TWO = {"b": "source", "c": "source", "out": {PICTURE: "b", "other": "c"}}


class Work:
    """A stage of a known length: an empty one, one that keeps its thread, or one that does not."""

    def __init__(self, busy_s: float = 0, late_s: float = 0) -> None:
        self._busy_s, self._late_s = busy_s, late_s

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        assert isinstance(frame, Frame)
        if self._busy_s:
            time.sleep(self._busy_s)
        if not self._late_s:
            return {PICTURE: frame}
        ready: Fence = LateFence(self._late_s)
        return {PICTURE: frame.retimed(ready=ready)}

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Join(Work):
    """The same, with two inputs."""

    inputs = {PICTURE: Port(), "other": Port()}  # noqa: RUF012


def latencies_ns(written: Mapping[str, Any], stages: Mapping[str, Work], rounds: int) -> list[int]:
    """Time of each picture from `put` to `get`, one at a time."""
    specs = {
        name: NodeSpec.model_validate({"stage": name, "from": given})
        for name, given in written.items()
    }
    planned = plan(specs, "out", {name: Contract.of(stages[name]) for name in specs})
    telemetry = Telemetry()
    graph = Graph(planned, lambda node, _: stages[node.name], [None] * len(specs), telemetry)
    one = picture(64, 64)
    graph.prepare(64, 64, one.color)
    found = []
    with Lane() as lane:
        seat = Seat(lane, graph, telemetry, depth=2, parallel=1)
        for number in range(rounds):
            frame = one.retimed(pts=number)
            began_ns = time.perf_counter_ns()
            seat.put(frame)
            seat.get()
            found.append(time.perf_counter_ns() - began_ns)
        seat.close()
        seat.get()
    graph.close()
    return found[min(WARM_UP, rounds // 4) :]


def handing_over_ns(rounds: int) -> list[int]:
    """What two threads need to hand a thing over and back: part of every picture's way, and not
    of the executor's work."""
    there, back = threading.Semaphore(0), threading.Semaphore(0)

    def other() -> None:
        for _ in range(rounds):
            there.acquire()
            back.release()

    thread = threading.Thread(target=other)
    thread.start()
    found = []
    for _ in range(rounds):
        began_ns = time.perf_counter_ns()
        there.release()
        back.acquire()
        found.append(time.perf_counter_ns() - began_ns)
    thread.join()
    return found


def quantiles_us(times_ns: Sequence[int]) -> dict[str, float]:
    ordered = sorted(times_ns)
    return {f"p{q}": ordered[len(ordered) * q // 100] / 1e3 for q in (50, 99)}


def overhead() -> dict[str, Any]:
    """Six empty nodes; must be at most 200 us (p50) and 1 ms (p99)."""
    stages = {name: Join() if name == "out" else Work() for name in SIX}
    whole = quantiles_us(latencies_ns(SIX, stages, ROUNDS))
    threads = quantiles_us(handing_over_ns(ROUNDS))
    return {"row": "six empty nodes, us", **whole, "of_that_two_hand_overs_p50": threads["p50"]}


def branches(kind: str) -> dict[str, Any]:
    """Two branches of 20 and 15 ms; must take at most 1.10 of the longer."""
    lengths = {"b": 0.020, "c": 0.015}
    make = {"threads": "busy_s", "networks": "late_s"}[kind]
    stages: dict[str, Work] = {name: Work(**{make: s}) for name, s in lengths.items()}
    both = median(latencies_ns(TWO, {**stages, "out": Join()}, 80))
    one = {"b": "source", "out": {PICTURE: "b", "other": "source"}}
    alone = median(latencies_ns(one, {"b": stages["b"], "out": Join()}, 80))
    return {"row": f"two branches ({kind}) over the longer one", "ratio": both / alone}


def before_and_after(clip: Path, before: Path, frames: int, rounds: int) -> dict[str, Any]:
    """The list pipeline of the offline benchmark; ours over the other checkout's, at least 0.99."""
    here = Path(__file__).resolve().parents[1]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        looped(clip, film, frames)
        for number in range(rounds):
            order = [here, before] if number % 2 else [before, here]
            fps = {tree: _fps(tree, film, Path(folder)) for tree in order}
            ratios.append(fps[here] / fps[before])
    return {"row": "list pipeline, after over before", "ratio": median(ratios), "rounds": ratios}


def _fps(tree: Path, film: Path, folder: Path) -> float:
    pipeline, report = folder / "list.yaml", folder / "list.json"
    pipeline.write_text(PIPELINE.format(stages="[{style: {model: starry}}]"))
    line = [str(tree / ".venv/bin/streamgen"), "run", str(pipeline), str(film)]
    line += ["-o", f"{folder}/out/", "--overwrite", "--report", str(report)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=tree)
    row = json.loads(report.read_text())
    return float((row[0] if isinstance(row, list) else row)["fps"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--before", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--frames", type=int, default=264)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    rows = [overhead(), branches("threads"), branches("networks")]
    if args.clip and args.before:
        rows.append(before_and_after(args.clip, args.before, args.frames, args.rounds))
    for row in rows:
        if args.json:
            print(json.dumps(row))
        else:
            name = row.pop("row")
            print(f"{name:45}", "  ".join(f"{k} {_short(v)}" for k, v in row.items()), flush=True)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{one:.2f}" for one in value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
