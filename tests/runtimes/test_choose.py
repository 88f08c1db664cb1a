from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from streamgen.errors import ModelError
from streamgen.media.frame import Layout, Plane
from streamgen.media.pool import FramePool
from streamgen.plugins import runtime_versions
from streamgen.protocols import Inputs, Mode, ModelSpec
from streamgen.runtimes import choose, tuning
from streamgen.runtimes.cache import TunedChoices, TuneResult, ask
from streamgen.runtimes.choose import Chosen, MeasuredEngines, Tuning
from streamgen.runtimes.engine import Completion, EngineSettings
from streamgen.runtimes.tuning import Candidate
from streamgen.telemetry import Telemetry
from streamgen.testing import picture

from .networks import named, outputs, widened

SLOW = Candidate("onnx", EngineSettings(1, 1, "fp32"))
QUICK = Candidate("onnx", EngineSettings(2, 2, "fp32"))


class FakeEngine:
    """Finishes pictures when told to, and says which it was given."""

    def __init__(self) -> None:
        self.tickets: list[Completion] = []
        self.closed = threading.Event()

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Completion:
        assert not self.closed.is_set(), "a picture for a closed engine"
        self.tickets.append(Completion(inputs, out))
        return self.tickets[-1]

    def close(self) -> None:
        for ticket in self.tickets:
            ticket.wait()
        self.closed.set()


def test_engines_are_exchanged_between_two_pictures() -> None:
    former, new = FakeEngine(), FakeEngine()
    runtime = Chosen(former, SLOW)
    runtime.submit({}, {})
    swapping = threading.Thread(target=runtime.swap, args=(new, QUICK))
    swapping.start()
    while runtime.candidate is SLOW:
        pass
    runtime.submit({}, {})
    assert (len(former.tickets), len(new.tickets)) == (1, 1)
    assert not former.closed.is_set(), "its picture is still on its way"
    former.tickets[0].finish()
    swapping.join(5)
    assert former.closed.is_set()
    new.tickets[0].finish()
    runtime.close()
    assert new.closed.is_set()


def test_no_picture_is_lost_while_engines_are_exchanged() -> None:
    engines = [FakeEngine() for _ in range(20)]
    runtime = Chosen(engines[0], SLOW)
    stop = threading.Event()
    submitted: list[Any] = []

    def stream() -> None:
        while not stop.is_set():
            ticket = runtime.submit({}, {})
            ticket.finish()
            submitted.append(ticket)

    streaming = threading.Thread(target=stream)
    streaming.start()
    for engine in engines[1:]:
        runtime.swap(engine, QUICK)
    stop.set()
    streaming.join(5)
    assert submitted == [ticket for engine in engines for ticket in engine.tickets]


def run_one(runtime: Chosen) -> None:
    frame = picture(64, 48)
    out = FramePool().take(Layout.I420, 64, 48)
    runtime.submit(named(frame), outputs(out)).fence.wait()
    np.testing.assert_array_equal(out.planes[0].array(), widened(frame.planes[0].array()))


@pytest.fixture
def open_tiny(tiny_model: ModelSpec, tmp_path: Path) -> Callable[..., Any]:
    def open_tiny(**options: Any) -> tuple[MeasuredEngines, Chosen]:
        engines = MeasuredEngines(Mode.OFFLINE, cache=tmp_path, cores=2, **options)
        color = {"matrix": "bt709", "full_range": False}
        return engines, engines.open(tiny_model, 64, 48, **color)

    return open_tiny


def answer(model: ModelSpec, cache: Path, candidate: Candidate) -> None:
    settings = candidate.settings
    row = TuneResult(
        candidate.runtime, settings.precision, settings.threads, settings.requests,
        1.0, 1.0, 1.0, chosen=True,
    )  # fmt: skip
    question = ask(model, 64, 48, Mode.OFFLINE, 2, runtime_versions())
    TunedChoices(cache).write(question, [row])


def test_an_unmeasured_model_runs_at_once(open_tiny: Callable[..., Any]) -> None:
    engines, runtime = open_tiny(tune="never")
    assert engines.running["widening"].settings.requests == engines.requests == 2
    run_one(runtime)
    runtime.close()


