"""Free streams of a cluster make room for paid ones, step by step, and get it back: as the
coordinator decides by what profiles say, and as viewers see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgen.control.node import capacity
from tests.live.clustering import Cluster
from tests.live.numbered import RATE, Watched, number_of, published, tape
from tests.live.playlists import renditions
from tests.live.serving import NO_TIME, Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
PAINTED = """
name: painted
stages: [style: {model: starry}]
ladder: [{height: 180, bitrate: 400k}, {height: 136, bitrate: 200k}, {height: 90, bitrate: 150k}]
audio: {codec: none}
live: {latency_budget: 5s, when_late: [passthrough]}
"""
PLAIN = "name: plain\nladder: [{height: 90, bitrate: 100k}]\naudio: {codec: none}\n"
SECONDS = 120


class OneNode(Cluster):
    """One worker, one coordinator and one edge; the free stream takes nearly all of the node."""

    def __enter__(self) -> OneNode:
        room = capacity().cpu_ms * 9 // 10  # the rest is head-room
        needs = (room - 100, room - 500, room - 800)
        whole = "".join(f"    - {{cpu_ms: {ms}, memory_mb: 100}}\n" for ms in needs)
        text = f"profiles:\n- name: painted-180p{RATE}\n  needs:\n{whole}"
        text += "- name: plain-180p10\n  needs: [{cpu_ms: 400, memory_mb: 100}]\n"
        (self.folder / "profiles.yaml").write_text(text)
        (self.folder / "painted.yaml").write_text(PAINTED)
        (self.folder / "plain.yaml").write_text(PLAIN)
        try:
            self.coordinator(0)
            self.worker("node-1")
            self.edges["edge-a"] = self._edge("edge-a")
            self.edge.until(lambda: self._here(self.edge, 1), "worker", 60)
        except BaseException:
            self._end()
            raise
        return self

    @property
    def edge(self) -> Server:
        return self.edges["edge-a"]

    def _edge(self, name: str) -> Server:
        folder = self.folder / name
        folder.mkdir()
        config = f"workers: 0\ncluster: {{name: {name}, coordinators: [{self.places[0]}], "
        config += f"profiles: {self.folder}/profiles.yaml}}\nstreams:\n"
        config += f'  "free-*": {{pipeline: {self.folder}/painted.yaml, publish: anyone, '
        config += "paid: false}\n"
        config += f'  "paid-*": {{pipeline: {self.folder}/plain.yaml, publish: anyone}}\n'
        return Server(folder, config=config, workers=0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OneNode]:
    with OneNode(tmp_path) as one:
        yield one
        print(one.logs())


class Free:
    """The free stream, and all that players of its lowest rung have got."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        places = server.until(lambda: renditions(server, name), "playlists", 60)
        self.top, *_, lowest = places
        self.lowest = Watched(server, lowest)

    @property
    def row(self) -> dict[str, Any]:
        return self.server.stream(self.name)

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        return self.server.until(lambda: self.lowest.look() or holds(), what, 60)

    def gives_up(self, what: str | None) -> None:
        self.until(lambda: self.row["given_up"] == what, f"{self.name} without {what}")

    def shows(self, painted: bool) -> None:
        """Wait for a segment that is wholly so: a busy machine is seconds behind."""
        had = set(self.lowest.segments)
        what = "painted pictures" if painted else "raw pictures"
        self.until(lambda: self._newest_is(painted, had), what)

    def _newest_is(self, painted: bool, had: set[str]) -> bool:
        """Whether the newest segment, which was not there before, is wholly so."""
        uri = list(self.lowest.segments)[-1]
        if uri in had:
            return False
        had.add(uri)
        last = Watched(self.server, self.lowest.place, self.lowest.header)
        last.segments[uri] = self.lowest.segments[uri]
        colours = [spread_of(picture) for picture in last._pictures()]
        return bool(colours) and all((colour > 4) is painted for colour in colours)


def spread_of(picture: Any) -> float:
    """How far from grey it is: the pictures that are published are grey."""
    pixels = picture.width * picture.height
    planes = picture.to_ndarray(format="yuv420p").ravel()[pixels:].astype(float)
    return float(abs(planes - 128).mean())


def test_a_free_stream_gives_up_its_stages_then_its_rungs_and_gets_them_back(
    cluster: OneNode,
) -> None:
    edge, paid = cluster.edge, []
    file = tape(cluster.folder / "numbered.flv", SECONDS * RATE, gop=RATE)
    publisher = published(edge, "free-one", file)
    try:
        free = Free(edge, "free-one")
        assert free.row["given_up"] is None
        free.shows(painted=True)
        for name, goes in (("paid-one", "enhancement"), ("paid-two", "rungs")):
            paid.append(Publisher(edge, name, rate=10, gop=10, seconds=SECONDS, sound=False))
            free.gives_up(goes)
            free.until(lambda name=name: edge.frames_out(name) > 10, f"motion of {name}")
            free.shows(painted=False)
            assert bool(free.row["rested"]) == (goes == "rungs")
        rested = free.row["rested"]
        assert rested == {"video/180p": 1, "video/136p": 1}
        assert "#EXT-X-GAP" in edge.get(free.top)[1]
        for goes in ("enhancement", None):
            out = free.row["stats"]["frames_out"]
            paid.pop().close()
            free.gives_up(goes)
            free.until(lambda out=out: free.row["stats"]["frames_out"] > out + RATE, "top rung")
            free.shows(painted=goes is None)
        row = free.row
        cluster.worker("node-2")  # it is told what is in demand, and of which size
        log = cluster.folder / "node-2.log"
        ready = "ready for streams to come: starry@320x180"
        free.until(lambda: log.exists() and ready in log.read_text(), "a network on node-2")
    finally:
        publisher.kill()
        publisher.wait(10)
        for one in paid:
            one.close()
    assert row["worker"] == "node-1" and row["took_over_s"] == [] and row["rested"] == rested
    numbers = [number_of(picture) for picture in free.lowest._pictures()]
    dropped = dict(free.row["stats"]["dropped"])  # what was dropped beside the start of node-2, too
    rungs, _ = dropped.pop("rung"), dropped.pop("starting", 0)
    assert rungs > RATE and set(dropped) <= NO_TIME, dropped
    assert numbers == sorted(set(numbers))
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert missing <= sum(dropped.values()), (missing, dropped)
