"""Wrong clocks on their whole way through the edge: from RTMP's messages to what a worker gets."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgen.media.packet import Packet
from streamgen.telemetry import Metrics
from streamgen_edge.publishing import Streams
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.messages import AUDIO, VIDEO, Message
from streamgen_edge.rtmp.publisher import Publisher
from streamgen_edge.settings import Server
from streamgen_edge.sink import believable
from streamgen_edge.state import State
from streamgen_edge.stream import LiveStream
from streamgen_edge.timeline import HZ
from tests.edge.rtmp.client import AAC_CONFIG, AAC_FRAME, CONFIG, IDR, NEXT
from tests.edge.test_allowance import Line
from tests.edge.test_link import joined, until
from tests.edge.test_stalls import Decoding
from tests.edge.test_stream import FACTS, TRACKS, asked

STEP_MS = 40
Stamp = Callable[[int], int]
"""What a publisher says of the time of a packet that it sends at this one."""


class Journey:
    """One publisher, its stream, and the worker at the end."""

    def __init__(self, publisher: Publisher, stream: LiveStream, worker: Decoding) -> None:
        self.publisher = publisher
        self.stream = stream
        self.worker = worker
        self._number = 0

    async def send(
        self, pictures: int, stamp: Stamp, sound: Stamp | None = None, *, gop: int = 25
    ) -> None:
        """Pictures of 25 Hz, faster than they are due, and sound beside them."""
        for _ in range(pictures):
            at = self._number * STEP_MS
            body = IDR if self._number % gop == 0 else NEXT
            self._give(VIDEO, stamp(at), body)
            if sound is not None:
                self._give(AUDIO, sound(at), AAC_FRAME)
            self._number += 1
            await asyncio.sleep(0.002)

    def _give(self, kind: int, stamp: int, body: bytes) -> None:
        self.publisher.media(Message(kind, 1, stamp % (1 << 32), bytearray(body)))

    def describe(self, stamp: int) -> None:
        self._give(VIDEO, stamp, CONFIG)
        self._give(AUDIO, stamp, AAC_CONFIG)

    async def arrived(self, pictures: int) -> list[int]:
        """Times of so many pictures that the worker shows."""
        await until(lambda: len(self._shown()) >= pictures)
        return [p.pts or 0 for p in self._shown()]

    def _shown(self) -> list[Packet]:
        return [p for p in self.worker.pictures(stills=False) if not p.discard]


@asynccontextmanager
async def journey(folder: Path, first: Stamp, sound: Stamp | None) -> AsyncIterator[Journey]:
    async with joined(folder, "w") as (link, (worker,)):
        server = Server(streams={"*": {"publish": "anyone"}}, pipeline="transcode")  # type: ignore[arg-type]
        streams = Streams(server, link, Metrics(), lambda: 0)
        publisher = Publisher(Publish("live", "cam", None, "::1", "test"), Line(), Limits())
        publisher.start(await streams.publish(publisher))
        stream = streams.find("cam")
        assert stream is not None
        decoding = Decoding(worker)
        one = Journey(publisher, stream, decoding)
        one.describe(first(0))
        await one.send(1, first, sound)
        message, _ = await asked(worker, "attach")
        decoding.stream = message["stream"]
        ids = {"stream": message["stream"], "term": message["term"]}
        tracks = [{**FACTS, **track} for track in TRACKS]
        await worker.say(type="attached", **ids, tracks=tracks, notes=[])
        await until(lambda: stream.state is State.LIVE)
        work = asyncio.ensure_future(decoding.work())
        try:
            yield one
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def run(
    folder: Path,
    test: Callable[[Journey], Awaitable[None]],
    first: Stamp = int,
    sound: Stamp | None = None,
) -> None:
    async def main() -> None:
        async with journey(folder, first, sound) as one:
            await test(one)
            assert one.stream.state is State.LIVE and not one.stream.over

    asyncio.run(main())


def even(times: list[int]) -> bool:
    return times == [times[0] + n * STEP_MS * 90 for n in range(len(times))]


@pytest.mark.parametrize("bits", [24, 31, 32])
def test_a_clock_that_wraps_is_not_seen_and_counted_once(tmp_path: Path, bits: int) -> None:
    def wrapping(at: int) -> int:
        return ((1 << bits) - 1000 + at) % (1 << bits)

    async def test(one: Journey) -> None:
        await one.send(60, wrapping, wrapping)
        assert even(await one.arrived(60))
        assert one.publisher.stats.left_out["wrap"] == 1
        assert one.stream.telemetry.counts("corrected") == {}

    run(tmp_path, test, wrapping, wrapping)


def test_a_clock_of_33_bits_that_wraps_inside_a_stream_is_not_seen(tmp_path: Path) -> None:
    base = Fraction(1, HZ)

    async def test(one: Journey) -> None:
        stream = one.stream
        stream.arrive(stream.publisher)  # type: ignore[arg-type]
        for number in range(50):
            at = ((1 << 33) - HZ + number * 3600) % (1 << 33)
            unit = Packet(b"x", at, at, 3600, base, number % 25 == 0, "video/0")
            assert stream.take(unit, time.monotonic_ns())
            await asyncio.sleep(0.002)
        times = await one.arrived(50)
        assert even(times[-50:]) and stream.telemetry.counts("corrected") == {"wrap": 1}

    run(tmp_path, test)


@pytest.mark.parametrize(("to_ms", "kind"), [(3_600_000, "jump_forward"), (-100_000, "jump_back")])
def test_a_jump_is_closed_and_counted(tmp_path: Path, to_ms: int, kind: str) -> None:
    async def test(one: Journey) -> None:
        await one.send(24, lambda at: 200_000 + at)
        await one.send(35, lambda at: 200_000 + to_ms + at)
        times = await one.arrived(59)
        assert max(b - a for a, b in itertools.pairwise(times)) <= 2 * STEP_MS * 90
        assert times == sorted(set(times))
        assert one.stream.telemetry.counts("corrected") == {kind: 1}

    run(tmp_path, test, lambda at: 200_000 + at)


@pytest.mark.parametrize("skew_ms", [5000, -5000])
def test_sound_far_from_its_pictures_stays_so(tmp_path: Path, skew_ms: int) -> None:
    def sound(at: int) -> int:
        return 20_000 + skew_ms + at

    async def test(one: Journey) -> None:
        await one.send(60, lambda at: 20_000 + at, sound)
        times = await one.arrived(60)
        await until(lambda: len(one.worker.sounds) >= 60)
        assert even(times)
        assert (one.worker.sounds[-1].pts or 0) - times[-1] == skew_ms * 90

    run(tmp_path, test, lambda at: 20_000 + at, sound)


def test_sound_that_begins_ten_seconds_late_and_stops_again_is_in_its_place(
    tmp_path: Path,
) -> None:
    async def test(one: Journey) -> None:
        await one.send(250, int)
        await one.send(25, int, int)
        await one.send(25, int)
        times = await one.arrived(300)
        await until(lambda: len(one.worker.sounds) == 25)
        assert even(times)
        assert [p.pts for p in one.worker.sounds] == times[250:275]
        assert one.stream.telemetry.counts("corrected") == {}

    run(tmp_path, test)


def test_a_variable_frame_rate_passes_as_it_is(tmp_path: Path) -> None:
    async def test(one: Journey) -> None:
        await one.send(30, lambda at: at + 17 * (at // 40 % 3))
        times = await one.arrived(30)
        assert len({b - a for a, b in itertools.pairwise(times)}) == 2
        assert one.stream.telemetry.counts("corrected") == {}

    run(tmp_path, test)


@pytest.mark.parametrize("rate", [0, -1, 0.5, 1000, 1e300, float("nan"), float("inf"), "25", True])
def test_a_frame_rate_that_cannot_be_is_not_believed(rate: Any) -> None:
    assert believable(rate) is None


@pytest.mark.parametrize(("rate", "taken"), [(240, 240), (29.97, Fraction(2997, 100)), (1, 1)])
def test_a_frame_rate_that_can_be_is(rate: float, taken: Fraction) -> None:
    assert believable(rate) == taken
