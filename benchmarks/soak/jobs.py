"""Jobs in pieces, killed at any moment, again and again, until each output is there.

    python benchmarks/soak/jobs.py --rounds 50

Each round makes one output with `streamgen run --jobs 2 --resume`. Up to `--kills` times a process
of it, or the whole run, is killed (SIGKILL) at a random moment of its life; then it is run again.
The output must then have every picture at the time of an uncut run, the same sound, and nothing may
be left beside it, in memory or on disk. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from streamgen.testing import synthetic_clip  # noqa: E402
from tests.control.chunks.work import FAST, child_processes, left_over, packets  # noqa: E402

FRAMES = 1000
LIMIT_S = 300.0


class Killing:
    """Rounds of one kind of output."""

    def __init__(self, folder: Path, seed: int, kills: int) -> None:
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self.kills = kills
        self.counts: Counter[str] = Counter()
        self.pipeline = folder / "fast.yaml"
        self.pipeline.write_text(yaml.safe_dump(FAST))
        self.clip = synthetic_clip(
            folder / "in.mp4", width=96, height=64, frames=FRAMES, b_frames=2
        )
        whole, pieces = folder / "whole.mp4", folder / "pieces.mp4"
        subprocess.run(self._line(whole), check=True, stdout=subprocess.DEVNULL)
        self.uncut = [packets(whole, kind) for kind in ("video", "audio")]
        began = time.monotonic()
        line = self._line(pieces, "--jobs", "2")
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        self.length_s = time.monotonic() - began

    def _line(self, output: Path, *more: str) -> list[str]:
        program = [sys.executable, "-m", "streamgen.cli", "run", str(self.pipeline)]
        return [*program, str(self.clip), "-o", str(output), *more]

    def round(self, number: int) -> None:
        """One output, whatever is killed on the way."""
        output = self.folder / f"round-{number}" / "out.mp4"
        for attempt in range(self.kills + 1):
            had = len(list(output.parent.glob(".*/chunk-*.json")))
            process = subprocess.Popen(
                self._line(output, "--jobs", "2", "--resume"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            children = self._disturb(process) if attempt < self.kills else []
            said = process.communicate(timeout=LIMIT_S)[0]
            self.counts["pieces taken over"] += had
            self._gone(children)
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                raise SystemExit(f"round {number}: {process.returncode}, {said}")
        made = [packets(output, kind) for kind in ("video", "audio")]
        if made != self.uncut or left_over(output.parent):
            raise SystemExit(f"round {number}: not the uncut output, or {left_over(output.parent)}")
        output.unlink()
        self.counts["outputs right"] += 1

    def _disturb(self, process: subprocess.Popen[str]) -> list[int]:
        """Kill something after a while; returns the processes that must end."""
        try:
            process.wait(self.random.uniform(0.2, 1.2) * self.length_s)
        except subprocess.TimeoutExpired:
            children = child_processes(process.pid)
            if children and self.random.random() < 0.5:
                os.kill(children[int(self.random.integers(len(children)))], signal.SIGKILL)
                self.counts["kills of a process"] += 1
                return children
            process.kill()
            self.counts["kills of a run"] += 1
            return children
        self.counts["too late to kill"] += 1
        return []

    @staticmethod
    def _gone(pids: list[int]) -> None:
        until = time.monotonic() + LIMIT_S
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            if time.monotonic() > until:
                raise SystemExit(f"still there: {pids}")
            time.sleep(0.02)


def main() -> None:
    """Run all rounds; fails at the first output that is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3, help="at most, in each round")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamgen-soak-") as name:
        killing = Killing(Path(name), options.seed, options.kills)
        began = time.monotonic()
        for number in range(options.rounds):
            killing.round(number)
        answer: dict[str, Any] = {"rounds": options.rounds, **killing.counts}
        answer["minutes"] = round((time.monotonic() - began) / 60, 1)
    for key, value in answer.items():
        print(f"{key:>20} {value}")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
