"""Workers on other machines: those with a known key serve, strangers get nothing."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.ports import free_port

CLI = [sys.executable, "-m", "streamgen.cli"]


def made(path: Path) -> str:
    """A new key, and its public one."""
    told = subprocess.run([*CLI, "worker", "--new-key", str(path)], capture_output=True, check=True)
    return told.stdout.decode().strip()


class Away:
    """A worker that nobody supervises."""

    def __init__(self, folder: Path, name: str, port: int, edge: str) -> None:
        command = [*CLI, "worker", "--connect", f"tcp://127.0.0.1:{port}", "--name", name]
        command += ["--key", str(folder / f"{name}.key"), "--edge-key", edge]
        self.errors = folder / f"{name}.log"
        environment = {**os.environ, "STREAMGEN_CACHE": str(folder / "cache")}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stderr=errors, env=environment)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(15)


class Site:
    """An edge without workers of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {name: made(folder / f"{name}.key") for name in ("edge", "near", "far", "odd")}
        self.port = free_port(2)
        self.server = Server(folder, config=self.config("near", "far"), workers=0)
        self.workers: list[Away] = []

    def config(self, *names: str) -> str:
        keys = ", ".join(self.keys[name] for name in names)
        return (
            f"link: {{listen: '127.0.0.1:{self.port}', key: '{self.folder}/edge.key', "
            f"workers: [{keys}]}}\nworkers: 0\npipeline: transcode\n"
        )

    def worker(self, name: str) -> Away:
        self.workers.append(Away(self.folder, name, self.port, self.keys["edge"]))
        return self.workers[-1]

    def here(self, name: str, times: int = 1) -> bool:
        return self.server.log().count(f"worker {name} is here") >= times

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.server.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.stop()


@needs_ffmpeg
def test_a_worker_away_serves_and_a_stranger_gets_nothing(site: Site) -> None:
    server = site.server
    odd = site.worker("odd")
    site.worker("near")
    server.until(lambda: site.here("near"), "the worker")
    one = Publisher(server, "away")
    try:
        server.until(lambda: server.frames_out("away") > 20, "motion")
        assert server.stream("away")["worker"] == "near"
    finally:
        one.close()
    server.until(lambda: site.keys["odd"] in server.log(), "the refusal of the stranger")
    assert server.log().count(site.keys["odd"]) == 1
    status, text = server.get("/metrics")
    (refused,) = re.findall(r'^streamgen_link_refused_total\{.*unknown_key".*\} (\S+)', text, re.M)
    assert status == 200 and float(refused) >= 2
    assert not site.here("odd")
    server.until(lambda: "no edge answers at tcp://" in odd.errors.read_text(), "its own log", 10)
    assert "link.workers" in odd.errors.read_text()

    config = server.errors.parent / "streamgen.yaml"
    config.write_text(site.config("near", "odd"))
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: site.here("odd"), "the stranger that is known now")


@needs_ffmpeg
def test_workers_away_find_an_edge_that_comes_back_and_take_over_from_one_another(
    site: Site,
) -> None:
    server = site.server
    away = {name: site.worker(name) for name in ("near", "far")}
    server.until(lambda: site.here("near") and site.here("far"), "the workers")
    os.kill(server.pids()["edge"], signal.SIGKILL)
    server.until(lambda: site.here("near", 2) and site.here("far", 2), "the workers again", 20)
    assert all(worker.process.poll() is None for worker in away.values())
    server.until(lambda: server.log().count("listening: ") == 2, "its ports")
    found = re.findall(r"listening: http (\d+), rtmp (\d+)", server.log())
    server.http, server.rtmp = map(int, found[-1])
    one = Publisher(server, "moved")
    try:
        server.until(lambda: server.frames_out("moved") > 20, "motion")
        first = server.stream("moved")["worker"]
        away[first].process.kill()
        server.until(lambda: server.stream("moved")["took_over_s"], "the takeover", 10)
        row = server.stream("moved")
        assert row["worker"] == next(name for name in away if name != first)
        assert row["took_over_s"][0] < 2.5  # known by its connection, not by 3 s of silence
    finally:
        one.close()


def test_a_key_is_for_its_owner_only_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    public = made(path)
    assert re.fullmatch("[0-9a-f]{64}", public)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    again = subprocess.run([*CLI, "worker", "--new-key", str(path)], capture_output=True)
    assert again.returncode == 2 and b"File exists" in again.stderr
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs --link FOLDER, --connect"),
        (["--connect", "tcp://127.0.0.1:7000"], "needs --key and --edge-key"),
        (["--connect", "127.0.0.1", "--key", "{key}", "--edge-key", "{public}"], "not an address"),
        (["--connect", "a:7000", "--key", "{key}", "--edge-key", "abc"], "not a public key"),
        (["--connect", "a:7000", "--key", "/nowhere", "--edge-key", "{public}"], "No such file"),
        (["--connect", "a:7000", "--key", "{open}", "--edge-key", "{public}"], "chmod 600"),
        (["--connect", "a:7000", "--key", __file__, "--edge-key", "{public}"], "not a key"),
        (["--link", "/tmp", "--key", "{key}"], "go with --connect"),
    ],
)
def test_a_worker_that_could_not_be_let_in_does_not_start(
    tmp_path: Path, options: list[str], said: str
) -> None:
    public = made(tmp_path / "a.key")
    (tmp_path / "open.key").write_text((tmp_path / "a.key").read_text())
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "not.key").write_text("nonsense")
    (tmp_path / "not.key").chmod(0o600)
    known = {"key": tmp_path / "a.key", "open": tmp_path / "open.key", "public": public}
    given = [str(tmp_path / "not.key") if o == __file__ else o.format(**known) for o in options]
    told = subprocess.run([*CLI, "worker", *given], capture_output=True, timeout=30)
    assert told.returncode == 2
    assert said in told.stderr.decode() and told.stderr.count(b"\n") == 1


def test_an_edge_runs_alone_and_ends_when_told_to(tmp_path: Path) -> None:
    keys = {name: made(tmp_path / f"{name}.key") for name in ("edge", "near")}
    port = free_port(2)
    config = tmp_path / "streamgen.yaml"
    config.write_text(
        f"link: {{listen: '127.0.0.1:{port}', key: '{tmp_path}/edge.key', "
        f"workers: [{keys['near']}]}}\nhttp: {{port: 0}}\nrtmp: {{port: 0}}\n"
    )
    log = tmp_path / "edge.log"
    with log.open("wb") as errors:
        edge = subprocess.Popen([*CLI, "edge", "--config", str(config)], stderr=errors)
    near = Away(tmp_path, "near", port, keys["edge"])
    try:
        end = time.monotonic() + 30
        while "worker near is here" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.05)
        assert "worker near is here" in log.read_text()
        edge.terminate()
        assert edge.wait(10) == 0
    finally:
        near.stop()
        edge.kill()
        edge.wait(10)
    assert near.process.returncode == 0
