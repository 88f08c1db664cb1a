"""Jobs of a store, and all that works on them killed at any moment, until each output is there.

    python benchmarks/soak/killed_jobs.py --rounds 50 [--postgres]

Each round submits a file that becomes an MP4 file and an HLS ladder, to two workers that live on
from round to round. Meanwhile, at random moments, one of these is killed (SIGKILL): who submits, a
worker (which claims pieces, and writes to the store), a process that makes pieces, the process that
joins; or a worker is stopped for longer than its claims last, and goes on then as if nothing had
been; or the PostgreSQL server ends as by a power cut. What was killed is started again, and all is
submitted again. In the end each output must have every picture and all sound at the times of an
uncut run, be there once (one job that is done, and the same file from when it was first seen), and
nothing may be left beside it. Prints one JSON line: `met` where all rounds were right, and as many
things happened to those who work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from streamgen.control.chunks.child import MODULE as MAKES  # noqa: E402
from streamgen.control.jobs.joining import MODULE as JOINS  # noqa: E402
from streamgen.control.jobs.working import Workshop  # noqa: E402
from streamgen.control.store import Job, Store  # noqa: E402
from streamgen.testing import synthetic_clip  # noqa: E402
from tests.control.chunks.work import FAST, left_over, packets  # noqa: E402
from tests.control.store.private_postgres import PrivatePostgres, missing  # noqa: E402

FRAMES = 400
TTL_MS = 3_000
LIMIT_S = 600.0
WORKERS = ("one", "two")
STREAMGEN = [sys.executable, "-m", "streamgen.cli"]
RUNGS = [{"height": 64, "bitrate": "300k"}, {"height": 32, "bitrate": "100k"}]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Killing:
    """A store, workers, and what is submitted."""

    def __init__(
        self, folder: Path, seed: int, postgres: PrivatePostgres | None, more: list[str]
    ) -> None:
        """`more`: options of workers."""
        self.folder, self.postgres, self.more = folder, postgres, more
        self.random = np.random.default_rng(seed)
        self.round_s = 10.0
        self.lurks = False
        """For somebody who joins."""
        self.counts: Counter[str] = Counter()
        self.store = postgres.new_database() if postgres else f"sqlite:///{folder / 'state.db'}"
        self.clip = synthetic_clip(
            folder / "in.mp4", width=96, height=64, frames=FRAMES, b_frames=2
        )
        self.pipelines = [folder / "file.yaml", folder / "ladder.yaml"]
        self.pipelines[0].write_text(yaml.safe_dump(FAST))
        self.pipelines[1].write_text(yaml.safe_dump(FAST | {"name": "ladder", "ladder": RUNGS}))
        self.uncut = folder / "uncut"
        for pipeline, output in self.outputs(self.uncut):
            line = [*STREAMGEN, "run", str(pipeline), str(self.clip), "-o", output]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.submits: list[subprocess.Popen[bytes]] = []
        self.log = (folder / "log").open("ab")

    def outputs(self, folder: Path) -> list[tuple[Path, str]]:
        return [(self.pipelines[0], f"{folder}/a.mp4"), (self.pipelines[1], f"{folder}/b/")]

    def work(self, name: str) -> None:
        line = [sys.executable, __file__, "--work", name, "--store", self.store, *self.more]
        self.workers[name] = subprocess.Popen(line, stdout=self.log, stderr=self.log)

    def submit(self, folder: Path) -> None:
        """In the background, everything once more."""
        self.submits = [one for one in self.submits if one.poll() is None]
        for pipeline, output in self.outputs(folder):
            line = [*STREAMGEN, "jobs", "submit", "--store", self.store]
            line += [str(pipeline), str(self.clip), "-o", output]
            self.submits.append(subprocess.Popen(line, stdout=self.log, stderr=self.log))

    def round(self, number: int, kills: int) -> None:
        folder = self.folder / f"round-{number}"
        seen: dict[str, tuple[int, int]] = {}
        begins = time.monotonic()
        self.submit(folder)
        left = int(self.random.integers(1, kills + 1))
        next_s = self._soon()
        while True:
            self._see(folder, seen)
            states = asyncio.run(self._states(folder))
            if sorted(states) == ["done", "done"] and not self._submitting():
                break
            assert time.monotonic() - begins < LIMIT_S, f"round {number}: {states}"
            if self.lurks:
                self._spring(folder)
            elif left and time.monotonic() > next_s and self._disturb(folder):
                left -= 1
                next_s = self._soon()
            if ("failed" in states or len(states) < 2) and not self._submitting():
                self.counts["jobs that failed"] += states.count("failed")
                self.submit(folder)
            time.sleep(0.005 if self.lurks else 0.05)
        self.lurks = False
        self._check(folder, seen)
        self.counts["outputs right"] += 2
        self.round_s += (time.monotonic() - begins - self.round_s) / 4

    def _soon(self) -> float:
        """So that what happens is spread over all of a round."""
        return time.monotonic() + float(self.random.uniform(0.02, 0.5)) * self.round_s

    def _submitting(self) -> bool:
        return any(one.poll() is None for one in self.submits)

    @staticmethod
    def _see(folder: Path, seen: dict[str, tuple[int, int]]) -> None:
        for name in ("a.mp4", "b"):
            try:
                stat = (folder / name).stat()
            except OSError:
                continue
            now = (stat.st_ino, stat.st_mtime_ns)
            assert seen.setdefault(name, now) == now, f"{folder / name} was made again"

    async def _states(self, folder: Path) -> list[str]:
        """Of the jobs of this round, but for those that were called off: each output's newest."""
        async with Store(self.store, wall_ms) as store:
            jobs = [job for job in await store.all(Job) if str(folder) in json.dumps(job.facts)]
        newest = {job.facts["order"]["output"]: job for job in sorted(jobs, key=lambda j: j.name)}
        for output in newest:
            made = [job for job in jobs if job.facts["order"]["output"] == output]
            assert sum(job.state == "done" for job in made) <= 1, f"{output}: made twice"
        return [job.state for job in newest.values()]

    # What happens to them.

    def _disturb(self, folder: Path) -> bool:
        """Kill something; false where there was nothing of the kind."""
        acts: list[Callable[[], str]] = [self._kill_worker, self._stop_worker, self._kill_submit]
        acts += [partial(self._submit_again, folder)]
        acts += [lambda: self._kill_child(MAKES), self._lurk, self._lurk]
        if self.postgres is not None:
            acts.append(self._cut_power)
        done = acts[int(self.random.integers(len(acts)))]()
        if done:
            self.counts[done] += 1
        return bool(done)

    def _kill_worker(self) -> str:
        name = WORKERS[int(self.random.integers(len(WORKERS)))]
        self.workers[name].kill()
        self.workers[name].wait()
        self.work(name)
        return "workers killed"

    def _stop_worker(self) -> str:
        """With what it has started: as a machine that hangs and comes back."""
        name = WORKERS[int(self.random.integers(len(WORKERS)))]
        pids = [self.workers[name].pid, *self._children(self.workers[name].pid)]
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        time.sleep(TTL_MS / 1000 * float(self.random.uniform(0.5, 1.5)))
        for pid in pids:
            _signal(pid, signal.SIGCONT)
        return "workers stopped for a while"

    def _kill_submit(self) -> str:
        alive = [one for one in self.submits if one.poll() is None]
        for one in alive:
            one.kill()
            one.wait()
        return "submits killed" if alive else ""

    def _submit_again(self, folder: Path) -> str:
        self.submit(folder)
        return "submitted again"

    def _lurk(self) -> str:
        self.lurks = True
        return "joins lain in wait for"

    def _spring(self, folder: Path) -> None:
        """Once an output is half written, kill who does it, or the worker who has it done."""
        if any(folder.glob(".*.streamgen-partial-*")):
            time.sleep(float(self.random.uniform(0.0, 0.1)))
            killed = self._kill_child(JOINS)
            if self.random.random() < 0.3:
                killed = self._kill_worker()
            if killed:
                self.counts[f"{killed} over a join"] += 1
                self.lurks = False

    def _kill_child(self, module: str) -> str:
        pids = [pid for one in self.workers.values() for pid in self._children(one.pid, module)]
        if not pids:
            return ""
        _signal(pids[int(self.random.integers(len(pids)))], signal.SIGKILL)
        return "makers killed" if module == MAKES else "joiners killed"

    def _cut_power(self) -> str:
        assert self.postgres is not None
        self.postgres.stop()
        time.sleep(float(self.random.uniform(0.0, 3.0)))
        self.postgres.start()
        return "power cuts of the store"

    @staticmethod
    def _children(parent: int, module: str = "") -> list[int]:
        lists = Path(f"/proc/{parent}/task").glob("*/children")
        found = []
        for pid in " ".join(one.read_text() for one in lists).split():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if module.encode() in line:
                found.append(int(pid))
        return found

    # What became of it.

    def _check(self, folder: Path, seen: dict[str, tuple[int, int]]) -> None:
        ends = time.monotonic() + 30  # who finished may just be taking the pieces away
        while left_over(folder) and time.monotonic() < ends:
            time.sleep(0.05)
        self._see(folder, seen)
        assert left_over(folder) == [], left_over(folder)
        for path, kind in (
            ("a.mp4", "video"),
            ("a.mp4", "audio"),
            ("b/64p/index.m3u8", "video"),
            ("b/32p/index.m3u8", "video"),
            ("b/audio/0/index.m3u8", "audio"),
        ):
            made, uncut = packets(folder / path, kind), packets(self.uncut / path, kind)
            assert made == uncut and made, f"{folder / path} is not the uncut output: {len(made)}"
        for path in ("b/64p/index.m3u8", "b/32p/index.m3u8"):
            assert (folder / path).read_text() == (self.uncut / path).read_text(), path


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


