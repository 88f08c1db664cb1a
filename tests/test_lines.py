"""`make test` loses no test, no failure and no time to a process that hangs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.lines import LIVE, lines, run


def test_each_live_test_is_in_one_line_and_all_others_are_in_the_third() -> None:
    first, second, others = lines()
    assert sorted(map(Path, first + second)) == sorted(LIVE.glob("**/test_*.py"))
    assert others == [f"--ignore={LIVE}"]


def test_statuses_and_output_of_all_commands_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    codes = ["print('a'); exit(3)", "print('b')", "import sys; sys.exit('c')"]
    assert run([[sys.executable, "-c", code] for code in codes]) == [3, 0, 1]
    assert capfd.readouterr().out.split() == ["a", "b", "c"]


def test_a_command_that_hangs_is_ended() -> None:
    hangs = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert run([hangs, [sys.executable, "-c", ""]], limit_s=1.0) == [-signal.SIGABRT, 0]
