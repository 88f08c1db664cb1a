"""A publisher comes to one edge, then to another: whose the stream is, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from streamgen.control.coordinator.homes import Home
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.homing import TAKEN
from streamgen_edge.limits import ServerLimits
from streamgen_edge.link import Link
from streamgen_edge.passport import OVER, Passport, Wishes
from streamgen_edge.publishing import Streams
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.recording.settings import RecordingSettings
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Publisher, Refused
from streamgen_edge.settings import Server
from streamgen_edge.stream import LiveStream
from streamgen_edge.viewing import Viewing
from tests.edge.test_allowance import Line
from tests.edge.test_going_on import PASSPORT
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped

NS = 1_000_000_000
WISHES = Wishes(False, {"there": PushSettings(url="rtmp://192.0.2.1/a/b", id="there")})


class Homes:
    """What coordinators would say (`homing.Homes`)."""

    edge = "edge-b"

    def __init__(self, passport: str = "") -> None:
        self.lost: Callable[[str, Home], None] = lambda stream, home: None
        self.doubted: Callable[[str], None] = lambda stream: None
        self.certain = True
        self.passport = passport
        self.at = self.edge
        self.epoch = self.alone_ms = 0
        self.claimed: list[str] = []
        self.carried: list[str] = []
        self.left: list[str] = []
        self.pause = asyncio.Event()
        self.pause.set()

    async def claim(self, stream: str) -> Home:
        self.claimed.append(stream)
        await self.pause.wait()
        self.epoch += 1
        return Home(stream, self.at, self.epoch, passport=self.passport, alone_ms=self.alone_ms)

    def sure(self, stream: str) -> bool:
        return self.certain

    def carry(self, stream: str, passport: str) -> None:
        self.passport = passport
        self.carried.append(passport)

    def leave(self, stream: str) -> None:
        self.left.append(stream)


class Copies:
    """Viewers of other edges' streams (`homing.Copies`)."""

    def __init__(self, viewing: Viewing | None = None) -> None:
        self.viewing = viewing
        self.adopted: list[tuple[str, Viewing]] = []

    def give_up(self, name: str) -> Viewing | None:
        viewing, self.viewing = self.viewing, None
        return viewing

    def adopt(self, name: str, viewing: Viewing) -> None:
        self.adopted.append((name, viewing))


class Edge:
    def __init__(self, streams: Streams, homes: Homes, copies: Copies) -> None:
        self.streams, self.homes, self.copies = streams, homes, copies
        self.lines: list[Line] = []

    async def publish(self, name: str = "cam") -> LiveStream:
        line = Line()
        self.lines.append(line)
        await self.streams.publish(
            Publisher(Publish("live", name, None, "::1", "test"), line, Limits())
        )
        stream = self.streams.find(name)
        assert stream is not None
        return stream


@asynccontextmanager
async def edge(homes: Homes, copies: Copies | None = None, **more: Any) -> AsyncIterator[Edge]:
    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(**more), link, Metrics(), time.time_ns)
            streams.homing.join(homes)
            streams.homing.copies = copies = copies or Copies()
            yield Edge(streams, homes, copies)
            streams.end_all()
            assert await streams.pushes.finished(20)
            assert await streams.recordings.finished(20)


def passport(**more: Any) -> str:
    now = time.time_ns() - 100 * NS
    return replace(PASSPORT, unix_ns=now, **more).text


@looped
async def test_a_stream_whose_publisher_comes_here_goes_on_with_all_that_was_wished() -> None:
    async with edge(Homes(passport(wishes=WISHES))) as one:
        stream = await one.publish()
        assert (stream.session, stream.pipeline) == (PASSPORT.session, PASSPORT.pipeline)
        assert one.streams.recordings.wish("cam") is False
        assert one.streams.pushes.wishes("cam") == WISHES.push
        assert stream.viewing.pushes is not None
        assert [push["id"] for push in stream.viewing.pushes.facts()] == ["there"]
        again = Passport.read(one.homes.passport)  # for the next home, and the next leader
        assert (again.session, again.wishes) == (PASSPORT.session, WISHES)
        one.streams.record("cam", True)
        assert Passport.read(one.homes.passport).wishes.record is True
        one.streams.ends_push("cam", "there")
        assert Passport.read(one.homes.passport).wishes.push == {}


@looped
async def test_viewers_who_are_here_already_are_the_stream_s() -> None:
    async with edge(Homes(passport())) as one:
        viewing = one.copies.viewing = Viewing(Telemetry(), PASSPORT.hls)
        viewing.begin(PASSPORT.session, PASSPORT.unix_ns, PASSPORT.tracks)
        stream = await one.publish()
        assert stream.viewing is viewing


@looped
@pytest.mark.parametrize("over", [True, False])
async def test_viewers_of_a_session_that_is_over_or_another_see_its_end(over: bool) -> None:
    async with edge(Homes(passport())) as one:
        viewing = one.copies.viewing = Viewing(Telemetry(), PASSPORT.hls)
        session = PASSPORT.session if over else "another" * 3
        viewing.begin(session, PASSPORT.unix_ns, PASSPORT.tracks)
        if over:
            viewing.end()
        stream = await one.publish()
        assert stream.session == PASSPORT.session and stream.viewing is not viewing
        packager = viewing.packager
        assert packager is not None and packager.ended


@looped
@pytest.mark.parametrize("said", ["", OVER, "of another version"])
async def test_a_stream_of_which_nothing_is_said_begins(said: str) -> None:
    async with edge(Homes(said)) as one:
        stream = await one.publish()
        assert stream.session != PASSPORT.session
        assert stream.viewing.packager is None and not one.homes.carried


