"""All workers of a cluster are restarted, and no picture is missing or shown twice."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.control.launch.test_local import STREAMGEN, Machine
from tests.live.numbered import RATE, Watched, published, tape
from tests.live.playing import Player
from tests.live.playlists import renditions
from tests.live.serving import NO_TIME, Publisher, Server, needs_ffmpeg
from tests.ports import free_port

pytestmark = needs_ffmpeg
SECONDS = 150


class Edge(Server):
    """That of a cluster, which others start and end."""

    def __init__(self, folder: Path) -> None:
        self.errors = folder / "log"
        self.http, self.rtmp = free_port(), free_port()
        self.config = folder / "streamgen.yaml"
        listens = [f"{name}: {{listen: 127.0.0.1:{port}}}\n" for name, port in self.ports]
        self.config.write_text("pipeline: transcode\n" + "".join(listens))

    @property
    def ports(self) -> list[tuple[str, int]]:
        return [("http", self.http), ("rtmp", self.rtmp)]

    def ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=10) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


@contextmanager
def up(workers: int) -> Iterator[tuple[Machine, Edge]]:
    """A coordinator, workers and an edge, by `streamgen cluster up`."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))  # short: sockets have it in their names
    machine, edge = Machine(folder), Edge(folder)
    cluster = machine.up("--workers", str(workers), "--edge", str(edge.config))
    try:
        edge.until(lambda: len(machine.seen()) == workers and edge.ready(), "a cluster", 90)
        yield machine, edge
    finally:
        cluster.terminate()
        cluster.wait(60)
        print((folder / "log").read_text(errors="replace")[-6000:])
        shutil.rmtree(folder)


@contextmanager
def sent(edge: Edge, file: Path) -> Iterator[None]:
    """As the stream `show`."""
    with published(edge, "show", file) as publisher:
        try:
            yield
        finally:
            publisher.kill()


def told(machine: Machine, *command: str) -> subprocess.Popen[str]:
    """A command of the cluster, which asks its coordinator."""
    line = [*STREAMGEN, *command, "--coordinator", f"http://127.0.0.1:{machine.http}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, env=machine.environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.timeout(400)
def test_all_workers_are_restarted_and_viewers_miss_no_picture(tmp_path: Path) -> None:
    file = tape(tmp_path / "numbered.flv", SECONDS * RATE, gop=RATE)
    with up(3) as (machine, edge), sent(edge, file):
        places = edge.until(lambda: renditions(edge, "show"), "playlists", 60)
        rungs = [Watched(edge, place) for place in places if "audio" not in place]

        def shows(pictures: int) -> bool:
            for rung in rungs:
                rung.look()
            return edge.frames_out("show") >= pictures

        edge.until(lambda: shows(2 * RATE), "motion", 60)
        before = machine.processes()
        with Player(edge, "show") as player, told(machine, "cluster", "restart") as restart:
            edge.until(lambda: shows(0) and restart.poll() is not None, "the end of it", 200)
            said, complaints = restart.communicate()
            assert restart.returncode == 0, complaints
            more = edge.frames_out("show") + 3 * RATE
            edge.until(lambda: shows(more), "motion", 60)
        row, after = edge.stream("show"), machine.processes()

    print(said)
    workers = [name for name in before if name.startswith("streamgen-")]
    assert [line.partition(" after ")[0] for line in said.splitlines()] == [
        f"{name} is {what}" for name in sorted(workers) for what in ("empty", "back")
    ]
    assert {name for name in before if before[name] != after[name]} == set(workers)
    assert row["took_over_s"] == [] and not row["takeovers"].get("worker_lost")
    assert player.wrong == [] and not player.gaps and player.parts > 20
    lost = sum(number for why, number in row["stats"]["dropped"].items() if why in NO_TIME)
    for rung in rungs:
        numbers = rung.numbers()
        assert all(one < two for one, two in pairwise(numbers)), "none twice, none out of turn"
        assert numbers[-1] - numbers[0] + 1 - len(numbers) <= lost


@pytest.mark.timeout(200)
def test_where_no_other_node_has_room_the_node_and_its_streams_go_on() -> None:
    with up(1) as (machine, edge), closing(Publisher(edge, "cam", seconds=120)):
        edge.until(lambda: edge.frames_out("cam") > RATE, "motion", 60)
        before = machine.processes()
        for command in (["cluster", "restart"], ["nodes", "drain", "streamgen-0", "--wait"]):
            with told(machine, *command) as one:
                _, complaints = one.communicate(timeout=60)
                assert one.returncode == 1
            why = "streamgen: streamgen-0 goes on: no other node has room for cam\n"
            assert complaints == why
        assert machine.processes() == before
        assert [row["state"] for row in machine.rows("nodes")] == ["up"]
        shown = edge.frames_out("cam")
        edge.until(lambda: edge.frames_out("cam") > shown + RATE, "motion")
