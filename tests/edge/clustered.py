"""A cluster: coordinators and workers are processes, edges and publishers stand here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from streamgen.control.keys import new_key
from streamgen.control.placement.scheduler import Work
from streamgen.deliver.live import LiveSettings
from streamgen_edge.cluster.joined import Joined
from streamgen_edge.cluster.seats import ClusterSeats
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.cluster.works import work_of
from streamgen_edge.link import Link
from streamgen_edge.settings import Server
from streamgen_edge.stream import LiveStream
from tests.control.test_link_session import published
from tests.live.playlists import Seen

WITHIN_S = 60.0
"""No test is about how fast something is; but all of them end."""
LEASE = "4s"
STEP = 3600
GOP = 25
PLAIN: dict[str, Any] = {
    "name": "plain",
    "ladder": [{"height": 90, "bitrate": "200k"}, {"height": 46, "bitrate": "100k"}],
    "audio": {"codec": "none"},
}


async def until(holds: Callable[[], Any], what: str) -> None:
    """Wait for a state."""
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.02)


class Processes:
    """Coordinators and workers, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = (folder / "c0", folder / "c1")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._key = folder / "key"
        new_key(self._key)

    def coordinator(self, number: int) -> None:
        """One of two. They share the store and a key."""
        options = ["--store", f"sqlite:///{self.folder}/state.db", "--lease", LEASE]
        options += ["--folder", str(self.places[number]), "--key", str(self._key)]
        self._start(f"c{number}", "coordinator", *options)

    def worker(self, name: str, **environment: str) -> None:
        places = [part for place in self.places for part in ("--cluster", str(place))]
        self._start(name, "worker", "--name", name, *places, **environment)

    def _start(self, name: str, *command: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "streamgen.cli", *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "STREAMGEN_CACHE": str(self.folder / "cache"), **environment},
            )

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait(10)

    def freeze(self, name: str) -> None:
        """It stands still until it is thawed, and its connections stay open."""
        self.running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGCONT)

    def logs(self) -> str:
        """The ends of what they said."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {one.name}\n{one.read_text()[-3000:]}" for one in logs)


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    some = Processes(folder)
    try:
        yield some
    finally:
        for process in some.running.values():
            process.kill()
            process.wait(10)
        print(some.logs())


@dataclass
class Edge:
    """An edge without doors for publishers: they stand beside it."""

    link: Link
    seats: ClusterSeats
    joined: Joined
    streams: list[Published] = field(default_factory=list)

    def publish(self, name: str, pipeline: dict[str, Any] = PLAIN) -> Published:
        one = Published(self, name, pipeline)
        self.streams.append(one)
        return one


@asynccontextmanager
async def edge(folder: Path, name: str, places: tuple[Path, ...]) -> AsyncIterator[Edge]:
    await asyncio.to_thread(folder.mkdir, 0o700)
    settings = ClusterSettings(coordinators=tuple(str(one) for one in places), name=name)
    joined = Joined(settings, Server(cluster=settings, workers=0), folder)
    async with Link(folder) as link, joined.seats(link) as seats:
        one = Edge(link, seats, joined)
        try:
            yield one
        finally:
            for stream in one.streams:
                stream.end()


class Published:
    """A stream with a publisher that sends 25 pictures a second, and a player that looks."""

    announces_pictures = True

    def __init__(self, edge: Edge, name: str, pipeline: dict[str, Any]) -> None:
        self.ended: list[LiveStream] = []
        self.seen: dict[str, Seen] = {}
        self.sent = 0
        """Pictures."""
        self.stream = LiveStream(
            name,
            len(edge.streams) + 1,
            edge.link,
            pipeline,
            grace_s=5,
            hls=LiveSettings(),
            wall_ns=time.time_ns,
            ended=self.ended.append,
            seating=edge.seats.of(name, self._work),
        )
        self._profiles = edge.joined.profiles
        self.stream.arrive(self)
        self.stream.describe("video/0", "h264", b"", Fraction(25))
        self._sending = asyncio.create_task(self._send())

    def _work(self) -> Work:
        return work_of(self.stream, self._profiles)

    def request_keyframe(self) -> None:
        """It sends one a second as it is."""

    async def _send(self) -> None:
        packets, began = published(GOP), time.monotonic()
        while True:
            packet, at = packets[self.sent % GOP], self.sent * STEP
            key = self.sent % GOP == 0
            sent = replace(packet, pts=at, dts=at, duration=STEP, keyframe=key)
            self.stream.take(sent, time.monotonic_ns())
            self._look()
            self.sent += 1
            await asyncio.sleep(max(0.0, began + self.sent / 25 - time.monotonic()))

    def _look(self) -> None:
        packager = self.stream.viewing.packager
        if packager is None or not packager.ready:
            return
        for name in packager.renditions:
            text = packager.page(name, skip=False).text.decode()
            self.seen.setdefault(name, Seen()).look(text)

    @property
    def worker(self) -> str:
        """Whose pictures it gets; empty: nobody's."""
        live = self.stream.tenure.live
        return "" if live is None else live.worker.name

    async def gets_to(self, worker: str) -> None:
        await until(lambda: self.worker == worker, f"{self.stream.name} on {worker}")

    async def moves(self, pictures: int = GOP) -> None:
        """Wait for so many more pictures."""
        want = self.stream.viewing.frames + pictures
        await until(lambda: self.stream.viewing.frames >= want, f"motion of {self.stream.name}")
        if self._sending.done():
            self._sending.result()

    def whole(self) -> None:
        """No segment is missing, none stands for two."""
        assert not self.ended and self.seen
        for name, one in self.seen.items():
            assert one.holes == [] and one.changed == [], name
            assert len(one.segments) > 3

    def end(self) -> None:
        self._sending.cancel()
        self.stream.end()
