"""`Trial`: everything that `streamgen plugins check` tries on a stage, one step after the other.

It runs in a process of its own (`streamgen.testing.check`), since a stage may crash or hang.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from streamgen.config import check
from streamgen.errors import ConfigError, StageError, StreamGenError
from streamgen.media.frame import Frame, Range
from streamgen.media.pool import FramePool, Pool
from streamgen.media.port import Contract
from streamgen.plugins import find, find_stage, models
from streamgen.protocols import Engines, Mode, ModelSpec, Running, Runtime, Value
from streamgen.testing.given import flat, inputs_like, moving, noise
from streamgen.testing.harness import Rig, checksum
from streamgen.testing.memory import HarshPool

SIZES = ((1280, 720), (180, 320), (322, 182), (321, 243), (33, 17), (16, 16), (2, 2), (1, 1))
SLOW_MS = 33.0
"""A stage that takes longer for a 720p picture cannot go with 30 pictures a second."""
LEAK_FRAMES = 300
LEAK_LIMIT_S = 15.0
LEAK_MB = 4.0
METHODS = ("output_size", "process", "reset", "close")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell about a stage."""

    said: str
    broken: bool = True
    """It breaks the rules; else it is good to know."""


class Stop(Exception):
    """There is no use in trying more."""


class _Engines:
    """Real ones; their runtimes are loaded only for a stage that asks."""

    requests = 1

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Runtime:
        engines: Engines = find("engines", "measured")(Mode.OFFLINE, tune="never")
        return engines.open(model, width, height, matrix=matrix, full_range=full_range)


