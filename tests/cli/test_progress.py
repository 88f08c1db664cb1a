from __future__ import annotations

import io
import os
import pty
import subprocess
from pathlib import Path

import pytest

from streamgen.cli.progress import Screen, clock, figures, loads, sentence
from streamgen.report import Progress

from .conftest import STREAMGEN


def state(**changes: object) -> Progress:
    facts = {"frames": 240, "total_frames": 1320, "fps": 41.23, "elapsed_s": 6.0, "left_s": 26.2}
    return Progress(**(facts | {"load": {}} | changes))


def test_progress_tells_frames_speed_and_time_left() -> None:
    assert figures(state()) == "240/1320 frames, 41.2 fps, 0:26 left"


def test_without_a_known_length_nothing_is_guessed() -> None:
    assert figures(state(total_frames=None, left_s=None)) == "240 frames, 41.2 fps"


def test_the_load_names_steps_as_people_do_and_the_encoders_as_one() -> None:
    load = {
        "decode": 0.12,
        "stage/style": 1.9,
        "encode/video/720p": 0.6,
        "encode/video/240p": 0.1,
        "audio": 0.001,
    }
    assert loads(load) == "decode 12% style 100% encode 60%"
    assert sentence(state(load=load)).endswith("left; decode 12% style 100% encode 60%")


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0:00"), (26.2, "0:26"), (725, "12:05"), (3723, "1:02:03")]
)
def test_time_reads_as_on_a_clock(seconds: float, told: str) -> None:
    assert clock(seconds) == told


def test_plain_output_has_no_control_characters() -> None:
    out = io.StringIO()
    Screen(out).say("name [bold] \x1b[31m with\nlines")
    assert out.getvalue() == "name [bold] \\x1b[31m with lines\n"


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(
    plain: str, clip: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [*STREAMGEN, "run", plain, str(clip), "-o", str(tmp_path / "out.mp4")]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how Linux says that the other end of a terminal is closed
                break
            shown += piece
            if not piece:
                break
        os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[?25l" in shown and b"\x1b[?25h" in shown
    assert "12 frames in" in shown.decode().splitlines()[-1]
