"""Streams of a cluster: at any edge, on whichever worker the coordinator says, whatever dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.clustering import Cluster, Watched
from tests.live.serving import Publisher, needs_ffmpeg

pytestmark = needs_ffmpeg


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as one:
        yield one
        print(one.logs())


def test_streams_go_on_whatever_process_of_the_cluster_dies(cluster: Cluster) -> None:
    """A worker is killed, then the coordinator, then the last worker is emptied."""
    edges = cluster.edges
    names = {"one": edges["edge-a"], "two": edges["edge-b"]}
    publishers = [Publisher(edge, name, seconds=240) for name, edge in names.items()]
    try:
        streams = [Watched(edge, name) for name, edge in names.items()]
        for stream in streams:
            stream.moves()
        there = streams[0].worker
        other = "node-2" if there == "node-1" else "node-1"
        cluster.kill(there)
        for stream in streams:
            stream.gets_to(other)
            stream.moves()
            print(f"{stream.name}: motion again after {stream.took_over_s} s")

        cluster.coordinator(1)
        cluster.kill("coordinator-0")
        for stream in streams:
            stream.moves(75)
            assert stream.worker == other
        cluster.worker(there)
        for stream in streams:
            stream.knows(there, 2)
        publishers.append(Publisher(edges["edge-a"], "three", seconds=240))
        streams.append(Watched(edges["edge-a"], "three"))  # the other coordinator leads

        cluster.processes[other].send_signal(signal.SIGTERM)
        for stream in streams:
            stream.gets_to(there)
        assert cluster.processes[other].wait(20) == 0
        for stream in streams:
            stream.moves()
            stream.whole()
            print(f"{stream.name}: in all {stream.took_over_s} s")
    finally:
        for publisher in publishers:
            publisher.close()
