"""Workers that a real Ray places, on three of its nodes, at a real coordinator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("zmq")
pytest.importorskip("sqlalchemy")
if find_spec("ray") is None:
    pytest.skip("ray is not installed (pip install 'streamgen[ray]')", allow_module_level=True)

from streamgen.control.keys import new_key
from streamgen.control.launch.berths import Berths
from tests.control.launch.waiting import alive, until
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
WITHIN_S = 90.0
STREAMGEN = [sys.executable, "-m", "streamgen.cli"]
ROOT = str(Path(__file__).parents[3])
RAYLETS = str(Path(__file__).with_name("raylets.py"))


def descendants(pid: int) -> dict[int, int]:
    """Processes below one, each with its parent."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid: 0}
    while more := {one: up for one, up in parents.items() if up in found and one not in found}:
        found |= more
    return found


class World:
    """A coordinator with keys, and a Ray that may be lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Of a minute, which nodes of Ray wait for their head before they end.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "8",
            # Ray itself may be there, beside what is installed.
            "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")])),
        }
        self.secret = new_key(folder / "worker.key").secret.hex()
        ours = new_key(folder / "coordinator.key")
        (folder / "peers").write_text((folder / "worker.key").read_text().split("# ")[2][:64])
        self.http, port = free_port(), free_port()
        self.joining = ["--cluster", f"127.0.0.1:{port}", "--key", str(folder / "worker.key")]
        self.joining += ["--coordinator-key", ours.public.hex()]
        line = [*STREAMGEN, "coordinator", "--store", f"sqlite:///{folder}/state.db"]
        line += ["--listen", f"127.0.0.1:{port}", "--key", str(folder / "coordinator.key")]
        line += ["--peers", str(folder / "peers"), "--http", str(self.http)]
        with (folder / "coordinator.log").open("wb") as log:
            self.coordinator = subprocess.Popen(line, stderr=log, env=self.environment)
        self.rays: list[subprocess.Popen[str]] = []
        self.address = ""

    def ray(self) -> None:
        """A new one."""
        with (self.folder / "ray.log").open("ab") as log:
            self.rays.append(
                subprocess.Popen(
                    [sys.executable, RAYLETS],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=self.environment,
                )
            )
        self.address = self._answer()

    def lose_head(self) -> None:
        inlet = self.rays[-1].stdin
        assert inlet is not None
        inlet.write("lose it\n")
        inlet.flush()
        assert self._answer() == "lost"

    def _answer(self) -> str:
        outlet = self.rays[-1].stdout
        assert outlet is not None
        answer = outlet.readline().strip()
        assert answer, (self.folder / "ray.log").read_text()
        return answer

    def command(self, *arguments: str, fails: bool = False) -> str:
        line = [*STREAMGEN, "cluster", *arguments, "--ray", "--address", self.address]
        told = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=WITHIN_S
        )
        assert (told.returncode != 0) == fails, told.stderr
        assert self.secret not in told.stdout + told.stderr
        return told.stderr if fails else told.stdout

    def up(self, *more: str) -> None:
        self.command("up", "--workers", "3", "--strict", *self.joining, *more)

    def workers(self) -> dict[str, int]:
        """Processes by name, as Ray's actors say."""
        rows = json.loads(self.command("status", "--json"))
        return {row["name"]: row["pid"] for row in rows if row["state"] == "runs"}

    def nodes(self) -> list[str]:
        """As the coordinator sees them: those that are up."""
        line = [*STREAMGEN, "nodes", "list", "--json", "--coordinator"]
        line.append(f"http://127.0.0.1:{self.http}")
        told = subprocess.run(line, env=self.environment, capture_output=True, text=True)
        rows = json.loads(told.stdout) if told.returncode == 0 else []
        return sorted(row["name"] for row in rows if row["state"] == "up")

    def actors(self) -> dict[int, int]:
        """Process ids, each with that of its Ray node."""
        found = {}
        for pid, parent in descendants(self.rays[-1].pid).items():
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Post"):
                    found[pid] = parent
            except OSError:
                continue
        return found

    def berths(self) -> Berths:
        return Berths("streamgen", self.folder / f"streamgen-{os.getuid()}")

    def end(self) -> None:
        for one in self.rays:
            assert one.stdin is not None and one.stdout is not None
            below = [pid for pid in descendants(one.pid) if pid != one.pid]
            one.stdin.close()
            one.wait(WITHIN_S)
            for pid in filter(alive, below):  # agents of Ray's nodes live on for minutes
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            one.stdout.close()
        if (self.folder / f"streamgen-{os.getuid()}").is_dir():
            self.berths().end_all()
        self.coordinator.terminate()
        self.coordinator.wait(WITHIN_S)