async def work(store_url: str, owner: str, yields: bool) -> None:
    """As `streamgen jobs work`, with claims that run out soon."""
    async with Store(store_url, wall_ms) as store:
        name = f"{owner}-{os.getpid()}"
        workshop = Workshop(store, name, processes=1, ttl_ms=TTL_MS, yields=yields)
        workshop.follow(lambda line: print(f"{owner}: {line}", flush=True))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, workshop.stop)
        await workshop.run()


def run(options: argparse.Namespace, folder: Path, postgres: PrivatePostgres | None) -> Any:
    more = ["--no-yield"] if options.no_yield else []
    killing = Killing(folder, options.seed, postgres, more)
    began = time.monotonic()
    try:
        for name in WORKERS:
            killing.work(name)
        for number in range(options.rounds):
            killing.round(number, options.kills)
            print(f"{number + 1} of {options.rounds}: {dict(killing.counts)}", file=sys.stderr)
            if time.monotonic() - began > options.minutes * 60:
                break
    except BaseException:
        print((folder / "log").read_text()[-4000:], file=sys.stderr)
        raise
    finally:
        for one in (*killing.workers.values(), *killing.submits):
            one.terminate()
        for one in (*killing.workers.values(), *killing.submits):
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
    minutes = round((time.monotonic() - began) / 60, 1)
    right = killing.counts["outputs right"]
    met = right == 2 * options.rounds and killing.counts.total() - right >= options.rounds
    store = killing.store.partition(":")[0]
    return {"store": store, "rounds": number + 1, **killing.counts, "minutes": minutes, "met": met}


def main() -> None:
    """Run all rounds; fails at the first output that is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--kills", type=int, default=4, help="at most, in each round")
    parser.add_argument("--minutes", type=float, default=1e9, help="no round begins after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL server has the store")
    parser.add_argument("--no-yield", action="store_true", help="take a full part of the machine")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        asyncio.run(work(options.store, options.work, not options.no_yield))
        return
    if options.postgres and missing():
        print(json.dumps({"skipped": missing()}))
        return
    with ExitStack() as leaving:
        postgres = None
        if options.postgres:
            postgres = leaving.enter_context(PrivatePostgres())
        folder = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="streamgen-soak-")))
        print(json.dumps(run(options, folder, postgres)))


if __name__ == "__main__":
    main()
