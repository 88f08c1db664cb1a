"""A worker measures a stream while it runs, and its coordinator remembers that."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.live.clustering import Cluster, Watched
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
RATE = 50
CALM = """
name: calm
ladder: [{height: source, bitrate: 200k}]
audio: {codec: none}
live: {latency_budget: 10s}
"""


class Calm(Cluster):
    """Whose pipeline is never late, whatever else the machine does."""

    def edge(self, name: str) -> None:
        file, folder = self.folder / "calm.yaml", self.folder / name
        file.write_text(CALM)
        folder.mkdir()
        places = ", ".join(str(place) for place in self.places)
        config = f"pipeline: {file}\nworkers: 0\n"
        config += f"cluster: {{name: {name}, coordinators: [{places}]}}\n"
        self.edges[name] = Server(folder, config=config, workers=0)


def profiles(folder: Path, node: str) -> list[dict[str, Any]]:
    """Of this node, as the store has them."""
    with closing(sqlite3.connect(f"file:{folder}/state.db?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT facts FROM nodes WHERE name = ?", (node,)).fetchall()
    return [one for (facts,) in rows for one in json.loads(facts)["profiles"]]


def test_what_a_stream_takes_is_measured_as_it_runs_and_the_store_has_it(tmp_path: Path) -> None:
    with Calm(tmp_path, edges=("edge-a",)) as cluster:
        edge = cluster.edges["edge-a"]
        publisher = Publisher(edge, "cam", size="160x90", rate=RATE, gop=RATE, seconds=240)
        try:
            stream = Watched(edge, "cam")
            stream.moves()
            here = stream.worker
            edge.until(lambda: stream.look() or profiles(tmp_path, here), "measurement", 120)
            [found] = profiles(tmp_path, here)
            [need] = found["needs"]
            subject = found["subject"]
            assert (subject["width"], subject["height"], subject["rate"]) == (160, 90, RATE)
            assert subject["pipeline"].startswith("calm-") and found["name"] == f"calm-90p{RATE}"
            assert 0 < need["cpu_ms"] < 4000 and 0 < need["memory_mb"] < 4000
            print(f"{need} after {edge.frames_out('cam')} pictures")
            other = "node-2" if here == "node-1" else "node-1"
            assert not profiles(tmp_path, other)
        finally:
            publisher.close()
            print(cluster.logs())
