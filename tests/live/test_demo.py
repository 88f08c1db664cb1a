"""`streamgen demo` on a small clip: it shows the live path, says how fast, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from streamgen.testing import synthetic_clip

FIGURES = re.compile(
    r"(WHEP|LL-HLS) +(\d+p) +first \w+ ([\d.]+) s, latency p50 (\d+) ms, p95 (\d+)"
)
COMMAND = [sys.executable, "-m", "streamgen.cli", "demo"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "small clip.mp4"
    synthetic_clip(path, width=640, height=360, frames=75)
    return path


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(one) for one in listed.stdout.split()]


def test_it_publishes_watches_says_how_fast_and_ends(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "made"
    options = ["--pipeline", "transcode", "--seconds", "5", "-o", str(out)]
    told = subprocess.run(
        [*COMMAND, str(clip), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    found = {name: numbers for name, *numbers in FIGURES.findall(told.stdout)}
    assert found.keys() == {"WHEP", "LL-HLS"}, told.stdout
    for rung, first_s, p50_ms, p95_ms in found.values():
        assert rung in ("240p", "360p")
        assert 0 < float(first_s) < 5
        assert 0 < int(p50_ms) <= int(p95_ms) < 5000
    assert "125 pictures in" in told.stdout
    assert (out / "contact.png").read_bytes().startswith(b"\x89PNG")
    with av.open(str(out / "live.mp4")) as video:
        pictures = sum(1 for _ in video.decode(video=0))
    assert 60 < pictures <= 125


def test_interrupted_it_leaves_nothing_running(tmp_path: Path, clip: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(clip), "--pipeline", "transcode", "-o", str(tmp_path / "made")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while len(children(process.pid)) < 2 and time.monotonic() < until:  # server and publisher
        time.sleep(0.05)
    server, publisher = children(process.pid)[:2]
    below = children(server)
    assert len(below) == 3
    process.send_signal(signal.SIGINT)
    with process.stderr as errors:  # type: ignore[union-attr]
        said = errors.read()
    assert process.wait(30) == 130
    assert said == "streamgen: interrupted\n"
    for pid in (server, publisher, *below):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (tmp_path / "made" / "contact.png").exists()
