from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from streamgen.cli.jobs import app
from streamgen.cli.waiting import Together, summary
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


def test_a_file_that_cannot_be_a_job_does_not_stop_the_others(jobs: Path) -> None:
    (jobs / "many").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(jobs / "in.mp4", jobs / "many" / name)
    (jobs / "many" / "no.mp4").write_text("not a film")
    done = called(
        jobs, "submit", f"{jobs}/fast.yaml", f"{jobs}/many", "-o", f"{jobs}/out/"
    )  # fmt: skip
    assert isinstance(done.exception, StreamGenError)
    assert str(done.exception) == "1 of 3 inputs are no jobs"
    assert len(done.stdout.split()) == 2
    assert "no.mp4" in done.stderr
    rows = json.loads(called(jobs, "list", "--json").stdout)
    assert [Path(row["input"]).name for row in rows] == ["a.mp4", "b.mp4"]
    listed = called(jobs, "list", "--state", "waiting")
    assert "2 jobs: 2 waiting; 0 of 600 pictures" in listed.stderr
    assert "  0 %" in listed.stdout
    assert called(jobs, "list", "--state", "done").stdout == ""
    wrong = called(jobs, "list", "--state", "going")
    assert "no state of a job: 'going'" in str(wrong.exception)


def test_to_wait_for_jobs_is_to_see_how_far_they_are(jobs: Path) -> None:
    name = submitted(jobs)
    line = [sys.executable, "-m", "streamgen.cli", "jobs"]
    environment = {**os.environ, "STREAMGEN_STORE": f"sqlite:///{jobs / 'state.db'}"}
    waiting = subprocess.Popen(
        [*line, "wait", name],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    work = [*line, "work", "--until-idle", "--no-yield"]
    subprocess.run(work, env=environment, check=True, stdout=subprocess.DEVNULL)
    said, progress = waiting.communicate(timeout=100)
    (row,) = json.loads(called(jobs, "list", "--json").stdout)
    assert row["frames_done"] == 300
    assert (waiting.returncode, said) == (0, f"{row['name']} done\n"), progress
    assert called(jobs, "wait").output == "", "nothing is under way"


def test_what_is_said_of_many_jobs_is_their_sum() -> None:
    rows = {
        "a": {"name": "a", "state": "running", "frames": 100, "frames_done": 40},
        "b": {"name": "b", "state": "failed", "frames": 900, "frames_done": 500},
        "c": {"name": "c", "state": "done", "frames": 100, "frames_done": 100},
    }
    progress = Together(rows).progress()
    assert (progress.frames, progress.total_frames) == (140, 200)
    assert summary(list(rows.values())) == (
        "3 jobs: 1 running, 1 failed, 1 done; 640 of 1100 pictures"
    )
