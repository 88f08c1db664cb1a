"""Publishers that stand still, or have only sound, with a worker that decodes what it is told."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamgen.media.credit import Intake
from streamgen.media.envelope import Envelope, Kind, opened, seal
from streamgen.media.packet import Packet
from streamgen_edge.beginning import Beginning
from streamgen_edge.state import State
from streamgen_edge.timeline import BASE, HZ
from tests.edge.test_link import FakeWorker, joined, until
from tests.edge.test_stream import MS, Ends, asked, seated


class Decoding:
    """A worker that answers every picture that is shown with one of its own."""

    def __init__(self, worker: FakeWorker, term: int = 1) -> None:
        self.decodes = True
        self.stream = 7
        self.got: list[Envelope] = []
        self._worker = worker
        self._term = term
        self._intake = Intake()

    async def work(self) -> None:
        while True:
            one = opened(*await self._worker.media.recv_multipart())
            if one.kind is not Kind.PACKET:
                continue
            self.got.append(one)
            packet = one.packet
            self._intake.consumed(packet, packet.size_bytes)
            news = self._intake.news()
            if news is not None:
                ids = {"stream": self.stream, "term": self._term}
                await self._worker.say(type="credit", **ids, bytes=news[0], ms=news[1])
            visible = self.decodes or not packet.size_bytes
            if one.track == 0 and visible and not packet.discard and one.term == self._term:
                shown = Packet(b"", packet.pts, packet.pts, 0, BASE, True, "")
                header = seal(shown, stream=self.stream, term=self._term, track=0)
                await self._worker.media.send_multipart((header, b"\0\0\0\1\x65"))

    def pictures(self, *, stills: bool) -> list[Packet]:
        pictures = [one.packet for one in self.got if one.track == 0]
        return [p for p in pictures if stills is not bool(p.size_bytes)]

    @property
    def sounds(self) -> list[Packet]:
        return [one.packet for one in self.got if one.track == 1 and one.packet.size_bytes]


class Clip:
    """Pictures of 25 Hz and sound, as they are due; `ms` is the publisher's own clock."""

    def __init__(self, ends: Ends) -> None:
        self.ms = 0
        self._ends = ends

    def one(self, *, video: bool = True, sound: bool = True) -> None:
        if video:
            self._ends.picture(self.ms, key=not self.ms)
        if sound:
            self._ends.sound(self.ms)
        self.ms += 40

    async def play(self, seconds: float, *, video: bool = True, sound: bool = True) -> None:
        begun, there = time.monotonic(), 0
        while there < round(seconds * 25):
            await asyncio.sleep(max(0.0, begun + there / 25 - time.monotonic()))
            self.one(video=video, sound=sound)
            there += 1


@asynccontextmanager
async def live(folder: Path) -> AsyncIterator[tuple[Ends, Clip, Decoding]]:
    """A stream under way."""
    async with joined(folder, "w") as (link, (worker,)):
        ends = Ends(link)
        clip, decoding = Clip(ends), Decoding(worker)
        ends.stream.describe("audio/0", "aac", b"\x11\x90", None)
        clip.one()
        await seated(worker)
        await until(lambda: ends.stream.state is State.LIVE)
        work = asyncio.ensure_future(decoding.work())
        await clip.play(0.4)
        await until(lambda: len(decoding.pictures(stills=False)) == 11)
        try:
            yield ends, clip, decoding
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


STILL = 9 * 3600 // 2
"""A part is nine pictures of 25 Hz, or two stills."""
Test = Callable[[Ends, Clip, Decoding], Awaitable[None]]


def run(folder: Path, test: Test) -> None:
    async def main() -> None:
        async with live(folder) as parts:
            await test(*parts)

    asyncio.run(main())


def steady(stills: list[Packet]) -> bool:
    """No viewer sees a hole."""
    times = [p.pts or 0 for p in stills]
    return {b - a for a, b in itertools.pairwise(times)} == {STILL}


def test_a_publisher_that_pauses_is_waited_for_with_stills_and_needs_no_key_frame(
    tmp_path: Path,
) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        stream = ends.stream
        before = len(worker.pictures(stills=False))
        await asyncio.sleep(1.2)
        assert stream.state is State.GAP
        clip.ms += 1200
        await clip.play(0.6)
        stills, after = worker.pictures(stills=True), worker.pictures(stills=False)[before:]
        assert len(stills) >= 4 and steady(stills) and not any(p.keyframe for p in stills)
        assert not any(p.discard for p in after)
        for _ in range(20):  # a busy machine looks less often
            if stream.state is not State.LIVE:
                await clip.play(0.1)
        assert stream.state is State.LIVE
        assert (after[0].pts or 0) > (stills[-1].pts or 0)
        assert stream.telemetry.counts("stalls") == {"no_packets": 1}
        assert stream.telemetry.counts("corrected") == {}
        assert stream.telemetry.counts("filled") == {"picture": len(stills)}

    run(tmp_path, test)


def test_a_jam_that_clears_is_decoded_and_shown_from_where_the_clock_stands(tmp_path: Path) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        before = len(worker.pictures(stills=False))
        await asyncio.sleep(1.2)
        for _ in range(30):
            clip.one()
        await clip.play(0.6)
        after = worker.pictures(stills=False)[before:]
        hidden = sum(p.discard for p in after)
        assert 15 < hidden <= 30 and not any(p.discard for p in after[hidden:])
        assert ends.stream.state is State.LIVE
        assert ends.stream.ledger.dropped["behind_still"] == hidden
        assert ends.stream.telemetry.counts("corrected") == {}

    run(tmp_path, test)


