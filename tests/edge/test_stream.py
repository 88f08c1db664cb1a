"""A stream over its workers, with workers that only say what they are told to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgen.deliver.live import LiveSettings
from streamgen.media.envelope import Envelope, Kind, opened, seal
from streamgen.media.packet import Packet
from streamgen_edge.asking import Refusal
from streamgen_edge.link import Link
from streamgen_edge.seats import Seating
from streamgen_edge.state import State
from streamgen_edge.stream import LiveStream
from streamgen_edge.tenure import KEYFRAME_S
from streamgen_edge.timeline import BASE
from tests.edge.test_link import FakeWorker, joined, until

MS = Fraction(1, 1000)
ASC = "1190"
TRACKS: list[dict[str, Any]] = [
    {"name": "video/90p", "kind": "video", "codec": "h264"},
    {"name": "audio/aac", "kind": "audio", "codec": "aac"},
]
FACTS = {
    "width": 160,
    "height": 90,
    "rate": [25, 1],
    "bitrate_bps": 100_000,
    "rate_hz": 48_000,
    "channels": 2,
    "extradata": ASC,
}


class Ends:
    """What became of a stream, and who publishes it."""

    announces_pictures = True

    def __init__(self, link: Link, seating: Seating | None = None) -> None:
        self.over: list[LiveStream] = []
        self.asked = 0
        """Key frames that the publisher was asked for."""
        self.stream = LiveStream(
            "x",
            7,
            link,
            {"name": "plain"},
            grace_s=0.6,
            hls=LiveSettings(),
            wall_ns=lambda: 0,
            ended=self.over.append,
            seating=seating,
        )
        self.stream.arrive(self)
        self.stream.describe("video/0", "h264", b"", None)

    def request_keyframe(self) -> None:
        self.asked += 1

    def picture(self, ms: int, *, key: bool = False) -> None:
        self.stream.take(Packet(b"unit%d" % ms, ms, ms, 0, MS, key, "video/0"), time.monotonic_ns())

    def sound(self, ms: int) -> None:
        self.stream.take(Packet(b"tone", ms, ms, 0, MS, True, "audio/0"), time.monotonic_ns())


async def asked(worker: FakeWorker, kind: str) -> tuple[dict[str, Any], bytes]:
    """The next control message of a kind that a worker hears, and what came with it."""
    while True:
        head, *parts = await asyncio.wait_for(worker.control.recv_multipart(), 5)
        message = json.loads(head)
        if message["type"] == kind:
            return message, b"".join(parts)


async def seated(worker: FakeWorker) -> dict[str, Any]:
    message, _ = await asked(worker, "attach")
    tracks = [{**FACTS, **track} for track in TRACKS]
    ids = {"stream": message["stream"], "term": message["term"]}
    await worker.say(type="attached", **ids, tracks=tracks, notes=["a note"])
    return message


def shown(pts: int) -> Packet:
    """A picture that a worker gives."""
    return Packet(b"\0\0\0\1\x41x", pts, pts, 3600, BASE, False, "video/90p")


async def pictures(worker: FakeWorker, number: int) -> list[Envelope]:
    """The next pictures that a worker gets; ticks of the sound left out."""
    found: list[Envelope] = []
    while len(found) < number:
        parts = await asyncio.wait_for(worker.media.recv_multipart(), 5)
        one = opened(*parts)
        if one.track == 0 and one.kind is Kind.PACKET:
            found.append(one)
    return found


def run(folder: Path, test: Callable[..., Awaitable[None]], *names: str) -> None:
    async def main() -> None:
        async with joined(folder, *names) as (link, workers):
            await test(Ends(link), *workers)

    asyncio.run(main())


def test_the_first_worker_decodes_the_gop_and_shows_what_comes_after_it(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        ends.picture(5000)  # of no use
        ends.picture(5040, key=True)
        message, head = await asked(worker, "attach")
        assert head == b"unit5040" and message["opening_ns"] == 500_000_000
        ends.picture(5080)
        tracks = [{**FACTS, **track} for track in TRACKS]
        ids = {"stream": message["stream"], "term": message["term"]}
        await worker.say(type="attached", **ids, tracks=tracks, notes=[])
        await until(lambda: ends.stream.state is State.LIVE)
        ends.picture(5120)
        got = [(e.packet.pts, e.packet.discard) for e in await pictures(worker, 3)]
        assert got == [(-3600, True), (0, True), (3600, False)]
        assert ends.stream.ledger.dropped == {"starting": 2}
        assert ends.asked == 1

    run(tmp_path, test, "w")


def test_all_wishes_for_key_frames_of_a_second_become_one(tmp_path: Path) -> None:
    """Whoever they are of: viewers, recordings, pushes."""

    async def test(ends: Ends, worker: FakeWorker) -> None:
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: ends.stream.state is State.LIVE)
        for reason in ("viewer", "push", "viewer", "recording"):
            ends.stream.tenure.request_keyframe(reason)
        message, _ = await asked(worker, "keyframe")
        assert message["reason"] == "viewer"
        ends.stream.tenure._asked_at -= KEYFRAME_S
        ends.stream.tenure.request_keyframe("recording")
        message, _ = await asked(worker, "keyframe")
        assert message["reason"] == "recording"

    run(tmp_path, test, "w")


def test_the_next_worker_is_told_what_viewers_have_and_replays(tmp_path: Path) -> None:
    async def test(ends: Ends, one: FakeWorker, two: FakeWorker) -> None:
        stream = ends.stream
        ends.picture(0, key=True)
        attachment = stream.tenure.attachment
        assert attachment is not None
        first, second = (one, two) if attachment.worker.name == "one" else (two, one)
        former = await seated(first)
        await until(lambda: stream.state is State.LIVE)
        for ms in (40, 80, 120):
            ends.picture(ms)
        stream.tenure.delivered(shown(3600), 0)
        change = asyncio.ensure_future(stream.change("style", {"strength": 0.5}, "0s"))
        asks, _ = await asked(first, "params")
        ids = {"stream": asks["stream"], "term": asks["term"], "request": asks["request"]}
        await first.say(type="params", **ids, version=1, pts=3600, time_base=[1, 90_000])
        assert (await change)["pts"] == 3600
        attachment.lost()
        ends.picture(160)
        message = await seated(second)
        assert message["term"] == former["term"] + 1
        assert message["after"] == {"video/90p": 3600}
        assert message["params"] == {"style": {"strength": 0.5}}
        assert message["opening_ns"] is None
        await until(lambda: stream.tenure.live is not None)
        ends.picture(200)
        got = [e.packet for e in await pictures(second, 6)]
        times = [(p.pts, p.discard, p.replayed) for p in got]
        # Viewers have 40: what comes after it is shown now, though it came before.
        assert times == [(ms * 90, ms < 80, ms < 200) for ms in (0, 40, 80, 120, 160, 200)]
        for ms in (80, 120, 160, 200):
            stream.tenure.delivered(shown(ms * 90), 0)
        assert stream.ledger.stats()["on_the_way"] == 0
        assert stream.ledger.dropped == {"starting": 1}
        assert (stream.ledger.frames_in, stream.ledger.frames_out) == (6, 5)

    run(tmp_path, test, "one", "two")


def test_a_lost_publisher_is_replaced_by_stills_until_its_grace_is_over(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream = ends.stream
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: stream.state is State.LIVE)
        stream.leave(ends, explicit=False)
        assert stream.state is State.GAP
        still = (await pictures(worker, 2))[1]
        assert still.packet.size_bytes == 0 and (still.packet.pts or 0) > 0
        await until(lambda: stream.state is not State.GAP)
        assert stream.state is State.ENDING  # the worker may finish what it has
        ids = {"stream": 7, "term": 1}
        await worker.say(type="ended", **ids, error="", stats={"dropped": {"late": 1}})
        await until(lambda: ends.over == [stream])
        assert stream.ledger.dropped["late"] == 1

    run(tmp_path, test, "w")


def given(ids: dict[str, int], packet: Packet, kind: Kind = Kind.PACKET) -> tuple[bytes, bytes]:
    """What a worker puts on its line of media."""
    return seal(packet, **ids, track=0, kind=kind), bytes(packet.data)


def test_what_a_worker_gave_is_shown_though_its_last_word_came_sooner(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream, ids = ends.stream, {"stream": 7, "term": 1}
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: stream.state is State.LIVE)
        stream.leave(ends, explicit=True)
        await worker.say(type="ended", **ids, error="", stats={"dropped": {"late": 1}}, whole=True)
        await worker.say(type="stats", **ids, stats={"dropped": {}, "heard": True})
        await until(lambda: stream.ledger.stats().get("heard"))
        assert stream.state is State.ENDING
        await worker.media.send_multipart(given(ids, shown(0)))
        await until(lambda: stream.ledger.frames_out == 1)
        assert stream.state is State.ENDING
        await worker.media.send_multipart(given(ids, shown(0), Kind.END))
        await until(lambda: ends.over == [stream])
        assert not stream.ledger.dropped and not stream.error

    run(tmp_path, test, "w")


def test_a_worker_that_is_slow_with_what_is_inside_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgen_edge.stream.FINISH_S", 0.5)

    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream, ids = ends.stream, {"stream": 7, "term": 1}
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: stream.state is State.LIVE)
        await worker.media.send_multipart(given(ids, shown(0)))
        await until(lambda: stream.ledger.frames_out == 1)
        stream.leave(ends, explicit=True)
        first = stream._timer
        await worker.media.send_multipart(given(ids, shown(3600)))
        await until(lambda: stream._timer is not first)
        assert stream.state is State.ENDING
        await until(lambda: ends.over == [stream])
        assert stream.ledger.frames_out == 2

    run(tmp_path, test, "w")


def test_a_worker_that_dies_behind_its_last_word_has_ended_the_stream(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream, ids = ends.stream, {"stream": 7, "term": 1}
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: stream.state is State.LIVE)
        stream.leave(ends, explicit=True)
        await worker.say(type="ended", **ids, error="", stats={"dropped": {}}, whole=True)
        await worker.say(type="stats", **ids, stats={"dropped": {}, "heard": True})
        await until(lambda: stream.ledger.stats().get("heard"))
        attachment = stream.tenure.attachment
        assert attachment is not None
        attachment.lost()
        assert ends.over == [stream] and not stream.error

    run(tmp_path, test, "w")


def test_a_worker_that_cannot_take_the_stream_ends_it_with_the_reason(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        ends.picture(0, key=True)
        message, _ = await asked(worker, "attach")
        ids = {"stream": message["stream"], "term": message["term"]}
        await worker.say(type="ended", **ids, error="no such model", stats=None)
        await until(lambda: ends.over)
        assert ends.stream.error == "no such model"

    run(tmp_path, test, "w")


def test_a_stream_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        ends.picture(0, key=True)
        for _ in range(6):
            attachment = ends.stream.tenure.attachment
            assert attachment is not None
            attachment.lost()
            if not ends.over:
                await until(lambda: ends.stream.tenure.attachment)
        assert ends.over and "too many workers" in ends.stream.error

    run(tmp_path, test, "w")


def test_what_two_workers_have_died_of_is_not_shown_by_a_third(tmp_path: Path) -> None:
    async def test(ends: Ends, one: FakeWorker, two: FakeWorker) -> None:
        stream, workers = ends.stream, {"one": one, "two": two}
        ends.picture(0, key=True)
        got: list[list[bool]] = []
        for _ in range(3):
            attachment = stream.tenure.attachment
            assert attachment is not None
            worker = workers[attachment.worker.name]
            await seated(worker)
            await until(lambda: stream.tenure.live is not None)
            if not got:
                ends.picture(40)
            got.append([e.packet.discard for e in await pictures(worker, 2)])
            attachment.lost()
        assert got == [[True, False], [True, False], [True, True]]
        assert stream.ledger.dropped == {"starting": 1, "worker_lost": 1}

    run(tmp_path, test, "one", "two")


def test_parameters_wait_where_no_pictures_flow_and_refusals_change_nothing(
    tmp_path: Path,
) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream = ends.stream
        pending = await stream.change("style", {"strength": 0.1}, "0s")
        assert (pending["version"], pending["pts"]) == (1, None)
        ends.picture(0, key=True)
        assert (await seated(worker))["params"] == {"style": {"strength": 0.1}}
        await until(lambda: stream.tenure.live is not None)
        change = asyncio.ensure_future(stream.change("style", {"strength": 9}, "0s"))
        message, _ = await asked(worker, "params")
        ids = {"stream": message["stream"], "term": message["term"]}
        said = {"type": "refused_params", "request": message["request"], "error": "too strong"}
        await worker.say(**ids, **said)
        with pytest.raises(Refusal, match="too strong"):
            await change
        assert (stream.version, stream.params) == (1, {"style": {"strength": 0.1}})

    run(tmp_path, test, "w")


def test_a_stream_that_its_worker_leaves_unasked_goes_to_another(tmp_path: Path) -> None:
    async def test(ends: Ends, one: FakeWorker, two: FakeWorker) -> None:
        ends.picture(0, key=True)
        attachment = ends.stream.tenure.attachment
        assert attachment is not None
        first, second = (one, two) if attachment.worker.name == "one" else (two, one)
        left = await seated(first)
        await until(lambda: ends.stream.state is State.LIVE)
        ids = {"stream": left["stream"], "term": left["term"]}
        await first.say(type="ended", **ids, error="", stats={"dropped": {}})
        await seated(second)
        await until(lambda: ends.stream.tenure.live)
        assert ends.over == []

    run(tmp_path, test, "one", "two")
