"""A cluster as on machines of its own: TCP with keys between all parts, and networks to cut."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from streamgen.control.keys import new_key
from tests.live.numbered import Watched, published
from tests.live.playlists import renditions
from tests.live.serving import Server
from tests.live.wires import Way

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("node-1", "node-2")
PIPELINE: dict[str, Any] = {
    "stages": ["signed"],
    "ladder": [{"height": 180, "bitrate": "400k"}, {"height": 90, "bitrate": "150k"}],
    "live": {"latency_budget": "1s"},
}


class Apart:
    """A coordinator, an edge and two workers, each of which signs its pictures. `with` starts and
    ends them; the caller is on the edge's host meanwhile."""

    edge: Server

    def __init__(self, folder: Path, way: Way, store: str = "") -> None:
        """`store` is a URL; default: a file."""
        self.folder, self._way = folder, way
        self._store = store or f"sqlite:///{folder}/state.db"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        names = ("coordinator", "edge", *WORKERS)
        self._keys = {name: new_key(folder / f"{name}.key").public.hex() for name in names}
        peers = [f"{self._keys[name]} {name}\n" for name in ("edge", *WORKERS)]
        (folder / "peers").write_text("".join(peers))
        self._listens, self._coordinator = way.place("coordinator", 7100)
        self._open = ExitStack()

    def __enter__(self) -> Apart:
        site = signing(self.folder)
        self._environment = {
            **os.environ,
            "STREAMGEN_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        }
        try:
            self.coordinator()
            for name in WORKERS:
                self.worker(name)
            self._open.enter_context(self._way.inside("edge"))
            self.edge = self._edge()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.edge.stop()
        self._end()

    def _end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)
        self._open.close()

    def coordinator(self) -> None:
        """Start it, or start it again."""
        options = ["--store", self._store, "--listen", self._listens, "--lease", "4s"]
        options += ["--key", str(self.folder / "coordinator.key")]
        self._start("coordinator", *options, "--peers", str(self.folder / "peers"))

    def worker(self, name: str) -> None:
        options = ["--cluster", self._coordinator, "--key", str(self.folder / f"{name}.key")]
        options += ["--coordinator-key", self._keys["coordinator"], "--name", name]
        self._start(name, *options)

    def _start(self, name: str, *options: str) -> None:
        kind = "coordinator" if name == "coordinator" else "worker"
        command = [sys.executable, "-m", "streamgen.cli", kind, *options]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self._way.command(name), *command],
                stdout=log,
                stderr=log,
                env={**self._environment, "SIGNED": str(signature(name))},
            )

    def _edge(self) -> Server:
        folder = self.folder / "edge"
        folder.mkdir()
        listens, found = self._way.place("edge", 7000)
        key = self.folder / "edge.key"
        workers = ", ".join(self._keys[name] for name in WORKERS)
        config = "pipeline: transcode\nworkers: 0\n"
        config += f"link: {{listen: '{listens}', key: {key}, workers: [{workers}]}}\n"
        config += f"cluster: {{name: edge, coordinators: ['{self._coordinator}'], key: {key}, "
        config += f"coordinator_key: {self._keys['coordinator']}, link: '{found}'}}\n"
        return Server(folder, config=config, workers=len(WORKERS), environment=self._environment)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    def logs(self) -> str:
        """The ends of all that was said."""
        paths = sorted([*self.folder.glob("*.log"), *self.folder.glob("*/serve.log")])
        ends = [(path.name, path.read_text(errors="replace")[-3000:]) for path in paths]
        return "\n".join(f"--- {name}\n{end}" for name, end in ends)


def signature(name: str) -> int:
    return WORKERS.index(name) + 1 if name in WORKERS else 0


def signing(folder: Path) -> Path:
    """Where Python finds the stage `signed`."""
    site = folder / "site"
    info = site / "signed_stages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signed-stages\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[streamgen.stages]\nsigned = tests.live.stages:Signed\n"
    )
    return site


class Show:
    """A stream of numbered pictures, sent in real time, and what a player of each rung gets."""

    def __init__(self, server: Server, name: str, file: Path) -> None:
        self.server, self.name = server, name
        said = server.get(f"/v1/streams/{name}", "PUT", {"pipeline": {"name": name, **PIPELINE}})
        assert said[0] in (200, 202), said
        self._publisher = published(server, name, file)
        try:
            places = server.until(lambda: renditions(server, name), "playlists", 60)
        except BaseException:
            self.end()
            raise
        self.rungs = [Watched(server, place) for place in places if "audio" not in place]

    def end(self) -> None:
        self._publisher.kill()
        self._publisher.wait(10)

    @property
    def row(self) -> dict[str, Any]:
        return self.server.stream(self.name)

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Wait, and look at all rungs meanwhile."""

        def look() -> Any:
            for rung in self.rungs:
                rung.look()
            return holds()

        return self.server.until(look, what, seconds)

    def shows(self, pictures: int) -> None:
        """Wait for so many more."""
        want = self.server.frames_out(self.name) + pictures
        self.until(lambda: self.server.frames_out(self.name) >= want, f"{pictures} pictures")

    def given_up(self) -> dict[str, int]:
        """Pictures that are told as lost, by reason: the machine had no time for them, or a cut
        network held them back for too long."""
        dropped = dict(self.row["stats"]["dropped"])
        dropped.pop("starting", None)
        return dropped


def out_of_turn(shown: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pictures, number and signature, that come after a later one, or of two owners: somebody
    published beside the owner. One owner may show one picture for longer: by it a gap is filled
    up to where the next segment begins."""
    return [
        (number, owner)
        for (before, former), (number, owner) in pairwise(shown)
        if before >= number and (before, former) != (number, owner)
    ]


def owners(shown: Sequence[tuple[int, int]]) -> list[int]:
    """Whose pictures came, one after the other."""
    return [owner for owner, _ in groupby(owner for _, owner in shown)]


def one_owner_at_a_time(rung: Watched) -> list[int]:
    """Whose pictures came, one after the other, and never one in between."""
    shown = rung.signed()
    assert out_of_turn(shown) == [], rung.place
    return owners(shown)


def missing(rung: Watched) -> int:
    """Pictures between the first and the last that never came."""
    numbers = rung.numbers()
    return numbers[-1] - numbers[0] + 1 - len(set(numbers))


def longest_gap(rung: Watched) -> int:
    """The most pictures in a row that never came."""
    return max((b - a - 1 for a, b in pairwise(rung.numbers())), default=0)
