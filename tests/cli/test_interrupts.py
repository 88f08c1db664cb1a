"""Ctrl-C, SIGTERM, a closed terminal in the middle of a run: soon over, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamgen.testing import synthetic_clip

from .conftest import STREAMGEN

CASES = [
    (signal.SIGINT, "out.mp4"),
    (signal.SIGTERM, "out.mkv"),
    (signal.SIGTERM, "out/"),
    (signal.SIGHUP, "out.mp4"),
]


def half(folder: Path) -> bytes:
    """Half of a clip; more than what demuxers read ahead."""
    clip = synthetic_clip(folder / "clip.mkv", width=96, height=64, frames=150, audio=None, gop=10)
    return clip.read_bytes()[: clip.stat().st_size // 2]


@contextmanager
def running(
    plain: str, data: bytes, output: str, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that got `data` on a pipe and waits for the rest, which never comes."""
    command = [*STREAMGEN, "run", plain, "-", "-o", output, *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(data)
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(folder: Path, entries: int) -> None:
    """Until the run has begun to write."""
    deadline = time.monotonic() + 30
    while not (folder.exists() and len(list(folder.iterdir())) >= entries):
        assert time.monotonic() < deadline, "the run never began to write"
        time.sleep(0.02)


def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str]:
    """Exit status and stderr after the signal; its input stays open."""
    process.send_signal(number)
    status = process.wait(timeout=15)
    assert process.stderr is not None
    return status, process.stderr.read().decode()


@pytest.mark.parametrize(("number", "output"), CASES)
def test_an_interrupted_run_leaves_nothing_behind(
    plain: str, tmp_path: Path, number: signal.Signals, output: str
) -> None:
    with running(plain, half(tmp_path), f"{tmp_path}/new/{output}") as process:
        wait_for(tmp_path / "new", 1)
        assert ended(process, number) == (130, "streamgen: interrupted\n")
    assert not (tmp_path / "new").exists()


UNLUCKY = """
import signal
from streamgen.cli import main
from streamgen.ingest.pipe import Pipe

read = Pipe.read

def interrupted(self, size):
    signal.raise_signal(signal.{name})
    return read(self, size)

Pipe.read = interrupted
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_libavformat_calls_us_ends_the_run(
    plain: str, tmp_path: Path, number: signal.Signals
) -> None:
    code = UNLUCKY.format(name=number.name)
    command = [STREAMGEN[0], "-c", code, "run", plain, "-", "-o", f"{tmp_path}/new/out.mp4"]
    told = subprocess.run(command, input=half(tmp_path), stderr=subprocess.PIPE, check=False)
    assert (told.returncode, told.stderr.decode()) == (130, "streamgen: interrupted\n")
    assert not (tmp_path / "new").exists()


def test_a_kept_output_survives_an_interrupted_overwrite(plain: str, tmp_path: Path) -> None:
    kept = tmp_path / "new" / "out.mkv"
    kept.parent.mkdir()
    kept.write_bytes(b"mine")
    with running(plain, half(tmp_path), str(kept), "--overwrite") as process:
        wait_for(kept.parent, 2)
        assert ended(process, signal.SIGTERM)[0] == 130
    assert [path.name for path in kept.parent.iterdir()] == ["out.mkv"]
    assert kept.read_bytes() == b"mine"


def test_a_run_that_shall_outlive_its_terminal_does(plain: str, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what `nohup` does
    try:
        with running(plain, half(tmp_path), f"{tmp_path}/new/out.mkv") as process:
            wait_for(tmp_path / "new", 1)
            process.send_signal(signal.SIGHUP)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=15) == 0
            process.stdin = None
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "new" / "out.mkv").is_file()