def test_a_measured_choice_is_taken(
    open_tiny: Callable[..., Any], tiny_model: ModelSpec, tmp_path: Path
) -> None:
    best = Candidate("onnx", EngineSettings(2, 1, "fp32"))
    answer(tiny_model, tmp_path, best)
    engines, runtime = open_tiny()
    assert engines.running["widening"] == runtime.candidate == best
    run_one(runtime)
    runtime.close()


def test_a_stream_goes_on_and_gets_the_measured_engine_later(
    open_tiny: Callable[..., Any],
    tiny_model: ModelSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = Candidate("onnx", EngineSettings(2, 1, "fp32"))
    go = threading.Event()

    def measure(self: Tuning, stop: threading.Event) -> None:
        assert go.wait(5)
        answer(tiny_model, tmp_path, best)

    monkeypatch.setattr(Tuning, "measure", measure)
    telemetry = Telemetry()
    engines, runtime = open_tiny(tune_after_s=0.0, telemetry=telemetry)
    assert runtime.candidate != best
    run_one(runtime)
    go.set()
    for _ in range(500):
        run_one(runtime)
        if telemetry.counts("engines"):
            break
        threading.Event().wait(0.01)
    assert telemetry.counts("engines") == {"swapped": 1}
    assert engines.running["widening"] == runtime.candidate == best
    run_one(runtime)
    runtime.close()


def test_a_short_run_is_over_before_anything_is_measured(
    open_tiny: Callable[..., Any], tmp_path: Path
) -> None:
    _, runtime = open_tiny()
    run_one(runtime)
    runtime.close()
    assert not (tmp_path / "tuned").exists()


def test_closing_ends_a_measurement_at_once(
    open_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "command", lambda *_: ["sleep", "60"])
    _, runtime = open_tiny(tune_after_s=0.0)
    threading.Event().wait(0.05)
    runtime.close()
    assert not [t for t in threading.enumerate() if t.name == "tuning"]


def test_measuring_first_takes_the_answer_from_the_first_picture_on(
    open_tiny: Callable[..., Any],
    tiny_model: ModelSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = Candidate("onnx", EngineSettings(2, 1, "fp32"))
    monkeypatch.setattr(Tuning, "measure", lambda self, stop: answer(tiny_model, tmp_path, best))
    _, runtime = open_tiny(tune="first")
    assert runtime.candidate == best
    runtime.close()


def test_a_network_that_one_runtime_cannot_take_runs_on_another(
    open_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(file: Any, candidate: Candidate, width: int, height: int) -> Any:
        if candidate.runtime != "onnx":
            raise ModelError("unknown operator")
        return tuning.open_engine(file, candidate, width, height)

    monkeypatch.setattr(choose, "open_engine", picky)
    _, runtime = open_tiny(tune="never")
    assert runtime.candidate.runtime == "onnx"
    run_one(runtime)
    runtime.close()


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    gone = ModelSpec("gone", "style", {"fp32": tmp_path / "gone.onnx"})
    with pytest.raises(ModelError, match="cannot read gone"):
        MeasuredEngines(Mode.LIVE, cache=tmp_path).open(
            gone, 64, 48, matrix="bt709", full_range=False
        )


@pytest.mark.parametrize("folds", [True, False])
def test_another_colour_is_folded_into_the_network(
    tiny_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    asked: list[tuple[str, bool]] = []

    def fold(model: onnx.ModelProto, *, matrix: str, full_range: bool) -> onnx.ModelProto:
        asked.append((matrix, full_range))
        return model

    monkeypatch.setattr(choose, "find_fold", lambda: fold if folds else None)
    telemetry = Telemetry()
    engines = MeasuredEngines(Mode.LIVE, cache=tmp_path, tune="never", telemetry=telemetry)
    runtime = engines.open(tiny_model, 64, 48, matrix="bt601", full_range=True)
    run_one(runtime)
    runtime.close()
    assert asked == ([("bt601", True)] if folds else [])
    assert telemetry.counts("engines") == ({} if folds else {"color not folded": 1})
