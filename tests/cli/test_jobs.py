from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from streamgen.cli.jobs import app
from streamgen.errors import ConfigError, StreamGenError
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, left_over


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "fast.yaml").write_text(yaml.safe_dump(FAST))
    synthetic_clip(tmp_path / "in.mp4", width=64, height=48, frames=300, audio=None)
    return tmp_path


def called(jobs: Path, *words: str) -> Result:
    environment = {"STREAMGEN_STORE": f"sqlite:///{jobs / 'state.db'}"}
    return CliRunner().invoke(app, list(words), env=environment)


def submitted(jobs: Path) -> str:
    done = called(
        jobs, "submit", f"{jobs}/fast.yaml", f"{jobs}/in.mp4", "-o", f"{jobs}/out.mp4",
        "--set", "keyframe_interval=2s",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_a_job_is_listed_shown_and_cancelled(jobs: Path) -> None:
    name = submitted(jobs)
    assert submitted(jobs) == name
    (row,) = json.loads(called(jobs, "list", "--json").output)
    assert (row["name"], row["state"], row["frames"]) == (name, "waiting", 300)
    assert f"{name}  waiting" in called(jobs, "list").output
    assert json.loads(called(jobs, "show", name).output) == row
    assert called(jobs, "cancel", name).output == "cancelled\n"
    assert left_over(jobs) == []
    waited = called(jobs, "wait", name)
    assert isinstance(waited.exception, StreamGenError)
    assert str(waited.exception) == f"{name}: cancelled"


def test_a_job_that_is_not_there_is_named(jobs: Path) -> None:
    shown = called(jobs, "show", "nothing")
    assert isinstance(shown.exception, ConfigError)
    assert str(shown.exception) == "there is no job 'nothing'"


def test_without_its_libraries_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None; sys.argv = ['streamgen', 'jobs', 'list']"
    code += "; from streamgen.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "streamgen: 'jobs' needs sqlalchemy, which comes with an extra: "
        "pip install 'streamgen[cluster]'\n"
    )