def test_a_publisher_whose_clock_stood_still_goes_on_with_its_sound(tmp_path: Path) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        await asyncio.sleep(1.2)
        resumed = len(worker.got)
        await clip.play(1.6)
        assert ends.stream.telemetry.counts("corrected") == {"stall": 1}
        late = [one for one in worker.got[resumed:] if one.packet.size_bytes]
        shown = [one.packet.pts for one in late if one.track == 0 and not one.packet.discard]
        heard = [one.packet.pts for one in late if one.track == 1]
        assert len(shown) > 15 and shown == sorted(set(shown))
        assert shown[-1] == heard[-1]  # together, as they were
        assert ends.stream.state is State.LIVE

    run(tmp_path, test)


def test_pictures_that_cannot_be_decoded_are_replaced_until_they_can(tmp_path: Path) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        worker.decodes = False
        await clip.play(1.6)
        assert ends.stream.state is State.GAP
        assert len(worker.pictures(stills=True)) >= 5 and steady(worker.pictures(stills=True))
        assert ends.stream.telemetry.counts("stalls") == {"no_pictures": 1}
        assert ends.asked > 1  # a key frame would help, too
        worker.decodes = True
        await clip.play(0.4)
        assert ends.stream.state is State.LIVE
        stills = len(worker.pictures(stills=True))
        await clip.play(0.4)
        assert len(worker.pictures(stills=True)) == stills

    run(tmp_path, test)


def test_few_pictures_a_second_are_all_shown_with_stills_between(tmp_path: Path) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        before = len(worker.pictures(stills=False))
        for _ in range(4):
            clip.ms += 560
            await asyncio.sleep(0.6)
            clip.one()
        await clip.play(0.2)
        after = worker.pictures(stills=False)[before:]
        assert len(after) >= 4 and not any(p.discard for p in after)
        times = sorted(p.pts or 0 for p in [*worker.pictures(stills=True), *after])
        assert max(b - a for a, b in itertools.pairwise(times)) < HZ // 2
        assert ends.stream.telemetry.counts("corrected") == {}

    run(tmp_path, test)


def test_sound_goes_on_while_pictures_do_not(tmp_path: Path) -> None:
    async def test(ends: Ends, clip: Clip, worker: Decoding) -> None:
        before = len(worker.sounds)
        await clip.play(1.2, video=False)
        assert len(worker.sounds) - before >= 29
        assert len(worker.pictures(stills=True)) >= 4
        await clip.play(0.6)
        assert ends.stream.state is State.LIVE
        assert not any(p.discard for p in worker.pictures(stills=False)[-15:])

    run(tmp_path, test)


@pytest.mark.parametrize(("announced", "seconds"), [(False, 1), (True, 3)])
def test_pictures_are_waited_for_longer_where_they_were_announced(
    announced: bool, seconds: int
) -> None:
    beginning = Beginning()
    times = range(0, 4000, 20)
    sounds = [Packet(b"x", ms, ms, 0, MS, True, "audio/0") for ms in times]
    begins = [
        beginning.here(sound, ms * 1_000_000, announced=announced)
        for ms, sound in zip(times, sounds, strict=True)
    ]
    assert begins.index(True) == seconds * 50 and beginning.with_sound


def test_a_key_frame_ends_the_wait_for_pictures() -> None:
    beginning = Beginning()
    sound = Packet(b"x", 0, 0, 0, MS, True, "audio/0")
    assert not beginning.here(sound, 0, announced=True)
    picture = Packet(b"x", 40, 40, 0, MS, False, "video/0")
    assert not beginning.here(picture, 0, announced=True)
    key = Packet(b"x", 80, 80, 0, MS, True, "video/0")
    assert beginning.here(key, 0, announced=True) and not beginning.with_sound


def test_a_stream_with_only_sound_has_steady_pictures_and_later_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with joined(tmp_path, "w") as (link, (worker,)):
            ends = Ends(link)
            ends.announces_pictures = False
            stream, clip = ends.stream, Clip(ends)
            stream.describe("audio/0", "aac", b"\x11\x90", None)
            playing = asyncio.ensure_future(clip.play(4.0, video=False))
            message = await seated(worker)
            assert (message["codec"], message["rungs"]) == ("", [])
            decoding = Decoding(worker)
            work = asyncio.ensure_future(decoding.work())
            await until(lambda: len(decoding.pictures(stills=True)) > 8)
            assert stream.state is State.LIVE and steady(decoding.pictures(stills=True))
            lead = (decoding.sounds[-1].pts or 0) - (decoding.pictures(stills=True)[-1].pts or 0)
            assert 0 < lead < HZ // 2 + 2 * STILL  # sound comes with the clock, stills behind it
            playing.cancel()
            ends.picture(clip.ms, key=True)
            message, head = await asked(worker, "attach")
            assert (message["codec"], head) == ("h264", b"unit%d" % clip.ms)
            assert message["rungs"] == [["90p", 160, 90]]
            assert stream.telemetry.counts("takeovers") == {"codec": 1}
            work.cancel()
            await asyncio.gather(work, playing, return_exceptions=True)

    asyncio.run(main())
