"""A stream goes from worker to worker, and every picture of it is shown once, on every rung.

Two real workers in threads: one that is taken for dead says what it likes, and nobody listens.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.control.wire import Place
from streamgen.control.worker import Worker
from streamgen.deliver.live import LiveSettings
from streamgen.media.packet import Packet
from streamgen_edge import tenure
from streamgen_edge.link import Link
from streamgen_edge.stream import LiveStream
from tests.live.numbered import SIZE, drawn, number_of

RATE = 8
"""Pictures come faster than their times say: the wall clock has no part in this."""
DEATHS = 10
PIPELINE: dict[str, Any] = {
    "name": "plain",
    "ladder": [{"height": 180, "bitrate": "400k"}, {"height": 90, "bitrate": "150k"}],
    "live": {"latency_budget": "5s"},
}
RUNGS = ("video/180p", "video/90p")


@contextmanager
def working(folder: Path, *names: str) -> Iterator[None]:
    place = Place.in_folder(folder)
    workers = [
        Worker(name, {place.control: (place, None)}, now=lambda: datetime.now(UTC))
        for name in names
    ]
    threads = [threading.Thread(target=worker.serve) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(20)


class Camera:
    """Numbered pictures, encoded as a publisher would."""

    announces_pictures = True

    def __init__(self, gop: int, reordered: int) -> None:
        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = *SIZE, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
        encoder.options = {
            "preset": "ultrafast",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:b-adapt=0"
            f":bframes={reordered}:rc-lookahead=0:sync-lookahead=0:threads=1",
        }
        self._encoder = encoder

    def request_keyframe(self) -> None:
        """It cannot."""

    def take(self, number: int) -> list[Packet]:
        frame = drawn(number)
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        return [
            Packet(bytes(u), u.pts, u.dts, 1, Fraction(1, RATE), u.is_keyframe, "video/0")
            for u in self._encoder.encode(frame)
        ]


class Show:
    """What viewers of one rung see (`feed.Subscriber`)."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._decoder: Any = av.CodecContext.create("h264", "r")
        self._decoder.flags |= av.codec.context.Flags.low_delay

    def put(self, packet: Packet) -> None:
        unit: Any = av.Packet(bytes(packet.data))
        self.numbers += [number_of(picture) for picture in self._decoder.decode(unit)]

    def end(self) -> None:
        """It was watched to the end."""


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what happens is in another object's hands
            await asyncio.sleep(0.005)


class Scene:
    """A stream, its publisher and its viewers. Pictures come when those before have come out."""

    def __init__(self, link: Link, camera: Camera) -> None:
        self.stream = LiveStream(
            "x",
            7,
            link,
            PIPELINE,
            grace_s=5,
            hls=LiveSettings(),
            wall_ns=time.time_ns,
            ended=lambda _: None,
        )
        self.stream.arrive(camera)
        self.stream.describe("video/0", "h264", b"", None)
        self.shows = {rung: Show() for rung in RUNGS}
        for rung, show in self.shows.items():
            self.stream.viewing.feed.join(rung, show)
        self._link, self._camera = link, camera
        self._next = 0

    def publish(self, number: int = 1) -> None:
        for _ in range(number):
            for packet in self._camera.take(self._next):
                self.stream.take(packet, time.monotonic_ns())
            self._next += 1

    async def play(self, number: int, inside: int) -> None:
        for _ in range(number):
            self.publish()
            await until(lambda: self.stream.ledger.stats()["on_the_way"] <= inside)

    async def bury(self, meanwhile: int) -> None:
        """The worker that has the stream is dead; so many pictures come before it has another."""
        attachment = self.stream.tenure.attachment
        assert attachment is not None
        done = self.stream.telemetry.counts("takeovers").get("done", 0)
        self._link.lose(attachment.worker.name)
        self.publish(meanwhile)
        await until(lambda: self.stream.telemetry.counts("takeovers").get("done", 0) > done)
        await until(lambda: len(self._link.workers) == 2)


@pytest.mark.parametrize(("gop", "reordered"), [(10, 0), (35, 2)])
def test_every_picture_is_shown_once_however_many_workers_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gop: int, reordered: int
) -> None:
    monkeypatch.setattr(tenure, "SOON_S", 0.0)  # nobody takes the stream for what they die of
    chance = random.Random(gop)

    async def main() -> Scene:
        async with Link(tmp_path) as link:
            with working(tmp_path, "one", "two"):
                await until(lambda: len(link.workers) == 2)
                scene = Scene(link, Camera(gop, reordered))
                scene.publish(2 + reordered)
                await until(lambda: scene.stream.tenure.live)
                for _ in range(DEATHS):
                    await scene.play(chance.randrange(5, 20), reordered + 2)
                    await scene.bury(chance.randrange(8))
                await scene.play(10, reordered)
                return scene

    scene = asyncio.run(main())
    assert scene.stream.telemetry.counts("takeovers")["done"] >= DEATHS
    stats = scene.stream.ledger.stats()
    assert set(stats["dropped"]) == {"starting"}
    for show in scene.shows.values():
        assert show.numbers == list(range(show.numbers[0], show.numbers[-1] + 1))
    assert len(scene.shows[RUNGS[0]].numbers) == stats["frames_out"]
