"""What cutting costs: `streamgen run --jobs N`, or N workers of a cluster, beside `streamgen run`.

A 720p clip, looped, becomes a ladder with a style network in it, made by one process and by N that
share the same processors; in turn, and `--rounds` times. Told are pictures a second over the whole
command, start and joining included, and what buffer the joined stream asks of a player: the encoder
of each piece begins with a full one of its own.

With `--cluster` the many are the workers of `streamgen cluster up --workers N`, which have no
streams; the time is from before the job is submitted until its output is there.

    python benchmarks/jobs.py --clip bigbuckbunny.mp4 [--frames 660] [--jobs 2] [--cluster] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
from clips import looped
from offline import PIPELINE, command

SETTLES_S = 15.0
"""For a cluster to be up, and at rest."""
PEAK_BPS = 2_500_000 * 1.1
"""What the encoder of the top rung may send on average over its buffer of two seconds."""


def made(folder: Path, clip: Path, model: str, jobs: int) -> dict[str, Any]:
    """One run; its pictures a second, and what its top rung asks of a player."""
    pipeline = written(folder, model)
    name, report = folder / f"by-{jobs}", folder / f"by-{jobs}.json"
    began = time.monotonic()
    line = [*command(pipeline, clip, f"{name}/", report), "--jobs", str(jobs)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    return told(json.loads(report.read_text()), whole_s, name)


def written(folder: Path, model: str) -> Path:
    pipeline = folder / "bench.yaml"
    stages = f"[{{style: {{model: {model}}}}}]" if model else "[]"
    pipeline.write_text(PIPELINE.format(stages=stages))
    return pipeline


def told(row: dict[str, Any], whole_s: float, name: Path) -> dict[str, Any]:
    return {
        "fps": row["frames_out"] / whole_s,
        "frames": row["frames_out"],
        "cpu_ms": row["cpu_ms_per_frame"],
        "rss_mb": row["peak_rss_mb"],
        "buffer_s": buffer_s(name / "720p" / "index.m3u8"),
    }


def clustered(folder: Path, clip: Path, model: str, jobs: int) -> dict[str, Any]:
    """As `made`, by the workers of a cluster that was up before."""
    pipeline, name = written(folder, model), folder / "by-cluster"
    environment = {**os.environ, "TMPDIR": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    program = [sys.executable, "-m", "streamgen.cli"]
    ask = partial(subprocess.run, check=True, env=environment, capture_output=True, text=True)
    up = [*program, "cluster", "up", "--workers", str(jobs)]
    cluster = subprocess.Popen(up, env=environment, stderr=subprocess.DEVNULL)
    try:
        time.sleep(SETTLES_S)
        began = time.monotonic()
        line = [*program, "jobs", "submit", str(pipeline), str(clip), "-o", f"{name}/"]
        job = ask([*line, "--overwrite"]).stdout.strip()
        ask([*program, "jobs", "wait", job])
        whole_s = time.monotonic() - began
        row = json.loads(ask([*program, "jobs", "show", job]).stdout)["report"]
    finally:
        cluster.send_signal(signal.SIGINT)
        cluster.wait(60)
    shown = told(row, whole_s, name)
    shutil.rmtree(name)
    return shown


def buffer_s(rung: Path) -> float:
    """Seconds of the peak rate that a player must hold so that no picture comes late."""
    held = most = 0.0
    last_s: float | None = None
    with av.open(str(rung)) as container:
        for packet in container.demux(video=0):
            if packet.dts is None or not packet.size:
                continue
            at_s = float(packet.dts * packet.time_base)
            held = max(0.0, held - PEAK_BPS * (at_s - (at_s if last_s is None else last_s)))
            held += 8 * packet.size
            most, last_s = max(most, held), at_s
    return most / PEAK_BPS


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--model", default="starry", help="empty: no network")
    parser.add_argument("--frames", type=int, default=660)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cluster", action="store_true", help="by workers of a cluster")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="streamgen-bench-") as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        looped(Path(options.clip), clip, options.frames)
        for _ in range(options.rounds):
            one = made(folder, clip, options.model, 1)
            make = clustered if options.cluster else made
            many = make(folder, clip, options.model, options.jobs)
            rounds.append({"one": one, "many": many})
            print(json.dumps(rounds[-1]), file=sys.stderr)
    rows = {
        kind: {key: round(median(r[kind][key] for r in rounds), 2) for key in rounds[0][kind]}
        for kind in ("one", "many")
    }
    ratio = round(median(r["many"]["fps"] / r["one"]["fps"] for r in rounds), 3)
    answer = {"jobs": options.jobs, **rows, "ratio": ratio}
    print(json.dumps(answer) if options.json else _table(answer))


def _table(answer: dict[str, Any]) -> str:
    lines = ["              fps   CPU ms/picture   MB    buffer s"]
    for kind, processes in (("one", 1), ("many", answer["jobs"])):
        row = answer[kind]
        lines.append(
            f"{processes:2d} process{'es' if processes > 1 else '  '} {row['fps']:6.1f} "
            f"{row['cpu_ms']:12.1f} {row['rss_mb']:10.0f} {row['buffer_s']:9.2f}"
        )
    return "\n".join([*lines, f"ratio {answer['ratio']:.3f}"])


if __name__ == "__main__":
    main()
