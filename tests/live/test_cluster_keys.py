"""Edges of several machines: every part of the cluster at a port, with keys."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from streamgen.control.keys import new_key
from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
EDGES = ("edge-a", "edge-b", "edge-c")


def ports() -> int:
    """Two free ones, the first. Not of those that other processes are given as they connect: they
    are needed when the edges have started, which may take a while."""
    for _ in range(100):
        port = random.randrange(12_000, 32_000)
        with suppress(OSError), ExitStack() as ends:
            for each in (port, port + 1):
                ends.enter_context(socket.create_server(("127.0.0.1", each)))
            return port
    raise AssertionError("no two ports")


@contextmanager
def process(folder: Path, name: str, *command: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        one = subprocess.Popen(
            [sys.executable, "-m", "streamgen.cli", *command],
            stdout=log,
            stderr=log,
            env={**os.environ, "STREAMGEN_CACHE": str(folder / "cache")},
        )
    try:
        yield
    finally:
        one.kill()
        one.wait(10)
        print(f"--- {name}\n{(folder / f'{name}.log').read_text()[-3000:]}")


@contextmanager
def cluster(folder: Path, friends: dict[str, str]) -> Iterator[dict[str, Server]]:
    """A coordinator, a worker and edges, each of which lets in the edges that are its friends."""
    keys = {name: new_key(folder / f"{name}.key").public.hex() for name in ("c", "node-1", *EDGES)}
    peers = "".join(f"{keys[name]} {name}\n" for name in ("node-1", *EDGES))
    (folder / "peers").write_text(peers)
    coordinator = f"127.0.0.1:{ports()}"
    leads = ["--store", f"sqlite:///{folder}/state.db", "--listen", coordinator]
    leads += ["--key", str(folder / "c.key"), "--peers", str(folder / "peers")]
    works = ["--name", "node-1", "--cluster", coordinator, "--key", str(folder / "node-1.key")]
    with ExitStack() as ends:
        ends.enter_context(process(folder, "coordinator", "coordinator", *leads))
        works += ["--coordinator-key", keys["c"]]
        ends.enter_context(process(folder, "node-1", "worker", *works))
        edges = {}
        for name in EDGES:
            known = ", ".join(keys[friend] for friend in friends.get(name, "").split())
            own, key = folder / name, folder / f"{name}.key"
            own.mkdir()
            config = f"""\
pipeline: transcode
workers: 0
link: {{listen: "127.0.0.1:{ports()}", key: {key}, workers: [{keys["node-1"]}]}}
cluster:
  name: {name}
  coordinators: ["{coordinator}"]
  key: {key}
  coordinator_key: {keys["c"]}
  mirror: "127.0.0.1:{ports()}"
  edges: [{known}]
"""
            edges[name] = Server(own, config=config, workers=0)
            ends.callback(edges[name].stop)
        for edge in edges.values():
            edge.until(lambda edge=edge: " is here" in edge.log(), "the worker", 60)  # type: ignore[misc]
        yield edges


def test_edges_serve_each_others_streams_by_keys_and_those_they_do_not_know_get_nothing(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, {"edge-a": "edge-b", "edge-b": "edge-a"}) as edges:
        a, b, c = edges.values()
        publishers = [Publisher(a, "cam", seconds=240)]
        try:
            places = b.until(lambda: renditions(b, "cam"), "playlists at the other edge", 60)
            seen = {place: Seen() for place in places}

            def watch(edge: Server, segments: int) -> None:
                def look() -> bool:
                    for place, one in seen.items():
                        one.look(edge.get(place)[1])
                    return all(len(one.segments) >= want for one in seen.values())

                want = min(len(one.segments) for one in seen.values()) + segments
                edge.until(look, "motion", 60)

            watch(b, 3)
            assert c.get("/hls/cam/index.m3u8")[0] == 404
            assert "unknown key" in a.log()

            publishers.append(Publisher(b, "cam", seconds=240))
            a.until(lambda: publishers[0].process.poll() is not None, "end of its publisher", 60)
            watch(a, 3)
            assert a.stream("cam")["home"] == "edge-b"
            for place, one in seen.items():
                assert one.holes == [] and one.changed == [], place
        finally:
            for publisher in publishers:
                publisher.close()