@looped
@pytest.mark.parametrize(("alone_s", "goes_on"), [(19, True), (21, False)])
async def test_a_stream_whose_edge_was_gone_for_longer_than_grace_begins_anew(
    alone_s: int, goes_on: bool
) -> None:
    async with edge(Homes(passport())) as one:
        one.homes.alone_ms = alone_s * 1000
        stream = await one.publish()
        assert (stream.session == PASSPORT.session) is goes_on


@looped
async def test_a_publisher_that_comes_back_to_the_same_edge_claims_nothing() -> None:
    async with edge(Homes(passport())) as one:
        stream = await one.publish()
        assert await one.publish() is stream
        assert one.homes.claimed == ["cam"]
        assert one.lines[0].reasons == [TAKEN] and not one.lines[1].reasons


@looped
async def test_a_stream_whose_newer_publisher_is_elsewhere_is_let_go_of() -> None:
    async with edge(Homes(passport(wishes=WISHES))) as one:
        stream = await one.publish()
        viewing, pushes = stream.viewing, stream.viewing.pushes
        assert pushes is not None
        one.homes.lost("cam", Home("cam", "edge-c", 9))
        assert one.lines[0].reasons == [TAKEN]
        assert one.streams.find("cam") is None and not list(one.streams)
        assert one.copies.adopted == [("cam", viewing)]
        assert viewing.pushes is None and pushes._over
        assert not one.homes.left  # it is another's, and it is not over
        assert one.homes.passport != OVER
        one.homes.lost("cam", Home("cam", "edge-c", 9))  # once more
        assert len(one.copies.adopted) == 1


@looped
async def test_a_stream_that_may_be_another_edge_s_is_not_pushed_until_that_is_known() -> None:
    async with edge(Homes(passport(wishes=WISHES))) as one:
        viewing = (await one.publish()).viewing
        pushes = viewing.pushes
        assert pushes is not None
        (former,) = pushes._all.values()
        one.homes.certain = False
        one.homes.doubted("cam")
        more = PushSettings(url="rtmp://192.0.2.1/c/d", id="more")
        one.streams.ask_push("cam", "more", more)
        assert former.over and not pushes.facts()
        one.homes.certain = True
        one.homes.doubted("cam")
        assert [row["id"] for row in pushes.facts()] == ["there", "more"]
        one.homes.doubted("gone")


@looped
async def test_one_edge_alone_records_a_stream(tmp_path: Path) -> None:
    """That where its publisher is, as the API of another edge was asked to."""
    wished = replace(WISHES, record=True, push={})
    settings = RecordingSettings(folder=tmp_path, min_free=0)
    async with edge(Homes(passport(wishes=wished)), recording=settings) as one:
        viewing = (await one.publish()).viewing
        recording = viewing.recording
        assert recording is not None and recording.facts()["state"] != "ended"
        one.homes.lost("cam", Home("cam", "edge-c", 9))
        assert viewing.recording is None and recording._ended
        packager = viewing.packager
        assert packager is not None and not packager._watchers


@looped
async def test_a_stream_that_has_moved_and_has_no_copies_here_ends_for_its_viewers() -> None:
    async with edge(Homes(passport())) as one:
        one.streams.homing.copies = None
        stream = await one.publish()
        one.homes.lost("cam", Home("cam", "edge-c", 9))
        packager = stream.viewing.packager
        assert packager is not None and packager.ended


@looped
async def test_a_publisher_with_a_newer_one_elsewhere_is_refused() -> None:
    async with edge(Homes(passport())) as one:
        one.homes.at = "edge-c"
        with pytest.raises(Refused, match=TAKEN):
            await one.publish()
        assert not list(one.streams) and not one.homes.left


@looped
async def test_a_stream_that_ends_is_left_and_not_gone_on_with() -> None:
    async with edge(Homes(passport())) as one:
        stream = await one.publish()
        stream.end()
        assert one.homes.passport == OVER and one.homes.left == ["cam"]
        assert (await one.publish()).session != PASSPORT.session


@looped
async def test_an_edge_that_leaves_its_streams_to_others_ends_none() -> None:
    async with edge(Homes(passport(wishes=WISHES))) as one:
        stream = await one.publish()
        pushes = stream.viewing.pushes
        assert pushes is not None
        one.streams.end_all(elsewhere=True)
        assert stream.over and one.streams.over.is_set()
        assert not one.homes.left and one.homes.passport != OVER
        assert one.lines[0].reasons == ["the stream was ended"] and pushes._over
        assert not stream.viewing.packager or not stream.viewing.packager.ended


@looped
async def test_what_is_claimed_and_cannot_begin_is_left() -> None:
    async with edge(Homes(passport())) as one:
        one.homes.pause.clear()
        coming = asyncio.create_task(one.publish())
        await until(lambda: one.homes.claimed)
        one.streams.closing = True
        one.homes.pause.set()
        with pytest.raises(Refused, match="stops"):
            await coming
        assert one.homes.left == ["cam"]


@looped
async def test_two_publishers_who_come_at_once_have_one_stream() -> None:
    async with edge(Homes(passport())) as one:
        one.homes.pause.clear()
        coming = [asyncio.create_task(one.publish()) for _ in range(2)]
        await until(lambda: len(one.homes.claimed) == 2)
        one.homes.pause.set()
        first, second = await asyncio.gather(*coming)
        assert first is second and len(list(one.streams)) == 1


@looped
async def test_a_full_edge_claims_nothing() -> None:
    async with edge(Homes(passport()), limits=ServerLimits(streams=1)) as one:
        await one.publish("one")
        with pytest.raises(Refused, match="as many streams"):
            await one.publish("two")
        assert one.homes.claimed == ["one"]
