"""What is tried of a GPU: in other processes, whatever becomes of them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from streamgen.control.machine import survey
from streamgen.control.probes import PARTS, Answer, ask, codecs, nvdec, nvenc

MACHINE = """
import os, signal, sys, time
part = sys.argv[1].rpartition(".")[2]
assert sys.argv[1] == "streamgen.control.probes." + part
match part:
    case "driver":
        print("CUDA 13.0, driver 580.65.06")
    case "nvdec":
        print("a warning of some library")
        print("h264, hevc, vp9; not av1: No support for codec av1")
    case "nvenc":
        print("at first glance it works", flush=True)
        sys.exit("OpenEncodeSessionEx failed: unsupported device (2): (no details)")
    case "nvrtc":
        import cuda_that_is_not_there
    case "tensorrt":
        os.kill(os.getpid(), signal.SIGSEGV)
    case "torch":
        time.sleep(60)
"""
"""A machine with a GPU of the H200 class, a broken library and one that hangs."""


@pytest.fixture
def machine(tmp_path: Path) -> tuple[str, str]:
    script = tmp_path / "machine.py"
    script.write_text(MACHINE)
    return sys.executable, str(script)


def test_each_part_says_what_it_is_or_why_not(machine: tuple[str, str]) -> None:
    answers = {a.part: a for a in ask(PARTS[:5], python=machine)}
    assert answers["driver"] == Answer("driver", True, "CUDA 13.0, driver 580.65.06")
    assert answers["nvdec"].works
    assert answers["nvdec"].detail == "h264, hevc, vp9; not av1: No support for codec av1"
    assert not answers["nvenc"].works
    assert answers["nvenc"].detail.startswith("OpenEncodeSessionEx failed: unsupported device")
    assert answers["nvrtc"].detail == "cuda_that_is_not_there is not installed"
    assert answers["tensorrt"] == Answer("tensorrt", False, "crashed with SIGSEGV")


def test_a_part_that_hangs_is_ended(machine: tuple[str, str]) -> None:
    (answer,) = ask(("torch",), timeout_s=0.5, python=machine)
    assert answer == Answer("torch", False, "did not answer within 0.5 s")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "ended with status 0"),
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\n\\n'); sys.exit(1)", "\ufffd"),
    ],
)
def test_a_part_that_says_nothing_does_not_work(code: str, reason: str) -> None:
    (answer,) = ask(("driver",), python=(sys.executable, "-c", code))
    assert answer == Answer("driver", False, reason)


def test_a_python_that_cannot_be_started_is_told() -> None:
    (answer,) = ask(("driver",), python=("/nowhere/python3",))
    assert not answer.works
    assert answer.detail.startswith("could not be asked: ")


def test_this_machine_says_of_every_part_why_not() -> None:
    """Really tried. What works here depends on the machine, but not without a driver."""
    answers = {a.part: a for a in ask()}
    assert set(answers) == set(PARTS)
    for answer in answers.values():
        assert answer.detail and "Traceback" not in answer.detail
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert "libcuda.so.1 not found" in answers["driver"].detail
        for part in ("driver", "nvdec", "nvenc", "tensorrt", "torch"):
            assert not answers[part].works, answers[part]
        for part in ("nvdec", "nvenc"):
            assert answers[part].detail == "Cannot load libcuda.so.1"


def test_doctor_tells_of_each_part() -> None:
    rows = [finding.name for finding in survey() if finding.kind == "gpu"]
    assert rows == ["nvidia", *PARTS]


@pytest.mark.parametrize("codec", nvdec.CODECS)
def test_the_clips_for_nvdec_are_decoded_by_the_processor(codec: str) -> None:
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    shown = nvdec.pictures(decoder, nvdec.encoded(nvdec.CODECS[codec]))
    assert [picture.shape for picture in shown] == [(256, 256)] * nvdec.PICTURES
    assert shown[0].std() > 10 and (shown[0] != shown[1]).any()


def test_a_decoder_that_is_no_hardware_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "HWAccel", lambda *_, **__: None)
    with pytest.raises(ValueError, match="decodes it on the processor"):
        nvdec.decode("h264")


@pytest.mark.parametrize("shade", [nvenc.SHADE, nvenc.SHADE + 20])
def test_an_encoder_is_believed_only_for_its_picture(
    shade: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With libx264 in the place of NVENC."""

    class Shaded:
        """Decodes everything to one flat picture."""

        def decode(self, packet: Any) -> list[av.VideoFrame]:
            return [av.VideoFrame.from_ndarray(np.full((384, 256), shade, np.uint8), "yuv420p")]

    def created(name: str, mode: str) -> Any:
        return av.CodecContext.create("libx264", "w") if mode == "w" else Shaded()

    contexts = SimpleNamespace(create=created)
    monkeypatch.setattr(nvenc, "av", SimpleNamespace(CodecContext=contexts))
    if shade == nvenc.SHADE:
        nvenc.encode("h264")
    else:
        with pytest.raises(ValueError, match="another picture than it was given"):
            nvenc.encode("h264")


@pytest.fixture
def log_level() -> Iterator[None]:
    before = av.logging.get_level()
    yield
    av.logging.set_level(before)


@pytest.mark.usefixtures("log_level")
def test_codecs_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    def attempt(codec: str) -> None:
        if codec != "h264":
            raise ValueError(f"no {codec} here")

    codecs.try_each(["h264", "av1"], attempt)
    assert capsys.readouterr().out == "h264; not av1: no av1 here\n"
    with pytest.raises(SystemExit, match=r"^vp9: no vp9 here; av1: no av1 here$"):
        codecs.try_each(["vp9", "av1"], attempt)
