"""`MeasuredEngines`: gives a network at once, and a better one when the machine was measured.

The first time a model meets a size on a machine, the stream starts on an untuned engine and goes
on with it. Measuring takes processors from the stream, so it starts only when the stream has run
for a while (`TUNE_AFTER_S`): a short job is over before, a long one and every later one gain. The
answer is found by another process, compiled on a thread of its own, and swapped in between two
pictures.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import onnx

from streamgen.config import cache_dir
from streamgen.config import cores as usable_cores
from streamgen.errors import ModelError
from streamgen.media.frame import Plane
from streamgen.plugins import find_fold, runtime_versions
from streamgen.protocols import Inputs, Mode, ModelSpec, Runtime, Ticket
from streamgen.runtimes.cache import TunedChoices, ask, chosen
from streamgen.runtimes.compose import fold_color
from streamgen.runtimes.tuning import (
    PRECISIONS,
    Candidate,
    candidates,
    command,
    open_engine,
    sharing,
)
from streamgen.telemetry import Telemetry

Tune = Literal["background", "first", "never"]
TUNE_AFTER_S = {Mode.OFFLINE: 60.0, Mode.LIVE: 10.0}
"""How long a stream runs before it is worth measuring for it."""
TUNE_LIMIT_S = 60.0
"""A measurement that takes longer is ended; the next run tries again."""
POLL_S = 0.1


class MeasuredEngines:
    """Opens networks with the measured choice of runtime, precision, threads and requests."""

    def __init__(
        self,
        mode: Mode,
        *,
        cache: Path | None = None,
        cores: int | None = None,
        telemetry: Telemetry | None = None,
        tune: Tune = "background",
        tune_after_s: float | None = None,
    ) -> None:
        """`tune` says what happens where nothing was measured yet: measure beside the stream,
        before its first picture, or not at all (`streamgen models tune` does it by hand)."""
        self.mode = mode
        self.cores = cores or usable_cores()
        self.tune = tune
        self.running: dict[str, Candidate] = {}
        """What each model runs on, by its name; for reports."""
        self._cache = cache or cache_dir()
        self._telemetry = telemetry if telemetry is not None else Telemetry()
        self._after_s = TUNE_AFTER_S[mode] if tune_after_s is None else tune_after_s

    @property
    def requests(self) -> int:
        """Pictures that an engine works on at once: a lane with fewer inside leaves it idle."""
        return max(one.requests for one in sharing(self.mode, self.cores))

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Chosen:
        """Compile the measured choice, or the likely one. Raises `ModelError`; takes its time."""
        tuning = Tuning(model, width, height, self.mode, self.cores, self._cache)
        if self.tune == "first" and tuning.answer() is None:
            tuning.measure(threading.Event())

        def build(candidate: Candidate) -> Runtime:
            file = self._colored(model, candidate, matrix, full_range)
            return open_engine(file, candidate, width, height)

        answer = tuning.answer()
        likely = [answer] if answer is not None else []
        likely += candidates(tuple(runtime_versions()), _precisions(model), self.mode, self.cores)
        engine, candidate = _first(model, likely, build)
        self.running[model.name] = candidate
        opened = Chosen(engine, candidate)
        if self.tune == "background" and answer is None:
            opened.improve(self._after_s, tuning, build, lambda c: self._improved(model, c))
        return opened

    def _improved(self, model: ModelSpec, candidate: Candidate) -> None:
        self.running[model.name] = candidate
        self._telemetry.count("engines", "swapped")

    def _colored(
        self, model: ModelSpec, candidate: Candidate, matrix: str, full_range: bool
    ) -> bytes | Path:
        """The file, or its contents for planes of another colour."""
        path = model.files[candidate.settings.precision]
        if (matrix, full_range) == (model.matrix, model.range == "pc"):
            return path
        fold = fold_color if model.kind == "imported" else find_fold()
        if not model.folds or fold is None:
            self._telemetry.count("engines", "color not folded")
            return path
        try:
            network = onnx.load(path)
            folded: bytes = fold(network, matrix=matrix, full_range=full_range).SerializeToString()
        except (OSError, ValueError) as error:
            raise ModelError(f"{model.name} cannot take {matrix} pictures: {error}") from error
        return folded


def _precisions(model: ModelSpec) -> tuple[str, ...]:
    return tuple(precision for precision in PRECISIONS if precision in model.files)


def _first(
    model: ModelSpec, likely: list[Candidate], build: Callable[[Candidate], Runtime]
) -> tuple[Runtime, Candidate]:
    """The first candidate that takes the network; not every runtime knows every operator."""
    failure = ModelError(f"{model.name} has no file that a runtime here can run")
    for candidate in likely:
        try:
            return build(candidate), candidate
        except ModelError as error:
            failure = error
    raise failure


class Tuning:
    """The measurement that one model needs at one size, here and in this mode."""

    def __init__(
        self, model: ModelSpec, width: int, height: int, mode: Mode, cores: int, cache: Path
    ) -> None:
        try:
            self._question = ask(model, width, height, mode, cores, runtime_versions())
        except OSError as error:
            raise ModelError(f"cannot read {model.name}: {error.strerror}") from error
        self._choices = TunedChoices(cache)
        self._command = command(model, width, height, mode, cores, cache)

    def answer(self) -> Candidate | None:
        """The measured choice, if there is one."""
        rows = self._choices.read(self._question)
        if rows is None:
            return None
        best = chosen(rows)
        return Candidate(best.runtime, best.settings)

    def measure(self, stop: threading.Event) -> None:
        """Measure in another process until done, `stop` or the limit; fills the cache."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(round(TUNE_LIMIT_S / POLL_S)):
                if process.poll() is not None or stop.wait(POLL_S):
                    break
        finally:
            process.kill()
            process.wait()


class Chosen:
    """A runtime whose engine can be exchanged between two pictures.

    Pictures on their way end on the engine they began on, and so in their order.
    """

    def __init__(self, engine: Runtime, candidate: Candidate) -> None:
        self.candidate = candidate
        self._engine = engine
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Ticket:
        """Start one picture on the present engine; see `protocols.Runtime`."""
        with self._lock:
            return self._engine.submit(inputs, out)

    def swap(self, engine: Runtime, candidate: Candidate) -> None:
        """The next picture runs on `engine`; the former one is closed when its last is done."""
        with self._lock:
            former, self._engine = self._engine, engine
            self.candidate = candidate
        former.close()

    def improve(
        self,
        after_s: float,
        tuning: Tuning,
        build: Callable[[Candidate], Runtime],
        improved: Callable[[Candidate], None],
    ) -> None:
        """Measure after a while, and swap what was found in; on a thread that `close` ends."""

        def work() -> None:
            if self._ending.wait(after_s):
                return
            tuning.measure(self._ending)
            found = tuning.answer()
            if self._ending.is_set() or found is None or found == self.candidate:
                return
            try:
                engine = build(found)
            except ModelError:
                return  # what runs goes on
            self.swap(engine, found)
            improved(found)

        self._thread = threading.Thread(target=work, name="tuning", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the measuring, wait for pictures on their way, free the network."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        self._engine.close()
