"""What was measured on a machine is kept for its workers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.control import measured
from streamgen.control.coordinator.commands import Assign
from streamgen.control.coordinator.events import StreamWanted
from streamgen.control.measured import MeasuredProfiles
from streamgen.control.placement.catalogue import MOST_PROFILES
from streamgen.control.placement.profiles import Profiles
from streamgen.control.placement.resources import Profile, Resources, Standing, Subject
from streamgen.control.placement.scheduler import Work
from streamgen.pipeline import load_pipeline
from tests.control.coordinator.acting import Cluster, Edge, until

pytest.importorskip("zmq")
pytest.importorskip("fastapi")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    yield cluster
    cluster.close()


PIPELINE = """
name: plain
ladder: [{height: source, bitrate: 300k}]
audio: {codec: none}
live: {latency_budget: 5s}
"""


@contextmanager
def worker(cluster: Cluster, name: str) -> Iterator[None]:
    """A real one. It reads the keys of the cluster's folder."""
    line = [sys.executable, "-m", "streamgen.cli", "worker", "--name", name]
    line += ["--cluster", cluster.places[0], "--key", str(cluster.folder / f"{name}.key")]
    process = subprocess.Popen([*line, "--coordinator-key", cluster.key.public.hex()])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_worker_tells_what_streamgen_profile_measured_and_streams_are_planned_by_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, a coordinator and a worker as they are; the edge asks for a stream."""
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "plain.yaml"
    file.write_text(PIPELINE)
    size = ["--size", "320x180", "--rate", "10", "--seconds", "2"]
    done = CliRunner().invoke(app, ["profile", str(file), *size, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert not answer["notes"]
    measured = Resources(**answer["needs"][0])
    said = Profiles().profile(load_pipeline(str(file)), 320, 180, 10.0)
    assert said.needs[0].memory_mb != measured.memory_mb > 0

    async def work() -> None:
        leader = cluster.start(0)
        await until(leader.leads, "it leads")
        cluster.known("node-1")  # it may come in
        with worker(cluster, "node-1"):
            await until(lambda: leader.get("/v1/nodes")[1]["nodes"], "the worker registers")
            [node] = leader.get("/v1/nodes")[1]["nodes"]
            [known] = node["profiles"]
            assert (known["name"], known["needs"]) == (
                "plain-180p10",
                {"cpu_ms": measured.cpu_ms, "memory_mb": measured.memory_mb},
            )
            async with Edge("edge-1").there(cluster) as edge:
                assert edge.peer is not None
                edge.wanted["cam"] = Work("cam", said, Standing.LIVE_FREE)
                edge.peer.say(StreamWanted(edge.wanted["cam"], None))
                await edge.gets("cam")
            assert isinstance(edge.told[-1], Assign)
            assert edge.told[-1].work.profile.needs[0] == measured

    asyncio.run(work())


def profile(number: int, cpu_ms: int = 400) -> Profile:
    needs = Resources(cpu_ms=cpu_ms, memory_mb=90), Resources(cpu_ms=90, memory_mb=80)
    return Profile(f"p{number}", needs, subject=Subject(f"p{number}-ab", 320, 180, 10))


def test_the_latest_measurement_of_a_thing_is_read_and_damaged_files_are_none(
    tmp_path: Path,
) -> None:
    kept = MeasuredProfiles(tmp_path)
    assert kept.read() == ()
    kept.write(profile(1))
    kept.write(profile(2))
    kept.write(profile(1, cpu_ms=500))
    assert set(kept.read()) == {profile(1, cpu_ms=500), profile(2)}
    [folder] = (tmp_path / "profiles").iterdir()
    (folder / "p3.json").write_bytes(b"\xff{")
    more = profile(2).needs[::-1]
    text = f'{{"name": "p", "needs": [{more[0].cpu_ms}]}}'
    (folder / "p4.json").write_text(text)
    (folder / "p5.json").write_text(
        '{"name": "p", "needs": [{"cpu_ms": 1}, {"cpu_ms": 2}], "models": [], "subject": null}'
    )
    assert set(kept.read()) == {profile(1, cpu_ms=500), profile(2)}


def test_another_machine_with_the_same_folder_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MeasuredProfiles(tmp_path).write(profile(1))
    monkeypatch.setattr(measured, "processor", lambda: "another one")
    assert MeasuredProfiles(tmp_path).read() == ()


def test_as_many_are_read_as_a_node_may_have_the_latest_first(tmp_path: Path) -> None:
    kept = MeasuredProfiles(tmp_path)
    for number in range(MOST_PROFILES + 3):
        kept.write(profile(number))
    [folder] = (tmp_path / "profiles").iterdir()
    for file in folder.iterdir():
        number = int(json.loads(file.read_bytes())["name"].removeprefix("p"))
        os.utime(file, (number, number))
    names = [one.name for one in kept.read()]
    assert len(names) == MOST_PROFILES and names[0] == f"p{MOST_PROFILES + 2}"
    assert "p2" not in names


@pytest.mark.parametrize("name", ["blur/soft", "../../elsewhere", "x" * 300])
def test_a_pipeline_may_have_any_name(tmp_path: Path, name: str) -> None:
    subject = Subject(f"{name}-ab", 320, 180, 10)
    odd = Profile(name, profile(1).needs, subject=subject)
    MeasuredProfiles(tmp_path / "cache").write(odd)
    assert MeasuredProfiles(tmp_path / "cache").read() == (odd,)
    assert [one.name for one in tmp_path.iterdir()] == ["cache"]
