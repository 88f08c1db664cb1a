"""Measures which runtime, precision, threads and requests suit a network on this machine.

Offline, what counts is processor time for each picture: decoder, scaler and encoders want the same
processors, and all of them are busy. Live, what counts is the time until one picture is ready.
Processor time hardly depends on what else runs, and of wall times the lower quartile is taken, so
measuring beside a running stream is fair.

`python -m streamgen.runtimes.tuning` is how a stream measures: in another process, at low
priority, so that neither its compilers nor its crashes touch a picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamgen.config import cache_dir
from streamgen.config import cores as usable_cores
from streamgen.errors import ConfigError, ModelError, StreamGenError
from streamgen.media.frame import Layout, Plane
from streamgen.media.pool import FramePool
from streamgen.plugins import find, runtime_versions
from streamgen.protocols import Mode, ModelSpec, Runtime, Ticket
from streamgen.runtimes.cache import Question, TunedChoices, TuneResult, ask
from streamgen.runtimes.engine import OUTPUTS, PLANES, EngineSettings

BUDGET_S = 8.0
"""Bound on one measurement; candidates that are most likely to win come first."""
MOST_REQUESTS = 8
"""More pictures at once only add memory and delay."""
SAMPLE_S = 0.6
FEWEST = 3
NICENESS = 10
CLEAR_WIN = 0.93
"""Measurements on a busy machine differ by a few percent; that is no reason to leave the usual."""
PRECISIONS = ("int8", "fp32")
"""In the order in which they are likely to win."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a network that may be the best."""

    runtime: str
    settings: EngineSettings

    @property
    def precision(self) -> str:
        return self.settings.precision


def candidates(
    runtimes: tuple[str, ...], precisions: tuple[str, ...], mode: Mode, cores: int
) -> list[Candidate]:
    """Every runtime and precision the usual way; `variations` follow for the best of them."""
    usual = sharing(mode, cores)[0]
    return [
        Candidate(runtime, replace(usual, precision=precision))
        for runtime in runtimes
        for precision in precisions
    ]


def sharing(mode: Mode, cores: int) -> list[EngineSettings]:
    """Ways to share the processors among pictures, the usual one first.

    Offline uses them all, from one picture on each to one picture on all. Live works on one
    picture at a time, on all processors or leaving some to the encoders.
    """
    if mode is Mode.LIVE:
        numbers = _halved(cores)
        return [EngineSettings(threads=n, requests=1) for n in numbers]
    most = min(cores, MOST_REQUESTS)
    return [EngineSettings(threads=cores, requests=n) for n in _halved(most)]


def _halved(number: int) -> list[int]:
    numbers = []
    while number >= 1:
        numbers.append(number)
        number //= 2
    return numbers


def tune(
    model: ModelSpec,
    width: int,
    height: int,
    mode: Mode,
    *,
    cores: int | None = None,
    cache: Path | None = None,
    budget_s: float = BUDGET_S,
    again: bool = False,
) -> list[TuneResult]:
    """Measure, keep the answer in the cache, and return every row, the chosen one marked.

    An answer that is there already is returned at once, unless `again`. Takes `budget_s` and a
    bit; never on a frame path. Raises `ModelError` when no runtime takes the network.
    """
    cores = cores or usable_cores()
    choices = TunedChoices(cache or cache_dir())
    question = ask(model, width, height, mode, cores, runtime_versions())
    with choices.measuring(question):
        known = None if again else choices.read(question)
        if known is not None:
            return known
        rows = measure(model, question, budget_s)
        choices.write(question, rows)
    return rows


def measure(model: ModelSpec, question: Question, budget_s: float) -> list[TuneResult]:
    """Try runtimes and precisions, then ways to share the processors, until time is up."""
    deadline_s = time.monotonic() + budget_s
    precisions = tuple(p for p in PRECISIONS if p in model.files)
    rows: list[TuneResult] = []
    failures: list[str] = []
    first = candidates(tuple(question.versions), precisions, question.mode, question.cores)

    def run(candidate: Candidate) -> None:
        if rows and time.monotonic() > deadline_s:
            return
        try:
            rows.append(_sample(model, candidate, question))
        except ModelError as error:
            failures.append(str(error))

    for candidate in first:
        run(candidate)
    if not rows:
        raise ModelError(f"no runtime takes {model.name}: {failures[0] if failures else 'no file'}")
    best = _best(rows, question.mode)
    for settings in sharing(question.mode, question.cores)[1:]:
        run(Candidate(best.runtime, replace(settings, precision=best.precision)))
    best = _best(rows, question.mode)
    return [replace(row, chosen=row is best) for row in rows]


