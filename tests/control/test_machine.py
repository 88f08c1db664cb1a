from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamgen.control import machine
from streamgen.control.machine import Finding, survey
from streamgen.gstreamer import process
from streamgen.plugins import models
from tests.gstreamer.installed import needing


@pytest.fixture(scope="module")
def findings() -> dict[tuple[str, str], Finding]:
    return {(finding.kind, finding.name): finding for finding in survey()}


def test_the_default_encoders_and_decoders_were_really_run(
    findings: dict[tuple[str, str], Finding],
) -> None:
    for name in ("libx264", "aac"):
        assert findings["encoder", name].works
    assert findings["decoder", "h264"].works


def test_the_portable_runtime_ran_a_network(findings: dict[tuple[str, str], Finding]) -> None:
    assert findings["runtime", "onnx"].works, findings["runtime", "onnx"].detail


def test_what_does_not_work_has_a_reason(findings: dict[tuple[str, str], Finding]) -> None:
    for finding in findings.values():
        assert finding.detail
        assert len(finding.detail.splitlines()) == 1


def test_a_damaged_model_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = models()["starry"]
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(spec.files["fp32"].read_bytes()[:-1])
    broken = replace(
        spec, files={"fp32": damaged, "int8": tmp_path / "gone.onnx"}, sha256=spec.sha256
    )
    monkeypatch.setattr("streamgen.control.machine.models", lambda: {"starry": broken})
    found = next(finding for finding in survey() if finding.kind == "model")
    assert not found.works
    assert "damaged.onnx is not the file of the manifest" in found.detail
    assert "gone.onnx: No such file" in found.detail


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "file" / "cache"))
    found = next(finding for finding in survey() if finding.name == "cache")
    assert not found.works


@needing("tsparse", "aacparse")
def test_gstreamer_carried_pictures_in_and_sound_out(
    findings: dict[tuple[str, str], Finding],
) -> None:
    source, output = (findings["gstreamer", f"gst: {end}"] for end in ("source", "output"))
    assert source.works and source.detail == "3 pictures through a pipeline"
    assert output.works, output.detail


@pytest.mark.parametrize(
    "python, why",
    [
        ("/nowhere/python3", "gst: source.*cannot be started .*python3-gst-1.0"),
        (sys.executable, "gst: source.*GStreamer for Debian's Python is not installed"),
    ],
)
def test_why_gstreamer_does_not_work_is_told(
    python: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PYTHON", python)
    found = list(machine._gstreamer())
    assert len(found) == 2 and not any(one.works for one in found)
    assert re.search(why, f"{found[0].name}: {found[0].detail}")
    assert "python3-gst-1.0" in found[1].detail
