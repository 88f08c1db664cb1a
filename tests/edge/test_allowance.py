"""What a publisher may send, and how many may watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgen.media.packet import Packet
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.allowance import Allowance, Audience
from streamgen_edge.hls import Viewer
from streamgen_edge.publishing import Streams
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Ended, Publisher, Refused
from streamgen_edge.settings import Server
from streamgen_edge.sink import RtmpSink
from tests.edge.test_link import joined, until
from tests.edge.test_stream import MS

Rate = Callable[[float], float]


def ends_at(rate: Rate, seconds: int = 300) -> float | None:
    """When a sender of this many bits per second, by time, is over 1 Mbit/s for too long."""
    allowance, sent = Allowance(1_000_000), 0.0
    for tick in range(seconds * 25):
        sent += rate(tick / 25) / 8 / 25
        if allowance.exceeded(round(sent), tick / 25):
            return tick / 25
    return None


@pytest.mark.parametrize(
    "rate",
    [
        lambda at: 1_000_000,
        lambda at: 5_000_000 if at % 60 < 2 else 700_000,
        lambda at: 200_000_000 if 5 <= at < 5.04 else 500_000,  # 8 s of a jam at once
    ],
    ids=["as agreed", "a scene that moves", "a jam that clears"],
)
def test_bursts_are_nobodys_fault(rate: Rate) -> None:
    assert ends_at(rate) is None


@pytest.mark.parametrize(("factor", "seconds"), [(1.1, 100), (1.5, 20), (2, 10), (5, 2.5)])
def test_who_sends_too_much_for_long_is_ended(factor: float, seconds: float) -> None:
    at = ends_at(lambda _: factor * 1_000_000)
    assert at is not None and abs(at - seconds) < seconds / 20 + 0.3


def test_viewers_are_counted_while_they_ask() -> None:
    audience = Audience()
    assert audience.admits(None, "a", 2, 0.0) and audience.admits(None, "b", 2, 1.0)
    assert not audience.admits(None, "c", 2, 2.0)
    assert audience.admits(None, "a", 2, 9.0)  # who watches already goes on
    assert audience.count(9.0) == 2
    assert audience.admits(None, "c", 2, 12.0)  # b has left
    assert not audience.admits(None, "b", 2, 12.0)
    assert audience.admits("token", "b", 3, 12.0) and audience.count(12.0) == 3
    assert audience.count(60.0) == 0


class Line:
    """A connection that remembers why it was closed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def leave(self, reason: str) -> None:
        self.reasons.append(reason)

    def hold(self, held: bool) -> None: ...

    def ask_to_reconnect(self, url: str | None) -> bool:
        return False


LIMITED = {
    "pipeline": "transcode",
    "streams": {"*": {"publish": "anyone", "limits": {"bitrate": "80k", "viewers": 2}}},
}


def test_a_publisher_beyond_its_bitrate_is_told_why_and_may_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with joined(tmp_path) as (link, _):
            streams = Streams(Server(**LIMITED), link, Metrics(), lambda: 0)  # type: ignore[arg-type]
            line = Line()
            publisher = Publisher(Publish("live", "cam", None, "::1", "test"), line, Limits())
            sink = await streams.publish(publisher)
            assert isinstance(sink, RtmpSink)
            for number in range(12):
                publisher.stats.bytes += 10_000
                unit = Packet(bytes(10_000), number, number, 0, MS, True, "video/0")
                took = sink.packet(unit)
            assert not took
            await until(lambda: line.reasons)
            assert line.reasons == ["more than the 0.08 Mbit/s that this stream may have"]
            stream = streams.find("cam")
            assert stream is not None and stream.telemetry.counts("refused") == {"bitrate": 1}
            sink.ended(Ended(explicit=False, reason=line.reasons[0]))

    asyncio.run(main())


def test_a_stream_has_so_many_viewers_by_whatever_protocol(tmp_path: Path) -> None:
    async def main() -> None:
        async with joined(tmp_path) as (link, _):
            streams = Streams(Server(**LIMITED), link, Metrics(), lambda: 0)  # type: ignore[arg-type]
            publisher = Publisher(Publish("live", "cam", None, "::1", "test"), Line(), Limits())
            await streams.publish(publisher)
            ask = [await streams.viewers.may_play(Viewer("cam", None, one)) for one in "abca"]
            assert ask == [None, None, 503, None]
            streams.watching = lambda name: 1  # somebody by WebRTC
            assert await streams.viewers.may_play(Viewer("cam", None, "d")) == 503
            # That there is none is said later.
            assert await streams.viewers.may_play(Viewer("none", None, "d")) is None
            stream = streams.find("cam")
            assert stream is not None and stream.telemetry.counts("refused") == {"viewers": 2}

    asyncio.run(main())


def published(name: str) -> Publisher:
    return Publisher(Publish("live", name, None, "::1", "test"), Line(), Limits())


def test_the_server_has_so_many_streams_and_viewers_in_all(tmp_path: Path) -> None:
    async def main() -> None:
        limited = {**LIMITED, "limits": {"streams": 2, "viewers": 3}}
        async with joined(tmp_path) as (link, _):
            own = Telemetry()
            streams = Streams(Server(**limited), link, Metrics(), lambda: 0, own)  # type: ignore[arg-type]
            for name in ("one", "two", "one"):  # who takes over needs no place
                await streams.publish(published(name))
            with pytest.raises(Refused, match="as many streams as it may") as refused:
                await streams.publish(published("three"))
            assert refused.value.later
            ask = [
                await streams.viewers.may_play(Viewer(name, None, who))
                for name, who in (("one", "a"), ("one", "b"), ("two", "a"), ("two", "b"))
            ]
            assert ask == [None, None, None, 503]
            # Who watches goes on.
            assert await streams.viewers.may_play(Viewer("one", None, "a")) is None
            assert own.counts("refused") == {"streams": 1, "viewers": 1}
            streams.use(Server(**LIMITED))  # type: ignore[arg-type]
            await streams.publish(published("three"))
            assert await streams.viewers.may_play(Viewer("two", None, "b")) is None
            streams.watching = lambda name: 2  # by WebRTC; one has as many as a stream may have
            room = streams.viewers.room("one", Server(**LIMITED).stream("one"))  # type: ignore[arg-type]
            assert room == 2

    asyncio.run(main())