@dataclass
class Trial:
    """One stage with the parameters it is tried with. `steps` in order; figures fill on the way."""

    stage: str
    params: Mapping[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> Sequence[tuple[str, Callable[[], Iterator[Finding]]]]:
        """What is done, in words that go on after "while", and how."""
        return (
            ("loading it", self.load),
            ("looking at an ordinary picture", self.ordinary),
            ("looking at other sizes", self.sizes),
            ("looking at black, white and noise", self.contents),
            ("using parameters at their limits", self.limits),
            ("looking at a picture twice", self.repeat),
            ("forgetting the past", self.forget),
            ("looking at 300 pictures", self.memory),
            ("looking at 720p pictures", self.speed),
        )

    def load(self) -> Iterator[Finding]:
        """Import it and read what it declares."""
        found = find_stage(self.stage)
        contract = Contract.of(found)
        self.figures |= {
            "inputs": {name: str(port) for name, port in contract.inputs.items()},
            "outputs": {name: str(port) for name, port in contract.outputs.items()},
            "state": contract.state,
            "latency": contract.latency,
            "skippable": contract.skippable,
        }
        missing = [name for name in METHODS if not callable(getattr(found, name, None))]
        if contract.latency and not hasattr(found, "flush"):
            missing.append("flush")
        if missing:
            yield Finding(f"has no {' and no '.join(missing)}")
        unknown = contract.fixed - set(found.Params.model_fields)
        if unknown:
            yield Finding(f"declares {', '.join(sorted(unknown))} fixed, which are no parameters")
        if missing:
            raise Stop
        try:
            check(found.Params, dict(self.params))
        except ConfigError as error:
            self.figures["needs"] = str(error)
            raise Stop from error

    def _rig(self, pool: Pool | None = None) -> Rig:
        return Rig(self.stage, self.params, pool=pool, engines=_Engines(), models=models())

    def _try(self, rig: Rig, frames: Sequence[Frame], what: str) -> Iterator[Finding]:
        """Give frames; every problem once."""
        said: set[str] = set()
        for frame in frames:
            try:
                _, problems = rig.tried(inputs_like(rig.contract, frame))
            except StageError as refused:
                yield Finding(f"refuses {what}: {refused}", broken=False)
                return
            for problem in problems:
                if problem not in said:
                    said.add(problem)
                    yield Finding(f"{problem}, for {what}")

    def ordinary(self) -> Iterator[Finding]:
        with self._rig() as rig:
            for finding in self._try(rig, moving(6, 320, 240), "a picture of 320x240"):
                yield Finding(finding.said)  # to refuse this one is to be broken
                if not finding.broken:
                    raise Stop
            rig.flush()
            pool = rig.pool
        del rig
        gc.collect()
        if isinstance(pool, HarshPool) and pool.out:
            yield Finding(f"keeps {pool.out} pictures after it was closed")

    def sizes(self) -> Iterator[Finding]:
        with self._rig() as rig:
            for width, height in SIZES:
                yield from self._try(rig, moving(2, width, height), f"{width}x{height}")

    def contents(self) -> Iterator[Finding]:
        with self._rig() as rig:
            for kind in Range:
                high = 255 if kind is Range.FULL else 235
                frames = [
                    flat(320, 240, 0, pts=0, range_=kind),
                    flat(320, 240, high, pts=1, range_=kind),
                    *(noise(320, 240, pts=2 + n, seed=n, range_=kind) for n in range(3)),
                ]
                yield from self._try(rig, frames, f"black, white or noise in {kind.value} range")

    def limits(self) -> Iterator[Finding]:
        """Live parameters at the ends of their ranges."""
        with self._rig() as rig:
            frame = moving(1, 320, 240)[0]
            for name, value in _limits(rig):
                params = rig.params.model_copy(update={name: value})
                what = f"{name}={value}"
                try:
                    _, problems = rig.tried(inputs_like(rig.contract, frame), params)
                except StageError as refused:
                    yield Finding(f"refuses {what}, which its Params allow: {refused}")
                else:
                    yield from (Finding(f"{problem}, with {what}") for problem in problems)

    def repeat(self) -> Iterator[Finding]:
        """A stage without state gives the same for the same picture, whatever came between."""
        with self._rig() as rig:
            if rig.contract.state != "none":
                return
            first, other = moving(1, 320, 240)[0], noise(320, 240)
            sums = [self._sums(rig, [frame]) for frame in (first, other, first)]
        if sums[0] != sums[2]:
            yield Finding(
                "gives another result for the same picture, and declares state none; "
                "say state = 'ordered' if it remembers"
            )

    def forget(self) -> Iterator[Finding]:
        """After a reset it gives what a new one gives."""
        frames, others = moving(5, 320, 240), moving(5, 320, 240, seed=3)
        with self._rig() as rig:
            if rig.contract.state == "none":
                return
            new = self._sums(rig, frames)
            rig.reset()
            self._sums(rig, others)
            rig.reset()
            again = self._sums(rig, frames)
        if new != again:
            yield Finding("remembers the past after reset()")

    def _sums(self, rig: Rig, frames: Sequence[Frame]) -> list[dict[str, int]]:
        made: list[dict[str, Value]] = [
            rig.tried(inputs_like(rig.contract, frame))[0] for frame in frames
        ]
        return [
            {name: checksum(value) for name, value in one.items()} for one in made + rig.flush()
        ]

    def memory(self) -> Iterator[Finding]:
        """Resident memory must not grow while pictures go by."""
        with self._rig(FramePool()) as rig:
            frames = [inputs_like(rig.contract, frame) for frame in moving(20, 320, 240)]
            end = time.monotonic() + LEAK_LIMIT_S
            sizes: list[float] = []  # after the first part: what is loaded once is no leak
            for _ in range(3):
                for number in range(LEAK_FRAMES // 3):
                    rig.tried(frames[number % len(frames)])
                    if time.monotonic() > end:
                        break
                gc.collect()
                sizes.append(_resident_mb())
        grown = [after - before for before, after in pairwise(sizes)]
        self.figures["grown_mb"] = round(sum(grown), 1)
        if sum(grown) > LEAK_MB and min(grown) > LEAK_MB / 4:
            yield Finding(f"grows by {sum(grown):.0f} MB in {2 * LEAK_FRAMES // 3} pictures")

    def speed(self) -> Iterator[Finding]:
        with self._rig(FramePool()) as rig:
            frames = [inputs_like(rig.contract, frame) for frame in moving(4, 1280, 720)]
            took_ms: list[float] = []
            end = time.monotonic() + 5.0
            while len(took_ms) < 3 or (len(took_ms) < 30 and time.monotonic() < end):
                began = time.perf_counter()
                try:
                    _given(rig, frames[len(took_ms) % len(frames)])
                except StageError:
                    return  # that size is refused, and was said
                took_ms.append((time.perf_counter() - began) * 1e3)
        middle = sorted(took_ms[1:])[len(took_ms[1:]) // 2]
        self.figures["ms_720p"] = round(middle, 2)
        if middle > SLOW_MS:
            yield Finding(
                f"takes {middle:.0f} ms for a 720p picture on this machine, and 30 a second "
                f"leave {SLOW_MS:.0f} ms",
                broken=False,
            )


def _given(rig: Rig, inputs: Mapping[str, Value]) -> None:
    """One call as the engine makes it, without the checks of the harness."""
    result = rig.stage.process(inputs, rig.params)
    if not isinstance(result, Mapping):
        result.fence.wait()
        result = result.outputs()
    for value in result.values():
        if value.ready is not None:
            value.ready.wait()


def _limits(rig: Rig) -> Iterator[tuple[str, Any]]:
    """Every live parameter with each value at the end of what it may be."""
    schema = type(rig.params).model_json_schema().get("properties", {})
    for name, about in schema.items():
        if name in rig.contract.fixed:
            continue
        ends = [about[key] for key in ("minimum", "maximum") if key in about]
        if about.get("type") == "integer":
            ends = [round(end) for end in ends]
        if about.get("type") == "boolean":
            ends = [False, True]
        for value in [*ends, *about.get("enum", ())]:
            yield name, value


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def tried(trial: Trial, tell: Callable[[Mapping[str, Any]], None], *, only_load: bool) -> None:
    """Do every step and tell as it goes: the step that begins, findings, and at last figures."""
    for what, step in trial.steps()[: 1 if only_load else None]:
        tell({"step": what})
        try:
            for finding in step():
                tell({"said": finding.said, "broken": finding.broken})
        except Stop:
            break
        except StreamGenError as error:
            tell({"said": f"{error}, while {what}", "broken": True})
            break
        # Whatever other people's code raises is the answer we are here for.
        except Exception as error:
            tell({"said": f"raises {type(error).__name__}: {error}, while {what}", "broken": True})
            if what in {name for name, _ in trial.steps()[:2]}:
                break
    tell({"figures": trial.figures})
