"""All targets in turn, then the API: `python -m tests.fuzz.campaign --seconds 600`.

Inputs that break a target are kept in `crashes/TARGET/`, where the tests find them; the corpus
stays in `.fuzz/`. One JSON line per target; the status is 1 when anything broke.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import api
from tests.fuzz.table import TARGETS
from tests.fuzz.target import LARGEST, MOST_BYTES, MOST_S

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / ".fuzz"
API_SHARE = 0.1
MOST_CRASHES = 5
"""Of one target: more are mostly the same."""
_RUNS = re.compile(r"number_of_executed_units: +(\d+)")
_BASE_MB = 1024
"""What the codecs and libraries take before the first input."""


def hunted(name: str, seconds: float) -> dict[str, object]:
    """Hunt in one target, on after each crash, for so long."""
    corpus, crashes = CORPUS / name, HERE / "crashes" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    known = set(crashes.glob("*"))
    began, runs, found = time.monotonic(), 0, 0
    while (left := seconds - (time.monotonic() - began)) >= 1 and found < MOST_CRASHES:
        crashes.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.hunt", name, str(corpus)),
                *(f"-max_total_time={left:.0f}", f"-max_len={LARGEST}", "-print_final_stats=1"),
                *(f"-timeout={round(4 * MOST_S)}", f"-artifact_prefix={crashes}/"),
                f"-rss_limit_mb={_BASE_MB + (MOST_BYTES >> 20)}",
            ],
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        runs += sum(int(number) for number in _RUNS.findall(done.stderr))
        if done.returncode == 0:
            break
        found += 1
        (CORPUS / f"{name}-{found}.log").write_text(done.stderr)
    new = sorted(path.name for path in set(crashes.glob("*")) - known)
    if crashes.is_dir() and not any(crashes.iterdir()):
        crashes.rmdir()
    took = round(time.monotonic() - began, 1)
    return {"target": name, "seconds": took, "executions": runs, "broke": found, "inputs": new}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all")
    parser.add_argument("targets", nargs="*", help="some of them, and 'api'; default: all")
    asked = parser.parse_args()
    names = asked.targets or [*TARGETS, "api"]
    hunts = [name for name in names if name != "api"]
    share = API_SHARE * asked.seconds if "api" in names and hunts else 0.0
    end, broke = time.monotonic() + asked.seconds - share, False
    load_s = 0.0  # of the former target; libFuzzer does not count it
    for at, name in enumerate(hunts):
        left = end - time.monotonic()
        seconds = max(1.0, left / (len(hunts) - at) - load_s)
        row = hunted(name, seconds)
        load_s = max(0.0, left - (end - time.monotonic()) - seconds)
        broke |= bool(row["broke"])
        print(json.dumps(row), flush=True)
    if "api" in names:
        row = api.asked(share or asked.seconds, CORPUS)
        broke |= bool(row["broke"])
        print(json.dumps(row), flush=True)
    sys.exit(broke)


if __name__ == "__main__":
    main()
