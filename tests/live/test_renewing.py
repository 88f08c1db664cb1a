"""Another pipeline for a stream that runs: every picture is shown once, by one pipeline or the
other, and nobody waits for what is loaded meanwhile."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.live.numbered import RATE, Watched, published, tape
from tests.live.playlists import Seen, renditions
from tests.live.serving import NO_TIME, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
LADDER = [{"height": 180, "bitrate": "400k"}, {"height": 90, "bitrate": "150k"}]
LIVE: dict[str, Any] = {"latency_budget": "1s", "when_late": []}
PLAIN: dict[str, Any] = {"name": "plain", "ladder": LADDER, "live": LIVE}
PAINT = {"style": {"model": "starry", "strength": 0.3}}
STARRY: dict[str, Any] = {**PLAIN, "name": "painted", "stages": [PAINT]}
SECONDS = 60


class Scene:
    """A stream of numbered pictures, and all that players of its rungs have got of it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        places = server.until(lambda: renditions(server, name), "playlists")
        self.rungs = [Watched(server, place) for place in places if "audio" not in place]
        self.seen = {place: Seen() for place in places}

    def look(self) -> None:
        for rung in self.rungs:
            rung.look()
        for place, one in self.seen.items():
            one.look(self.server.get(place)[1])

    def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, "end of the wait")

    def until(self, holds: Any, what: str) -> None:
        self.server.until(lambda: self.look() or holds(), what, 60)

    def renew(self, pipeline: dict[str, Any]) -> dict[str, Any]:
        """Ask for another pipeline, and wait until it runs."""
        status, row = self.server.get(f"/v1/streams/{self.name}", "PUT", {"pipeline": pipeline})
        assert status == 200 and row["pipeline"]["name"] == pipeline["name"], row
        self.until(lambda: not self.server.stream(self.name)["changing"], "change")
        return self.server.stream(self.name)


@contextmanager
def scene(folder: Path, name: str, file: Path, *options: str) -> Iterator[Scene]:
    server = Server(folder, "--pipeline", "transcode", *options)
    publisher: subprocess.Popen[bytes] | None = None
    try:
        server.get(f"/v1/streams/{name}", "PUT", {"pipeline": PLAIN})
        publisher = published(server, name, file)
        yield Scene(server, name)
    finally:
        if publisher is not None:
            publisher.kill()
            publisher.wait(10)
        server.stop()


def all_shown(numbers: Sequence[int], lost: int) -> None:
    again = [(a, b) for a, b in pairwise(numbers) if a >= b]
    assert again == [], again
    left_out = [(a, b) for a, b in pairwise(numbers) if b > a + 1]
    assert numbers[-1] - numbers[0] + 1 - len(numbers) <= lost, (left_out, lost)


@pytest.mark.parametrize(("gop", "reordered"), [(25, 0), (110, 2)])
def test_no_picture_is_lost_or_shown_twice_when_the_pipeline_changes(
    tmp_path: Path, gop: int, reordered: int
) -> None:
    file = tape(tmp_path / "numbered.flv", SECONDS * RATE, gop=gop, reordered=reordered)
    with scene(tmp_path, "renewed", file) as one:
        one.watch(2)
        for pipeline in (STARRY, PLAIN):
            one.renew(pipeline)
            one.watch(2)
        one.until(lambda: one.server.stream("renewed")["stats"]["on_the_way"] < 15, "the rest")
        row = one.server.stream("renewed")
    dropped = dict(row["stats"]["dropped"])
    lost = sum(dropped.values()) - dropped.pop("starting", 0)
    assert set(dropped) <= {*NO_TIME}, dropped
    assert row["took_over_s"] == []
    assert row["takeovers"]["done"] == 2
    for rung in one.rungs:
        all_shown(rung.numbers(), lost)
    for place, seen in one.seen.items():
        assert seen.holes == [] and seen.changed == [], place
        assert len(seen.segments) > 4
