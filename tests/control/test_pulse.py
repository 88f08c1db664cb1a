"""A process in which nothing runs any more ends by itself, and says where it stood."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, time
from streamgen.control.pulse import keep_pulse
keep_pulse(2.0)
{held}(5)
"""


def run(held: str) -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(held=held)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_a_library_that_keeps_the_lock_of_the_interpreter_ends_the_process() -> None:
    ended = run("ctypes.PyDLL(None).sleep")
    assert ended.returncode == 1
    assert "<module>" in ended.stderr and "Timeout" in ended.stderr


def test_a_process_that_only_waits_lives() -> None:
    ended = run("time.sleep")
    assert (ended.returncode, ended.stderr) == (0, "")
