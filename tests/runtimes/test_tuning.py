from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.errors import ModelError
from streamgen.plugins import runtime_versions
from streamgen.protocols import Mode, ModelSpec
from streamgen.runtimes import tuning
from streamgen.runtimes.cache import TunedChoices, TuneResult, ask, chosen
from streamgen.runtimes.tuning import Candidate, command, sharing, tune

SPEEDS = {  # ms, CPU ms
    ("openvino", "int8", 1): (9.0, 8.0),
    ("openvino", "fp32", 1): (12.0, 10.0),
    ("onnx", "int8", 1): (5.0, 11.0),
    ("onnx", "fp32", 1): (7.0, 12.0),
    ("openvino", "int8", 2): (11.0, 6.0),
    ("openvino", "fp32", 2): (14.0, 9.0),
}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """Replaces running by a table of speeds; what was tried is listed."""
    tried: list[Candidate] = []

    def sample(model: ModelSpec, candidate: Candidate, question: object) -> TuneResult:
        tried.append(candidate)
        settings = candidate.settings
        key = (candidate.runtime, settings.precision, settings.requests)
        if key not in SPEEDS:
            raise ModelError("this runtime does not take it")
        ms, cpu_ms = SPEEDS[key]
        return TuneResult(
            candidate.runtime, settings.precision, settings.threads, settings.requests,
            ms, 1000 / ms, cpu_ms,
        )  # fmt: skip

    monkeypatch.setattr(tuning, "_sample", sample)
    monkeypatch.setattr(tuning, "runtime_versions", lambda: {"openvino": "1", "onnx": "1"})
    return tried


@pytest.fixture
def two_files(tiny_model: ModelSpec) -> ModelSpec:
    path = tiny_model.files["fp32"]
    return replace(tiny_model, files={"fp32": path, "int8": path})


@pytest.mark.usefixtures("measured")
def test_live_takes_the_soonest_picture(two_files: ModelSpec, tmp_path: Path) -> None:
    best = chosen(tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path))
    assert (best.runtime, best.precision, best.requests) == ("onnx", "int8", 1)


@pytest.mark.usefixtures("measured")
def test_offline_takes_the_least_processor_time(two_files: ModelSpec, tmp_path: Path) -> None:
    rows = tune(two_files, 64, 48, Mode.OFFLINE, cores=2, cache=tmp_path)
    best = chosen(rows)
    assert (best.runtime, best.precision, best.requests) == ("openvino", "int8", 2)
    assert {row.threads for row in rows} == {2}


@pytest.mark.usefixtures("measured")
def test_a_hairs_breadth_is_no_reason_to_leave_the_usual(
    two_files: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPEEDS, ("onnx", "int8", 1), (8.8, 11.0))
    monkeypatch.setitem(SPEEDS, ("onnx", "fp32", 1), (8.7, 12.0))
    best = chosen(tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path))
    assert (best.runtime, best.precision, best.threads) == ("openvino", "int8", 2)


def test_an_answer_is_measured_once(
    two_files: ModelSpec, tmp_path: Path, measured: list[Candidate]
) -> None:
    first = tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path)
    tried = len(measured)
    assert tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path) == first
    assert len(measured) == tried
    tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path, again=True)
    assert len(measured) == 2 * tried


def test_the_time_is_bounded_but_something_is_always_measured(
    two_files: ModelSpec, tmp_path: Path, measured: list[Candidate]
) -> None:
    rows = tune(two_files, 64, 48, Mode.LIVE, cores=2, cache=tmp_path, budget_s=0.0)
    assert len(rows) == len(measured) == 1
    assert rows[0].chosen


def test_a_model_that_no_runtime_takes_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"bad")
    with pytest.raises(ModelError, match="no runtime takes bad"):
        tune(ModelSpec("bad", "style", {"fp32": path}), 64, 48, Mode.LIVE, cache=tmp_path)
    assert not list((tmp_path / "tuned").glob("*.json"))


@given(st.sampled_from(Mode), st.integers(1, 256))
def test_every_way_to_share_processors_is_possible(mode: Mode, cores: int) -> None:
    ways = sharing(mode, cores)
    assert len(set(ways)) == len(ways)
    assert ways[0].threads == cores
    assert all(1 <= way.requests <= way.threads <= cores for way in ways)
    assert all(way.requests == 1 for way in ways) or mode is Mode.OFFLINE


def test_another_process_measures_real_engines(
    tiny_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(tiny_model, 64, 48, Mode.LIVE, 1, tmp_path)
    subprocess.run(arguments, check=True, timeout=60)
    question = ask(tiny_model, 64, 48, Mode.LIVE, 1, runtime_versions())
    rows = TunedChoices(tmp_path).read(question)
    assert rows is not None
    assert {row.runtime for row in rows} == set(runtime_versions())
    assert all(row.ms_per_frame > 0 and row.fps > 0 for row in rows)
