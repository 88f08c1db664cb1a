from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from streamgen.control.chunks.chunked import Following
from streamgen.control.offline import Job
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import (
    FAST,
    Listener,
    child_processes,
    in_pieces,
    left_over,
    packets,
    pipeline,
    whole,
)

FRAMES = 1000
WITHIN_S = 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("killed") / "in.mp4"
    return synthetic_clip(path, width=96, height=64, frames=FRAMES, b_frames=2)


@pytest.fixture(scope="module")
def uncut(clip: Path) -> Path:
    path = clip.with_name("whole.mp4")
    whole(pipeline(), clip, path)
    return path


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.005)


class Killer(Listener):
    """Kills one of the processes as soon as there is one at work."""

    @contextmanager
    def following(self, job: Job, run: Following) -> Iterator[None]:
        thread = threading.Thread(target=self._kill, args=(run,))
        thread.start()
        yield
        thread.join()
        self.made_again = run.telemetry.counts("pieces")["made again"]

    @staticmethod
    def _kill(run: Following) -> None:
        until(child_processes)
        os.kill(child_processes()[0], signal.SIGKILL)


def test_a_piece_whose_process_is_killed_is_made_again(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    killer = Killer()
    report = in_pieces(pipeline(), clip, tmp_path / "out.mp4", listener=killer)
    assert killer.made_again == 1
    assert report.frames_out == FRAMES
    assert packets(tmp_path / "out.mp4") == packets(uncut)
    assert child_processes() == []


def started(clip: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    work = output.with_name("fast.yaml")
    work.write_text(yaml.safe_dump(FAST))
    command = [sys.executable, "-m", "streamgen.cli", "run", str(work), str(clip)]
    return subprocess.Popen(
        [*command, "-o", str(output), "--jobs", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_run_goes_on_with_the_whole_pieces_of_one_that_was_killed(
    clip: Path, uncut: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    place = tmp_path / ".out.mp4.streamgen-pieces"

    def made() -> list[Path]:
        return sorted(place.glob("chunk-*.json"))

    for number, ending in ((1, signal.SIGKILL), (3, signal.SIGINT)):
        with started(clip, output, "--resume") as process:
            until(lambda: len(made()) >= number)  # noqa: B023
            children = child_processes(process.pid)
            process.send_signal(ending)
            said = process.communicate(timeout=WITHIN_S)[0]
        assert process.returncode in {-signal.SIGKILL, 130}, said
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))  # noqa: B023
        assert not output.exists()
    had = len(made())
    # By name: of a piece that was begun and made again there are two files.
    damaged = place / json.loads(made()[0].read_bytes())["file"]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")
    with started(clip, output, "--resume") as process:
        said = process.communicate(timeout=WITHIN_S)[0]
    assert process.returncode == 0, said
    assert f"{had - 1} of 6 pieces were made already" in said
    assert packets(output) == packets(uncut)
    assert packets(output, "audio") == packets(uncut, "audio")
    assert left_over(tmp_path) == []
    place.mkdir()  # as of a run that was killed when its output stood already
    with started(clip, output, "--resume") as process:
        assert "made already, skipped" in process.communicate(timeout=WITHIN_S)[0]
    assert left_over(tmp_path) == []


def test_two_runs_do_not_make_one_output(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    place = tmp_path / ".out.mp4.streamgen-pieces"
    with started(clip, output) as first:
        until(lambda: (place / "plan.json").exists())
        first.send_signal(signal.SIGSTOP)
        with started(clip, output) as second:
            said = second.communicate(timeout=WITHIN_S)[0]
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=WITHIN_S)
    assert (first.returncode, second.returncode) == (0, 1)
    assert f"another process is making {output}" in said


def test_pieces_of_something_else_are_not_used(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    place = tmp_path / ".out.mp4.streamgen-pieces"
    with started(clip, output) as process:
        until(lambda: any(place.glob("chunk-*.json")))
        process.kill()
        process.communicate(timeout=WITHIN_S)
    with started(clip, output, "--resume", "--set", "keyframe_interval=2s") as process:
        said = process.communicate(timeout=WITHIN_S)[0]
    assert process.returncode == 0, said
    assert "made already" not in said
