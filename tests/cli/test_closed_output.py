"""Nobody reads what is said: the work goes on all the same."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from streamgen.cli.progress import Screen, _every
from streamgen.testing import synthetic_clip

from .conftest import STREAMGEN


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("reader", ["| true", "> /dev/full", ">&-"])
def test_all_inputs_are_made_though_nobody_reads(
    plain: str, clip: Path, tmp_path: Path, reader: str
) -> None:
    other = synthetic_clip(tmp_path / "other.mp4", width=96, height=64, frames=5, audio=None)
    words = [*STREAMGEN, "run", plain, str(clip), str(other), "-o", f"{tmp_path}/out/"]
    told = shell(f"{shlex.join(words)} {reader}")
    assert (told.returncode, told.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.mp4", "other.mp4"]


def test_an_error_that_nobody_reads_does_not_stop_the_others(
    plain: str, clip: Path, tmp_path: Path
) -> None:
    words = [*STREAMGEN, "run", plain, "gone.mp4", str(clip), "-o", f"{tmp_path}/out/"]
    told = shell(f"{shlex.join(words)} 2>&1 | true")
    assert told.returncode == 1
    assert (tmp_path / "out" / "clip.mp4").is_file()


def test_the_thread_that_tells_progress_outlives_its_reader() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    told = 0
    with os.fdopen(writer, "w") as out:
        screen = Screen(out)

        def tell() -> None:
            nonlocal told
            screen.say("still at work")
            told += 1

        with _every(0.01, tell):
            deadline = time.monotonic() + 5
            while told < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
    assert told >= 3
