"""`streamgen cluster` on one machine, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("zmq")
pytest.importorskip("sqlalchemy")

from streamgen.cli import app
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, packets
from tests.control.launch.waiting import until
from tests.control.test_filler import fillers
from tests.ports import free_port

WITHIN_S = 60.0
STREAMGEN = [sys.executable, "-m", "streamgen.cli"]


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http = free_port()
        self.environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self.started: list[subprocess.Popen[bytes]] = []

    def up(self, *more: str) -> subprocess.Popen[bytes]:
        line = [*STREAMGEN, "cluster", "up", "--http", str(self.http), "--drain", "0", *more]
        with (self.folder / "log").open("ab") as log:
            self.started.append(
                subprocess.Popen(line, stdout=log, stderr=log, env=self.environment)
            )
        return self.started[-1]

    def ask(self, *arguments: str, of: str = "cluster") -> str:
        line = [*STREAMGEN, of, *arguments]
        told = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, check=True
        )
        return told.stdout

    def processes(self) -> dict[str, int]:
        return {row["name"]: row["pid"] for row in json.loads(self.ask("status", "--json"))}

    def seen(self, what: str = "nodes") -> list[str]:
        """By the coordinator."""
        rows = self.rows(what)
        return sorted(row["name"] for row in rows if row.get("state", "up") == "up")

    def rows(self, what: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.http}/v1/nodes"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())[what]
        except OSError:
            return []
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="sg-"))  # short: sockets have it in their names
    one = Machine(folder)
    yield one
    for process in one.started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(WITHIN_S)
    shutil.rmtree(folder)


def test_a_cluster_comes_up_and_ends_with_ctrl_c(machine: Machine) -> None:
    one = machine.up("--workers", "2")
    until(lambda: machine.seen() == ["streamgen-0", "streamgen-1"], "two workers join")
    running = machine.processes()
    assert set(running) == {"coordinator", "streamgen-0", "streamgen-1"}

    os.kill(running["streamgen-0"], signal.SIGKILL)
    until(lambda: machine.processes().get("streamgen-0", 0) != running["streamgen-0"], "it is gone")
    until(lambda: "streamgen-0" in machine.processes(), "it comes again")

    second = machine.up()
    assert second.wait(WITHIN_S) == 1
    assert "runs here already" in (machine.folder / "log").read_text()

    running = machine.processes()
    one.send_signal(signal.SIGINT)
    assert one.wait(WITHIN_S) == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    assert machine.processes() == {}


def test_down_ends_it_from_elsewhere(machine: Machine) -> None:
    one = machine.up()
    until(lambda: machine.seen() == ["streamgen-0"], "a worker joins")
    running = machine.processes()
    assert machine.ask("down").startswith("2 ended")
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    assert one.wait(WITHIN_S) == 0
    assert machine.ask("down").startswith("0 ended")


def test_nothing_is_left_of_one_that_was_killed(machine: Machine) -> None:
    one = machine.up()
    until(lambda: machine.seen() == ["streamgen-0"], "a worker joins")
    running = machine.processes()
    one.kill()
    one.wait()
    until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in running.values()),
        "its children end",
    )
    assert machine.processes() == {}
    machine.up()
    until(lambda: machine.seen() == ["streamgen-0"], "another takes its place")


def test_an_edge_joins_when_it_is_asked_for(machine: Machine) -> None:
    config = machine.folder / "streamgen.yaml"
    config.write_text("pipeline: transcode\nhttp: {port: 0}\nrtmp: {port: 0}\n")
    machine.up("--edge", str(config))
    until(lambda: machine.seen() == ["streamgen-0"], "a worker joins")
    until(lambda: machine.seen("edges"), "an edge joins")
    assert set(machine.processes()) == {"coordinator", "edge", "streamgen-0"}


@pytest.mark.timeout(600)  # beside other work jobs are given little
def test_workers_make_pieces_of_jobs_where_they_have_time(machine: Machine) -> None:
    machine.up("--workers", "2")
    work, clip = machine.folder / "fast.yaml", machine.folder / "in.mp4"
    work.write_text(yaml.safe_dump(FAST))
    synthetic_clip(clip, width=64, height=48, frames=260, audio=None)
    output = machine.folder / "out.mp4"
    name = machine.ask("submit", str(work), str(clip), "-o", str(output), of="jobs").strip()
    until(lambda: any(row["pieces"] for row in machine.rows("nodes")), "they begin", 300)
    assert machine.ask("wait", name, of="jobs").strip().endswith("done")
    assert len(packets(output)) == 260
    machine.ask("down")


@pytest.mark.timeout(600)
def test_a_node_that_is_emptied_gives_its_pieces_back_and_takes_some_when_it_is_used_again(
    machine: Machine,
) -> None:
    machine.up()
    work, clip = machine.folder / "fast.yaml", machine.folder / "in.mp4"
    work.write_text(yaml.safe_dump(FAST))
    synthetic_clip(clip, width=96, height=64, frames=4000, audio=None)
    order = (str(work), str(clip), "-o", str(machine.folder / "out.mp4"))
    name = machine.ask("submit", *order, of="jobs").strip()

    def at_work() -> int:
        return sum(row["pieces"] for row in machine.rows("nodes"))

    def drain(*more: str) -> str:
        where = ("--coordinator", f"http://127.0.0.1:{machine.http}")
        return machine.ask("drain", "streamgen-0", *where, *more, of="nodes")

    until(at_work, "a piece is made", 300)
    assert drain("--wait") == "streamgen-0 is empty\n"
    assert (at_work(), fillers(machine.processes()["streamgen-0"])) == (0, [])
    drain("--undo")
    until(at_work, "pieces are made again", 300)
    machine.ask("cancel", name, of="jobs")
    machine.ask("down")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--launcher", "nobody"], "unknown launcher 'nobody' (there are: local, ray"),
        (["--address", "elsewhere"], "only this machine, not 'elsewhere'"),
        (["--gpus", "1"], "no --cpus, --gpus, --strict here"),
        (["--name", "../x"], "not a name for a cluster"),
        (["--outlive", "long"], "--outlive: not a duration"),
        (["--cluster", "10.0.0.5:7100"], "need --key and --coordinator-key"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], reason: str) -> None:
    told = CliRunner().invoke(app, ["cluster", "up", *arguments])
    assert told.exit_code == 2
    assert reason in told.stderr


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "streamgen.control.launch.ray", raising=False)
    told = CliRunner().invoke(app, ["cluster", "up", "--ray"])
    assert told.exit_code == 2
    assert "pip install 'streamgen[ray]'" in told.stderr


def test_nothing_loads_ray_that_did_not_ask_for_it() -> None:
    code = "import sys, streamgen.cli.cluster, streamgen.control.launch.local; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ray" not in told.stdout.split()
