from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app

PROGRAM = 'import sys\nif __name__ == "__main__":\n    sys.exit({status})\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("streamgen.cli.bench.FOLDER", tmp_path)
    return tmp_path


def test_without_a_source_checkout_it_says_where_the_benchmarks_are(folder: Path) -> None:
    told = CliRunner().invoke(app, ["bench"])
    assert told.exit_code == 2
    assert "source checkout" in told.stderr


def test_an_unknown_benchmark_is_answered_with_those_there_are(folder: Path) -> None:
    (folder / "good.py").write_text(PROGRAM.format(status=0))
    (folder / "shared.py").write_text("CLIP = 1\n")
    told = CliRunner().invoke(app, ["bench", "nonsense"])
    assert told.exit_code == 2
    assert told.stderr.endswith("(there are: good)\n")


def test_a_benchmark_that_fails_fails_the_command(folder: Path) -> None:
    (folder / "good.py").write_text(PROGRAM.format(status=0))
    assert CliRunner().invoke(app, ["bench", "good"]).exit_code == 0
    (folder / "wrong.py").write_text(PROGRAM.format(status=3))
    told = CliRunner().invoke(app, ["bench"])
    assert told.exit_code == 1
    assert "benchmark wrong failed with status 3" in told.stderr


def test_a_benchmark_that_works_on_a_clip_is_given_one(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "clipped.py").write_text(
        'import sys\nif __name__ == "__main__":\n    print(sys.argv[1:], "--clip" in sys.argv)\n'
    )
    told = CliRunner().invoke(app, ["bench", "clipped"])
    assert told.exit_code == 2 and "needs --clip FILE" in told.stderr
    assert CliRunner().invoke(app, ["bench", "clipped", "--clip", "a b.mp4"]).exit_code == 0
    assert capfd.readouterr().out == "['--clip', 'a b.mp4'] True\n"


def test_what_stands_after_two_dashes_is_for_the_benchmark(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.py").write_text(
        'import sys\nif __name__ == "__main__":\n    print(sys.argv[1:])\n'
    )
    told = CliRunner().invoke(app, ["bench", "--json", "rows", "--", "one", "--seconds", "5"])
    assert told.exit_code == 0
    assert capfd.readouterr().out == "['--json', 'one', '--seconds', '5']\n"
