"""`make test` loses no test, no failure and no time to a process that hangs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.lines import BESIDE, FEW, REAL_TIME, everything, lines, run


def test_each_test_in_real_time_is_in_one_line_and_all_others_are_in_another() -> None:
    first, others, *rest = lines()
    files = [path for folder in REAL_TIME for path in folder.glob("**/test_*.py")]
    assert sorted(map(Path, sum(rest, first))) == sorted(files)
    assert others == [f"--ignore={folder}" for folder in REAL_TIME]


def test_statuses_and_output_of_all_commands_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    codes = ["print('a'); exit(3)", "print('b')", "import sys; sys.exit('c')"]
    assert run([[sys.executable, "-c", code] for code in codes]) == [3, 0, 1]
    assert capfd.readouterr().out.split() == ["a", "b", "c"]


def test_few_run_beside_each_other(tmp_path: Path) -> None:
    here = "import sys, time; from pathlib import Path; me = Path(sys.argv[1], sys.argv[2])"
    here += "; me.touch(); time.sleep(1); found = len(list(me.parent.iterdir())); me.unlink()"
    here += "; exit(found)"
    commands = [[sys.executable, "-c", here, str(tmp_path), str(n)] for n in range(BESIDE + 2)]
    assert max(run(commands)) == BESIDE


def test_a_command_that_hangs_is_ended() -> None:
    hangs = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert run([hangs, [sys.executable, "-c", ""]], limit_s=1.0) == [-signal.SIGABRT, 0]


TESTS = """
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range({fails}))
def test_fails(number):
    assert False


def test_is_late_once():
    tried = Path(__file__).with_name("tried")
    tried.touch() if (first := not tried.exists()) else tried.unlink()
    assert not first
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tests, in which pytest is started."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("fails", "status"), [(0, 0), (1, 1)])
def test_what_failed_beside_others_is_tried_once_more(
    here: Path, capfd: pytest.CaptureFixture[str], fails: int, status: int
) -> None:
    (here / "test_some.py").write_text(TESTS.format(fails=fails))
    assert everything([["test_some.py"], ["--version"]]) == status
    said = capfd.readouterr().out
    assert "run once more:" in said and "test_is_late_once" in said


def test_what_fails_often_is_not_tried_again(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "test_some.py").write_text(TESTS.format(fails=FEW))
    assert everything([["test_some.py"], ["--version"]]) == 1
    assert "once more" not in capfd.readouterr().out


HANGS = """
import ctypes


def test_hangs():
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
"""


def test_a_line_that_was_ended_is_not_made_good_by_tests_of_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    late, hung = tmp_path / "test_late.py", tmp_path / "test_hung.py"
    late.write_text(TESTS.format(fails=0))
    hung.write_text(HANGS)
    limits = ["-o", "faulthandler_timeout=1", "-o", "faulthandler_exit_on_timeout=true"]
    assert everything([[str(late)], [*limits, str(hung)]]) == 1
    said = capfd.readouterr().out
    assert "in test_hangs" in said and "once more" not in said