def _best(rows: list[TuneResult], mode: Mode) -> TuneResult:
    """The quickest; but the likelier (earlier) one unless the win is clear."""

    def cost(row: TuneResult) -> float:
        return row.ms_per_frame if mode is Mode.LIVE else row.cpu_ms_per_frame

    best = rows[0]
    for row in rows[1:]:
        if cost(row) < cost(best) * CLEAR_WIN:
            best = row
    return best


def open_engine(model: bytes | Path, candidate: Candidate, width: int, height: int) -> Runtime:
    """Compile one candidate. Raises `ModelError`."""
    try:
        runtime = find("runtime", candidate.runtime)
    except ConfigError as error:  # installed, but not for this machine
        raise ModelError(str(error)) from error
    engine: Runtime = runtime(model, width=width, height=height, settings=candidate.settings)
    return engine


def _sample(model: ModelSpec, candidate: Candidate, question: Question) -> TuneResult:
    """Run pictures through one candidate as a stream would, `requests` at a time."""
    width, height = question.width, question.height
    path = model.files[candidate.settings.precision]
    engine = open_engine(path, candidate, width, height)
    try:
        run = _Run(engine, model, width, height)
        run.pictures(candidate.settings.requests, most=candidate.settings.requests)
        times_s, wall_s, cpu_s = run.pictures(candidate.settings.requests)
    finally:
        engine.close()
    number = len(times_s)
    return TuneResult(
        runtime=candidate.runtime,
        precision=candidate.settings.precision,
        threads=candidate.settings.threads,
        requests=candidate.settings.requests,
        ms_per_frame=sorted(times_s)[number // 4] * 1e3,
        fps=number / wall_s,
        cpu_ms_per_frame=cpu_s / number * 1e3,
    )


class _Run:
    """One engine with a textured picture in and pooled pictures out."""

    def __init__(self, engine: Runtime, model: ModelSpec, width: int, height: int) -> None:
        random = np.random.default_rng(0)
        shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        planes = (Plane.of(random.integers(16, 236, s, dtype=np.uint8)) for s in shapes)
        self._inputs: Mapping[str, Plane | float] = {
            **dict(zip(PLANES, planes, strict=True)),
            # A network that keeps the size takes a strength; runtimes overlook what is no input.
            **dict.fromkeys(("strength", *model.live), 1.0),
        }
        self._engine = engine
        self._pool = FramePool()
        self._size = (width * model.scale, height * model.scale)

    def pictures(self, at_once: int, most: int = 1000) -> tuple[list[float], float, float]:
        """Seconds of each picture, of all on the clock, and of processor time."""
        times_s: list[float] = []
        flying: deque[tuple[float, Ticket]] = deque()
        cpu_s, began_s = time.process_time(), time.monotonic()
        while len(times_s) < most:
            short = len(times_s) < FEWEST or time.monotonic() - began_s < SAMPLE_S
            if short and len(times_s) + len(flying) < most and len(flying) < at_once:
                out = self._pool.take(Layout.I420, *self._size, multiple=2)
                named = dict(zip(OUTPUTS, out.planes, strict=True))
                flying.append((time.monotonic(), self._engine.submit(self._inputs, named)))
            elif flying:
                submitted_s, ticket = flying.popleft()
                ticket.fence.wait()
                times_s.append(time.monotonic() - submitted_s)
            else:
                break
        return times_s, time.monotonic() - began_s, time.process_time() - cpu_s


def command(
    model: ModelSpec, width: int, height: int, mode: Mode, cores: int, cache: Path
) -> list[str]:
    """The command line that runs `tune` in another process."""
    return [
        *(sys.executable, "-m", "streamgen.runtimes.tuning", model.name),
        *(f"--file={precision}={path}" for precision, path in model.files.items()),
        *(f"--live={name}" for name in model.live),
        *(f"--scale={model.scale}", f"--size={width}x{height}", f"--mode={mode.value}"),
        *(f"--cores={cores}", f"--cache={cache}"),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure at low priority and leave the answer in the cache."""
    parser = argparse.ArgumentParser(prog="python -m streamgen.runtimes.tuning")
    parser.add_argument("name")
    parser.add_argument("--file", action="append", default=[], metavar="PRECISION=PATH")
    parser.add_argument("--live", action="append", default=[])
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--size", required=True)
    parser.add_argument("--mode", type=Mode, required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args(arguments)
    files = {precision: Path(path) for precision, _, path in (f.partition("=") for f in given.file)}
    model = ModelSpec(given.name, "tuned", files, scale=given.scale, live=tuple(given.live))
    width, height = (int(number) for number in given.size.split("x"))
    os.nice(NICENESS)
    try:
        tune(model, width, height, given.mode, cores=given.cores, cache=given.cache)
    except StreamGenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
