"""The benchmark of GPUs says what is missing; its rows work on a device that does not exist."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamgen.testing import FakeDevice, fake_hardware, synthetic_clip
from tests.cuda.bench import HostBench
from tests.cuda.test_started import CompiledStream, upload

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_gpus", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_says_what_is_there_and_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--json"],
        capture_output=True,
        text=True,
        env={"PATH": "", "CUDA_VISIBLE_DEVICES": ""},
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert isinstance(answer["gpu"], str)
    assert {*answer["works"], *answer["missing"]} >= {"driver", "nvdec", "nvenc"}
    assert answer["versions"]["av"] != "missing"
    assert answer["rows"] == []


def test_kernels_are_rows_beside_a_copy_of_as_many_bytes(host: HostBench, gpu: ModuleType) -> None:
    fake = FakeDevice()
    rows = gpu.kernels(
        CompiledStream(fake, host),
        fake.pool,
        upload,
        size=(64, 48),
        rungs=((32, 24),),
        batches=(1, 2),
        rounds=1,
    )
    assert [(row["row"], row["batch"]) for row in rows] == [
        ("copy", 1),
        ("planes", 1),
        ("1 rungs", 1),
        ("copy", 2),
        ("planes", 2),
        ("1 rungs", 2),
    ]
    assert rows[0]["of_copy"] == 1


def test_codecs_are_rows_or_say_why_not(gpu: ModuleType, tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=64, height=48, frames=10, audio=None)
    hardware = fake_hardware(FakeDevice(), sessions=1)
    decoded = gpu.decoding(hardware, {"h264": clip}, (1, 3))
    assert [row["streams"] for row in decoded] == [1, 3]
    offline, live = gpu.encoding(hardware, clip, (64, 48))
    assert "fps" in offline
    assert live["refused"] == "fake:0 has no encoder session left"
    (whole,) = gpu.transcoding(hardware, clip)
    assert whole["copies"] and whole["notes"]
