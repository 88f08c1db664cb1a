"""A cluster of real processes on one machine: coordinators, edges and workers, in folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from streamgen.control.keys import new_key
from tests.live.playlists import Seen, renditions
from tests.live.serving import Server
from tests.ports import free_port

LEASE = "4s"


class Cluster:
    """Two coordinators of which one leads, some edges, two workers; `with` ends all of them."""

    def __init__(
        self, folder: Path, edges: Sequence[str] = ("edge-a", "edge-b"), config: str = ""
    ) -> None:
        """`config` is more of what all edges have in their files."""
        self.folder = folder
        self._config = config
        self._names = edges
        self.places = [folder / "c0", folder / "c1"]
        self.http = [free_port(), free_port()]
        """Of the coordinators' APIs."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.edges: dict[str, Server] = {}
        self._key = folder / "key"
        new_key(self._key)

    def __enter__(self) -> Cluster:
        try:
            self.coordinator(0)
            for name in self._names:
                self.edge(name)
            for name in ("node-1", "node-2"):
                self.worker(name)
            for edge in self.edges.values():
                edge.until(partial(self._here, edge, 2), "workers", 60)
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
        self._end()

    def _end(self) -> None:
        for edge in self.edges.values():
            edge.stop()
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def _started(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "streamgen.cli", *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "STREAMGEN_CACHE": str(self.folder / "cache")},
            )

    def coordinator(self, number: int) -> None:
        """Start this one of the two. They share a key and the store."""
        store = f"sqlite:///{self.folder}/state.db"
        options = ["--store", store, "--folder", str(self.places[number]), "--lease", LEASE]
        options += ["--key", str(self._key), "--http", str(self.http[number])]
        self._started(f"coordinator-{number}", "coordinator", *options)

    def worker(self, name: str) -> None:
        clusters = [part for place in self.places for part in ("--cluster", str(place))]
        self._started(name, "worker", "--name", name, *clusters)

    def edge(self, name: str) -> None:
        """Start it, also once more; it has other ports then."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        places = ", ".join(str(place) for place in self.places)
        config = "pipeline: transcode\nworkers: 0\n"
        config += f"cluster: {{name: {name}, coordinators: [{places}]}}\n"
        config += self._config
        self.edges[name] = Server(folder, config=config, workers=0)

    @staticmethod
    def _here(edge: Server, workers: int) -> bool:
        return edge.log().count(" is here") >= workers

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait(10)

    def kill_edge(self, name: str) -> None:
        """And who would start it again."""
        edge = self.edges[name]
        number = edge.pids()["edge"]
        os.kill(number, signal.SIGSTOP)  # else it would see that its parent is gone, and say so
        edge.process.kill()
        os.kill(number, signal.SIGKILL)
        edge.stop()

    def logs(self) -> str:
        """The ends of all that was said."""
        found = []
        for path in sorted([*self.folder.glob("*.log"), *self.folder.glob("*/serve.log")]):
            found.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(found)


class Watched:
    """What a player of every rendition has seen of a stream."""

    def __init__(self, edge: Server, name: str) -> None:
        self.edge, self.name = edge, name
        places = edge.until(lambda: renditions(edge, name), f"playlists of {name}", 30)
        self.seen = {place: Seen() for place in places}

    def look(self) -> bool:
        for place, one in self.seen.items():
            one.look(self.edge.get(place)[1])
        return False

    def moves(self, pictures: int = 25) -> None:
        """Wait for so many more pictures."""
        want = self.edge.frames_out(self.name) + pictures
        self.edge.until(lambda: self.look() or self.edge.frames_out(self.name) > want, "motion", 30)

    @property
    def worker(self) -> str:
        return str(self.edge.stream(self.name).get("worker"))

    def gets_to(self, worker: str, seconds: float = 30) -> None:
        """Wait until this worker has the stream."""
        self.edge.until(lambda: self.look() or self.worker == worker, f"move to {worker}", seconds)

    def knows(self, worker: str, times: int) -> None:
        """Wait until this worker has come to the edge so many times."""
        said = f"worker {worker} is here"
        self.edge.until(lambda: self.look() or self.edge.log().count(said) >= times, said, 60)

    @property
    def took_over_s(self) -> list[float]:
        """From each loss of a worker to the next picture."""
        return list(self.edge.stream(self.name)["took_over_s"])

    def whole(self) -> None:
        """No segment is missing, none stands twice."""
        self.look()
        for place, one in self.seen.items():
            assert one.holes == [] and one.changed == [], place
            assert len(one.segments) > 3
