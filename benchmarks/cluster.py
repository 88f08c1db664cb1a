"""All that is asked of a cluster, row by row: what it must be, what it is, and what others do.

    python benchmarks/cluster.py [ROW...] [--clip bigbuckbunny.mp4] [--short] [--json]

Each row is a script beside this one that can be run alone; its docstring says what is measured.
`theirs` is what the row is compared with: a device for each stream and fractions of devices, rows
committed one by one, `streamgen run`, the stream without jobs beside it. Rows about the store are
looked at twice: in SQLite, and by a PostgreSQL server that their script starts from Debian's
packages. Rows take from ten seconds to three quarters of an hour, on two cores, the jobs' twice
that, some four hours in all; `--short` a tenth. Figures in milliseconds want a machine that does
nothing else. A row that could not be looked at here is not met; the exit status is 0 where all are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 4 * 3600
Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A script and what its figures must be. Several lines of it are several cases."""

    what: str
    script: str
    options: str = ""
    short: str = ""
    """Options in place of those, for a first look."""
    most: tuple[tuple[str, float], ...] = ()
    least: tuple[tuple[str, float], ...] = ()
    theirs: tuple[str, ...] = ()
    clip: bool = False
    """It needs a video of some seconds."""
    postgres: bool = False
    """It is looked at a second time, with a PostgreSQL server of its own."""

    def commands(self, short: bool, clip: str) -> list[list[str]]:
        options = (self.short if short else self.options).split()
        needs = ["--clip", clip] if self.clip else []
        command = [sys.executable, str(HERE / self.script), *options, *needs]
        return [command, [*command, "--postgres"]] if self.postgres else [command]

    def judged(self, found: Found) -> Found:
        """With `met`: by its bounds, and by what the script says of itself where it does. What
        nobody has looked at is not met."""
        if "skipped" in found:
            return found | {"met": False}
        theirs = {name: value(found, name) for name in self.theirs}
        judged = [bool(found["met"])] if "met" in found else []
        judged += [value(found, name) <= bound for name, bound in self.most]
        judged += [value(found, name) >= bound for name, bound in self.least]
        return found | {"theirs": theirs, "met": bool(judged) and all(judged)}


def value(found: Found, name: str) -> Any:
    """`one.fps` is the value of `fps` in `one`."""
    for part in name.split("."):
        found = found[part]
    return found


WHOLE = (("segments_missing", 0), ("segments_changed", 0), ("segments_double", 0))
ROWS = {
    "placement": Row(
        "devices used over the lower bound, 500 mixed streams, over-commits; "
        "the coordinator's processor time for a decision with 10,000 nodes",
        "placing.py",
        "--json",
        "--json --nodes 1000",
        most=(
            ("devices_over_bound", 1.25),
            ("over_commits", 0),
            ("decision_p99_ms", 1),
            ("decision_full_p99_ms", 1),
        ),
        theirs=("exclusive_over_bound", "fractions_over_bound"),
    ),
    "admission": Row(
        "a stream comes, until a viewer sees its first painted picture; the coordinator's messages "
        "for pictures",
        "admission.py",
        "--streams 100 --seconds 20",
        "--streams 10 --seconds 5",
        most=(("first_p99_ms", 1000), ("messages_for_pictures", 0)),
    ),
    "workers": Row(
        "kill -9 of a worker: gap of its streams (GOP: 1 s, 25 pictures); segments of players",
        "soak/cluster.py",
        "--kills 100",
        "--kills 10",
        most=(("gap_max_s", 1), ("pictures_missing_max", 25), *WHOLE),
    ),
    "frozen": Row(
        "a worker that stands still (SIGSTOP) beside four busy processes: gap of its streams",
        "soak/cluster.py",
        "--kills 20 --frozen --busy 4",
        "--kills 5 --frozen",
        most=(("gap_max_s", 2), ("moved_for_nothing", 0), *WHOLE),
    ),
    "edges": Row(
        "kill -9 of an edge: viewers of others; its publisher at another edge",
        "soak/cluster.py",
        "--edges 20",
        "--edges 2",
        most=(("motion_max_s", 3), ("hls_errors", 0), ("hls_double", 0)),
        least=(("whep_in_order", 1), ("same_session", 1), ("hls_parts", 1)),
    ),
    "away": Row(
        "coordinator killed, its store or its network cut, Ray's head lost: pictures lost",
        "soak/outages.py",
        "coordinator store unreachable ray --seconds 60",
        "coordinator store unreachable ray --seconds 10",
    ),
    "cuts": Row(
        "network cut between edge and workers, and around a worker's host: streams go on, "
        "no two workers publish",
        "soak/outages.py",
        "link host --rounds 5",
        "link host --rounds 1",
    ),
    "store": Row(
        "acknowledged rows a second over commits of one row",
        "store.py",
        "--json",
        "--json --rounds 1 --seconds 1",
        most=(("lost", 0),),
        least=(("ratio", 20),),
        theirs=("naive_rows_s",),
        postgres=True,
    ),
    "commits": Row(
        "writers, and a PostgreSQL server, killed in mid-commit: nothing lost, nothing doubled",
        "soak/killed_writers.py",
        "--rounds 20",
        "--rounds 1",
        postgres=True,
    ),
    "jobs": Row(
        "all that works on jobs killed at any moment: outputs that are right, of rounds",
        "soak/killed_jobs.py",
        "--rounds 50",
        "--rounds 3",
        postgres=True,
    ),
    "batch": Row(
        "a file in pieces by two workers of a cluster against streamgen run",
        "jobs.py",
        "--json --cluster --rounds 3",
        "--json --cluster --frames 200",
        least=(("ratio", 0.9),),
        theirs=("one.fps",),
        clip=True,
    ),
    "yielding": Row(
        "a live stream comes while jobs fill the machine",
        "yielding.py",
        "--json --seconds 60",
        "--json --seconds 20",
        most=(("yield_ms", 500),),
        least=(("beside.painted_percent", 99),),
        theirs=("alone.painted_percent",),
        clip=True,
    ),
}


def measured(name: str, short: bool, clip: str) -> list[Found]:
    """The lines of one row's script, judged."""
    row = ROWS[name]
    if row.clip and not clip:
        return [row.judged({"row": name, "skipped": "needs --clip"})]
    return [one for command in row.commands(short, clip) for one in _lines(name, command)]


def _lines(name: str, command: list[str]) -> list[Found]:
    began = time.monotonic()
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S)
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    if told.returncode != 0 or not lines:
        return [{"row": name, "failed": told.returncode, "met": False}]
    about = {"row": name, "took_s": round(time.monotonic() - began)}
    return [about | ROWS[name].judged(line) for line in lines]


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else f"{os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; without any: all")
    parser.add_argument("--clip", default="", help="a video, for the rows about files")
    parser.add_argument("--short", action="store_true", help="a first look, in a tenth of the time")
    parser.add_argument("--json", action="store_true", help="one JSON line for each case")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {min(unknown)} (there are: {', '.join(ROWS)})")
    if not given.json:
        print(processor())
    met = True
    for name in given.rows or ROWS:
        if not given.json:
            print(f"{name}: {ROWS[name].what}", flush=True)
        for found in measured(name, given.short, given.clip):
            met &= found["met"]
            print(json.dumps(found) if given.json else _told(found), flush=True)
    sys.exit(not met)


def _told(found: Found) -> str:
    return "    " + "  ".join(f"{name} {what}" for name, what in found.items() if name != "row")


if __name__ == "__main__":
    main()
