"""`ask`: what of an NVIDIA GPU works here, each part tried in a process of its own.

A driver may hang or crash, and a library may end the process that loads it. What is tried is one
module of this folder: it prints one line and ends with status 0, or fails, and the last line of its
complaint is the reason.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

PARTS = ("driver", "nvdec", "nvenc", "nvrtc", "tensorrt", "torch")
"""Modules of this folder that are tried."""
PATIENCE_S = 30.0
"""torch alone takes seconds to load."""
PYTHON = (sys.executable, "-P", "-m")
"""Without the folder that doctor is called in: a file there may have any name."""
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)")
_EXTRAS = {"cuda": "cuda-core (the extra gpu)"}
"""What brings a module that is not named for its package."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of trying one part."""

    part: str
    works: bool
    detail: str
    """One line: what it is when it works, the reason when it does not."""


def ask(
    parts: Sequence[str] = PARTS,
    *,
    timeout_s: float = PATIENCE_S,
    python: Sequence[str] = PYTHON,
) -> list[Answer]:
    """Try all at the same time. Never raises; whatever is not done in time is ended."""
    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(partial(_ask, timeout_s, python), parts))


def _ask(timeout_s: float, python: Sequence[str], part: str) -> Answer:
    try:
        done = subprocess.run(
            [*python, f"{__name__}.{part}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(part, False, f"did not answer within {timeout_s:g} s")
    except OSError as error:
        return Answer(part, False, f"could not be asked: {error}")
    said, complained = _last_line(done.stdout), _last_line(done.stderr)
    if done.returncode == 0 and said:
        return Answer(part, True, said)
    if done.returncode < 0:
        return Answer(part, False, f"crashed with {_signal(-done.returncode)}")
    if missing := _MISSING.match(complained):
        name = _EXTRAS.get(missing[1], missing[1])
        return Answer(part, False, f"{name} is not installed")
    return Answer(part, False, complained or f"ended with status {done.returncode}")


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
