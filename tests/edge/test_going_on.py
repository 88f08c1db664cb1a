"""A stream that another edge had goes on here: the same session, tracks and clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgen.deliver.live import LiveSettings
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.attachment import OutTrack
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.passport import Legacy, Passport
from streamgen_edge.state import State
from streamgen_edge.stream import LiveStream
from streamgen_edge.timeline import BASE, HZ
from streamgen_edge.viewing import Viewing
from tests.edge.test_link import FakeWorker, joined, until
from tests.edge.test_stream import FACTS, TRACKS, asked, pictures

NS = 1_000_000_000
MS = Fraction(1, 1000)
ELAPSED_NS = 100 * NS
TOLD = tuple(OutTrack.of({**FACTS, **track}) for track in TRACKS)
PASSPORT = Passport(
    session="s" * 22,
    unix_ns=1_700_000_000 * NS,
    pipeline={"name": "theirs"},
    params={"style": {"strength": 0.5}},
    version=7,
    tracks=TOLD,
    hls=LiveSettings(),
)


class Ends:
    """What became of a stream, and who publishes it."""

    announces_pictures = True

    def __init__(self, link: Any, viewing: Viewing | None = None) -> None:
        self.over: list[LiveStream] = []
        self.news = 0
        self.stream = LiveStream(
            "x",
            7,
            link,
            {"name": "ours"},
            grace_s=0.6,
            hls=PASSPORT.hls,
            wall_ns=lambda: 0,
            ended=self.over.append,
            legacy=Legacy(PASSPORT, ELAPSED_NS, viewing),
        )
        self.stream.changed = self._changed

    def arrive(self) -> None:
        self.stream.arrive(self)
        self.stream.describe("video/0", "h264", b"", None)

    def _changed(self) -> None:
        self.news += 1

    def request_keyframe(self) -> None:
        """It sends some."""

    def picture(self, ms: int, *, key: bool = False) -> None:
        self.stream.take(Packet(b"unit%d" % ms, ms, ms, 0, MS, key, "video/0"), time.monotonic_ns())


def run(folder: Path, test: Callable[..., Awaitable[None]], *names: str) -> None:
    async def main() -> None:
        async with joined(folder, *names) as (link, workers):
            await test(link, *workers)

    asyncio.run(main())


async def taken(worker: FakeWorker) -> dict[str, Any]:
    message, _ = await asked(worker, "attach")
    tracks = [{**FACTS, **track} for track in TRACKS]
    ids = {"stream": message["stream"], "term": message["term"]}
    await worker.say(type="attached", **ids, tracks=tracks, notes=[])
    return message


def shown(viewing: Viewing, until_s: int) -> None:
    """Viewers here have the stream so far, as a mirror writes it."""
    viewing.begin(PASSPORT.session, PASSPORT.unix_ns, TOLD)
    for pts in range(0, until_s * HZ, HZ // 25):
        viewing.feed.put(Packet(b"\0\0\0\1\x41x", pts, pts, HZ // 25, BASE, False, "video/90p"))
        viewing.last["video/90p"] = pts


def test_it_has_its_session_its_pipeline_and_parameters(tmp_path: Path) -> None:
    async def test(link: Any, worker: FakeWorker) -> None:
        ends = Ends(link)
        stream = ends.stream
        assert (stream.session, stream.version) == (PASSPORT.session, 7)
        packager = stream.viewing.packager
        assert packager is not None
        assert (packager.start.session, packager.start.unix_ns) == ("s" * 22, PASSPORT.unix_ns)
        assert stream.state is State.GAP
        ends.arrive()
        ends.picture(0, key=True)
        message = await taken(worker)
        assert message["pipeline"] == {"name": "theirs"}
        assert message["params"] == {"style": {"strength": 0.5}}
        assert message["rungs"] == [["90p", 160, 90]] and message["opening_ns"] is None
        await until(lambda: stream.state is State.LIVE)
        stream.use({"name": "another"})
        assert stream.version == 8 and ends.news == 1
        stream.end()

    run(tmp_path, test, "w")


def test_its_pictures_stand_where_the_wall_clock_is(tmp_path: Path) -> None:
    async def test(link: Any, worker: FakeWorker) -> None:
        began = time.monotonic_ns()
        ends = Ends(link)
        ends.arrive()
        ends.picture(5000, key=True)
        message = await taken(worker)
        assert min(message["after"].values()) > 90 * 48_000  # of both, in their own units
        ends.picture(5040)
        first, second = await pictures(worker, 2)
        since_s = (time.monotonic_ns() - began) / NS
        assert 99.5 <= (first.packet.pts or 0) / HZ <= 100 + since_s
        assert not first.packet.discard  # nobody has seen it
        assert (second.packet.pts or 0) - (first.packet.pts or 0) == HZ // 25
        ends.stream.end()

    run(tmp_path, test, "w")


def test_it_is_never_behind_what_viewers_here_have_seen(tmp_path: Path) -> None:
    async def test(link: Any, worker: FakeWorker) -> None:
        viewing = Viewing(Telemetry(), PASSPORT.hls)
        shown(viewing, 103)  # by the other's clock, which was ahead
        last = viewing.last["video/90p"]
        ends = Ends(link, viewing)
        assert ends.stream.viewing is viewing and ends.stream.telemetry is viewing.telemetry
        ends.arrive()
        ends.picture(0, key=True)
        await taken(worker)
        (first,) = await pictures(worker, 1)
        assert last < (first.packet.pts or 0) < 104 * HZ
        ends.stream.end()

    run(tmp_path, test, "w")


def test_a_publisher_that_does_not_stay_has_its_grace_here_too(tmp_path: Path) -> None:
    async def test(link: Any) -> None:
        ends = Ends(link)
        ends.arrive()
        ends.stream.leave(ends, explicit=False)
        assert ends.stream.state is State.GAP
        await until(lambda: ends.over == [ends.stream])
        assert ends.stream.reason is EndReason.LOST

    run(tmp_path, test)


def test_what_moves_to_another_edge_leaves_its_worker_and_keeps_its_viewers(
    tmp_path: Path,
) -> None:
    async def test(link: Any, worker: FakeWorker) -> None:
        ends = Ends(link)
        stream, viewing = ends.stream, ends.stream.viewing
        watching = viewing.feed.subscribe("video/90p")
        ends.arrive()
        ends.picture(0, key=True)
        await taken(worker)
        await until(lambda: stream.tenure.live)
        attachment = stream.tenure.live
        assert attachment is not None
        stream.end(EndReason.MOVED)
        assert ends.over == [stream] and stream.over
        await asked(worker, "detach")
        packager = viewing.packager
        assert packager is not None and not packager.ended and not watching._ended
        ends.picture(40, key=True)
        assert stream.tenure.attachment is None

    run(tmp_path, test, "w")


@pytest.mark.parametrize("ahead_s", [0, 5])
def test_the_clock_of_a_session_does_not_jump_by_its_next_edge(ahead_s: int) -> None:
    track = replace(TOLD[0])
    viewing = Viewing(Telemetry(), PASSPORT.hls)
    if ahead_s:
        shown(viewing, 100 + ahead_s)
    end = viewing.go_on(PASSPORT.session, PASSPORT.unix_ns, (track,))
    assert end == (0 if not ahead_s else (100 + ahead_s) * HZ - HZ // 25)
