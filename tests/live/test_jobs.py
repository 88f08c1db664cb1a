"""Jobs by the API of a real server, asked over HTTP and by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, left_over
from tests.live.serving import Server

KEY = "the-key-of-ops"
CONFIG = """
auth: {{admin_keys: {{ops: {key}}}}}
pipeline: transcode
workers: 1
store: sqlite:///{folder}/state.db
media_roots: [{folder}/media]
"""


@dataclass(frozen=True, slots=True)
class Jobs:
    """A server, and the folder its jobs may name."""

    server: Server
    media: Path

    def ask(
        self, method: str, path: str = "", body: Any = None, *, key: str = KEY
    ) -> tuple[int, str, Any]:
        """Status, type and JSON of the answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.http}/v1/jobs{path}",
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {key}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers["content-type"], json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], json.load(error)

    def request(self, **changes: Any) -> dict[str, Any]:
        files = {"input": f"{self.media}/in.mp4", "output": f"{self.media}/out.mp4"}
        return {"pipeline": FAST, **files} | changes

    def called(self, *words: str, status: int = 0) -> str:
        """What `streamgen jobs` says that asks this server."""
        where = ["--server", f"http://127.0.0.1:{self.server.http}"]
        line = [sys.executable, "-m", "streamgen.cli", "jobs", *words, *where]
        environment = {"PATH": "/usr/bin:/bin", "STREAMGEN_SERVER_TOKEN": KEY}
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "media").mkdir()
    synthetic_clip(folder / "media" / "in.mp4", width=96, height=64, frames=300)
    synthetic_clip(folder / "private.mp4", width=96, height=64, frames=30)
    server = Server(folder, config=CONFIG.format(folder=folder, key=KEY), workers=1)
    try:
        yield Jobs(server, folder / "media")
    finally:
        server.stop()


def test_a_job_is_submitted_listed_shown_and_cancelled(jobs: Jobs) -> None:
    status, _, row = jobs.ask("POST", body=jobs.request(priority=3))
    assert (status, row["state"], row["frames"], row["priority"]) == (201, "waiting", 300, 3)
    assert jobs.ask("POST", body=jobs.request())[2]["name"] == row["name"]
    assert jobs.ask("GET")[2] == [row]
    assert jobs.ask("GET", f"/{row['name']}")[2] == row
    assert jobs.ask("DELETE", f"/{row['name']}")[2]["state"] == "cancelled"
    assert left_over(jobs.media) == []


def test_the_command_line_asks_a_server(jobs: Jobs) -> None:
    output = f"{jobs.media}/by-line.mp4"
    words = ["submit", "transcode", f"{jobs.media}/in.mp4", "-o", output]
    name = jobs.called(*words).strip()
    assert jobs.called(*words).strip() == name
    store = jobs.media.parent / "state.db"
    work = [sys.executable, "-m", "streamgen.cli", "jobs", "work", "--until-idle", "--no-yield"]
    subprocess.run([*work, "--store", f"sqlite:///{store}"], check=True, timeout=120)
    assert jobs.called("wait", name) == f"{name} done\n"
    assert json.loads(jobs.called("show", name))["report"]["frames_out"] == 300
    assert name in jobs.called("list")
    assert jobs.called("cancel", name) == "done\n"
    assert Path(output).exists()
    assert "there is no job 'none'" in jobs.called("show", "none", status=2)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"input": "{folder}/private.mp4"}, "media_roots"),
        ({"output": "{folder}/out.mp4"}, "media_roots"),
        ({"input": "http://127.0.0.1/a.mp4"}, "whole path"),
        ({"output": "{folder}/media/in.mp4", "overwrite": True}, "in.mp4"),
        ({"pipeline": "/etc/passwd"}, "no pipeline"),
        ({"pipeline": FAST | {"stages": [{"overlay": {"picture": "/etc/passwd"}}]}}, "media_roots"),
        ({"priority": 10**9}, "priority"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_may_not_be_is_refused_with_its_reason(
    changes: dict[str, Any], why: str, jobs: Jobs
) -> None:
    folder = str(jobs.media.parent)
    changes = {
        key: value.format(folder=folder) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    status, kind, problem = jobs.ask("POST", body=jobs.request(**changes))
    assert (status, kind) == (422, "application/problem+json")
    assert why in problem["detail"]
    assert left_over(jobs.media) == []


def test_jobs_are_counted_for_prometheus(jobs: Jobs) -> None:
    row = jobs.ask("POST", body=jobs.request(output=f"{jobs.media}/counted.mp4"))[2]
    url = f"http://127.0.0.1:{jobs.server.http}/metrics"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {KEY}"})

    def told() -> dict[str, str]:
        with urllib.request.urlopen(request, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("streamgen_job"))

    one = 'streamgen_jobs{state="waiting"}'
    jobs.server.until(
        lambda: told().get(one) == "1.0", "figures of the job"
    )  # they are kept a while
    assert told()['streamgen_job_pieces{state="waiting"}'] == f"{row['pieces']:.1f}"
    jobs.ask("DELETE", f"/{row['name']}")
    jobs.server.until(lambda: told().get(one) == "0.0", "figures without it")


def test_jobs_are_for_administrators(jobs: Jobs) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("DELETE", "/x")):
        body = jobs.request() if method == "POST" else None
        assert jobs.ask(method, path, body, key="another")[0] in (401, 403)
    status, kind, problem = jobs.ask("GET", "/none")
    assert (status, kind) == (404, "application/problem+json")
    assert problem["detail"] == "there is no job 'none'"


def test_the_reference_has_jobs(jobs: Jobs) -> None:
    status, told = jobs.server.get("/openapi.json")
    assert status == 200
    assert set(told["paths"]["/v1/jobs"]) == {"get", "post"}
    assert set(told["paths"]["/v1/jobs/{name}"]) == {"get", "delete"}