@pytest.fixture
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="sg-"))  # short: sockets have it in their names
    one = World(folder)
    try:
        yield one
    finally:
        one.end()
        shutil.rmtree(folder)


def test_workers_come_up_on_nodes_of_their_own_come_again_and_go(world: World) -> None:
    world.ray()
    world.up()
    workers = until(lambda: len(found := world.workers()) == 3 and found, "three workers")
    until(lambda: world.nodes() == sorted(workers), "the coordinator knows them")
    assert len(set(world.actors().values())) == 3, "each on a node of its own"
    for pid in workers.values():
        assert b"_raylet" not in Path(f"/proc/{pid}/maps").read_bytes()
        assert b"RAY_" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert world.secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()

    # An actor dies: another finds its worker.
    killed = next(iter(world.actors()))
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(world.actors().keys() - {killed}) == 3, "another actor")
    until(lambda: world.workers() == workers, "they run on")
    # A worker dies: it comes again.
    name, pid = next(iter(workers.items()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: world.workers().get(name, pid) != pid, "a worker of the same name")
    until(lambda: world.nodes() == sorted(workers), "the coordinator knows it")

    # All are restarted, one after the other, by the keepers that hold them.
    former = world.workers()
    said = world.command("restart", "--coordinator", f"http://127.0.0.1:{world.http}")
    assert [line.split(" ")[0] for line in said.splitlines()[1::2]] == sorted(former)
    last = world.workers()
    assert last.keys() == former.keys() and not {*last.values()} & {*former.values()}

    assert "is up" in world.command("up", *world.joining, fails=True)
    assert world.command("down").startswith("3 ended")
    assert not any(map(alive, last.values()))
    assert not list(world.berths().all())
    assert json.loads(world.command("status", "--json")) == []
    assert world.actors() == {}
    until(lambda: world.nodes() == [], "the coordinator sees that they left")
    # Nothing is in the way of others; one with a GPU is known by that.
    world.command("up", "--workers", "1", "--gpus", "1", *world.joining)
    [(name, pid)] = world.workers().items()
    assert name.endswith("-gpu0")
    assert b"CUDA_VISIBLE_DEVICES=0\0" in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"\0--own-gpu\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    until(lambda: world.nodes() == [name], "the coordinator knows it")
    world.command("down")


def test_workers_run_on_when_ray_s_head_is_lost_and_are_found_again(world: World) -> None:
    world.ray()
    world.up()
    workers = until(lambda: len(found := world.workers()) == 3 and found, "three workers")
    until(lambda: world.nodes() == sorted(workers), "the coordinator knows them")
    actors = list(world.actors())
    world.lose_head()
    until(lambda: not any(map(alive, actors)), "Ray's nodes give up, and so do its actors")
    assert all(map(alive, workers.values()))
    assert world.nodes() == sorted(workers)

    world.ray()
    left = json.loads(world.command("status", "--json"))
    assert {row["name"]: row["pid"] for row in left} == workers
    assert {row["state"] for row in left} == {"runs, held by nobody"}
    world.up()
    assert world.workers() == workers, "the same, and no others"
    assert world.nodes() == sorted(workers)
    world.command("down")
    assert not any(map(alive, workers.values()))


def test_what_cannot_start_is_said_and_nothing_is_left(world: World) -> None:
    world.ray()
    assert "no room" in world.command(
        "up", "--workers", "3", "--cpus", "2", "--wait", "2s", *world.joining, fails=True
    )
    assert "no machine with 2 GPUs" in world.command(
        "up", "--gpus", "2", *world.joining, fails=True
    )
    (world.folder / "worker.key").chmod(0o644)
    assert "chmod 600" in world.command("up", "--workers", "2", *world.joining, fails=True)
    assert json.loads(world.command("status", "--json")) == []
    assert "need --cluster" in world.command("up", fails=True)
