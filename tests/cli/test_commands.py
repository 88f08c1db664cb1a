from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from streamgen import __version__
from streamgen.cli import SUMMARIES, app

COMMANDS = sorted(point.name for point in entry_points(group="streamgen.commands"))


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"streamgen {__version__}\n"


def test_every_command_of_ours_is_installed_and_in_the_help() -> None:
    assert set(SUMMARIES) <= set(COMMANDS)
    told = CliRunner().invoke(app, ["--help"])
    assert told.exit_code == 0
    for name, summary in SUMMARIES.items():
        assert name in told.output and summary in told.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    told = CliRunner().invoke(app, [name, "--help"])
    assert told.exit_code == 0
    assert told.output.startswith("Usage: streamgen " + name)


def test_help_loads_no_codec_and_no_runtime() -> None:
    code = (
        "import sys; sys.argv = ['streamgen', '--help']\n"
        "from streamgen.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'av', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run"], ["run", "starry"], ["run", "starry", "x.mp4"], ["run", "--nonsense"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_status_2(arguments: list[str]) -> None:
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 2
    assert "Traceback" not in told.output


def test_a_configuration_error_is_one_line_and_status_2() -> None:
    told = CliRunner().invoke(app, ["pipelines", "show", "nonsense"])
    assert told.exit_code == 2
    assert told.stderr.startswith("streamgen: unknown pipeline 'nonsense' (there are: ")
    assert len(told.stderr.splitlines()) == 1


def test_a_traceback_is_shown_only_when_asked_for() -> None:
    told = CliRunner().invoke(app, ["-v", "pipelines", "show", "nonsense"])
    assert told.exit_code == 2
    assert "Traceback" in told.stderr
    assert told.stderr.splitlines()[-1].startswith("streamgen: unknown pipeline")


def test_a_line_break_in_a_name_does_not_break_the_line() -> None:
    told = CliRunner().invoke(app, ["pipelines", "check", "two\nlines.yaml"])
    assert told.exit_code == 2
    assert len(told.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_crash() -> None:
    command = [sys.executable, "-c", "from streamgen.cli import main; main()", "doctor", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as told:
        assert told.stdout is not None and told.stderr is not None
        told.stdout.close()
        errors = told.stderr.read().decode()
    assert "Traceback" not in errors
