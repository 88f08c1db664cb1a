"""Viewers at any edge get the same playlists, parts and packets, which come once from the home."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from streamgen.control.wire import encoded
from streamgen.deliver.grid import NS
from streamgen.media.packet import Packet
from streamgen_edge.attachment import OutTrack
from streamgen_edge.hls import hls_app
from streamgen_edge.mirror import mirrors, outlets, replica
from streamgen_edge.mirror.door import MirrorDoor
from streamgen_edge.mirror.mirrors import address
from tests.edge.hls.asking import ask
from tests.edge.webrtc.peers import looped

from .edges import NAME, SESSION, UNIX_NS, HomeEdge, OtherEdge, home, other, tape, until

TOP = f"/hls/{NAME}/index.m3u8"
RUNG = f"/hls/{NAME}/{SESSION}/180p"
Tape = tuple[list[OutTrack], list[Packet]]
PART = re.compile(r'#EXT-X-PART:.*URI="([^"]+)"(?!.*GAP)')


@pytest.fixture(scope="module")
def taped() -> Tape:
    return tape()


async def same(one: HomeEdge, *others: OtherEdge, place: str = RUNG, query: str = "") -> str:
    """A playlist that reads the same everywhere, once all has come."""
    for edge in others:
        await edge.get(TOP)
        await until(lambda edge=edge: edge.level(one), "all has come")  # type: ignore[misc]
    (first, *rest) = await asyncio.gather(
        ask(one.app, f"{place}/index.m3u8", query),
        *(edge.get(f"{place}/index.m3u8", query) for edge in others),
    )
    assert first.status == 200, first.text
    for answer in rest:
        assert (answer.status, answer.text) == (200, first.text)
        assert answer.headers["etag"] == first.headers["etag"]
    return first.text


@looped
async def test_a_player_that_changes_the_edge_at_each_request_sees_one_stream(
    taped: Tape, tmp_path: Path
) -> None:
    async with (
        home(tmp_path / "a", *taped) as one,
        other(tmp_path / "b") as two,
        other(tmp_path / "c") as three,
    ):
        one.begin()
        one.send(2.7)
        for edge in (two, three):
            edge.word.moved(one)
        tops = [await edge.get(TOP) for edge in (two, three)] + [await ask(one.app, TOP)]
        assert [top.status for top in tops] == [200] * 3 and len({top.text for top in tops}) == 1
        text = await same(one, two, three)
        at_s, segments = 2.7, set()
        for turn in range(18):
            at_s += 1 / 3
            assert one.viewing.packager is not None
            number, index = one.viewing.packager.renditions["180p"].window.following()
            wanted = f"_HLS_msn={number}&_HLS_part={index}"
            asked = [
                asyncio.ensure_future(edge.get(f"{RUNG}/index.m3u8", wanted))
                for edge in (two, three)
            ]
            await asyncio.sleep(0.02)
            assert not any(one.done() for one in asked), "answered too soon"
            one.send(at_s)
            for answer in await asyncio.gather(*asked):
                assert answer.status == 200
            for skip in ("", "_HLS_skip=YES"):
                text = await same(one, two, three, query=skip)
                await same(one, two, three, place=RUNG.replace("180p", "audio-aac"), query=skip)
            uri = PART.findall(text)[-1]
            parts = [await ask(one.app, f"{RUNG}/{uri}")]
            parts += [await edge.get(f"{RUNG}/{uri}") for edge in (two, three)]
            assert [part.status for part in parts] == [200] * 3
            assert len({part.body for part in parts}) == 1
            segments.add(number)
            edge = (two, three)[turn % 2]
            whole = await edge.get(f"{RUNG}/{number - 1}.m4s")
            assert whole.body == (await ask(one.app, f"{RUNG}/{number - 1}.m4s")).body
        assert len(segments) > 4
        (header,) = set(re.findall('MAP:URI="([^"]+)"', text))
        assert (await two.get(f"{RUNG}/{header}")).body == (
            await ask(one.app, f"{RUNG}/{header}")
        ).body
        one.viewing.end()
        await until(lambda: (copy := two.mirrors.find(NAME)) is not None and copy.over)
        assert "#EXT-X-ENDLIST" in await same(one, two)


@looped
async def test_many_viewers_cost_one_copy_which_goes_with_the_last(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "LINGER_S", 0.5)
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(3)
        two.word.moved(one)
        answers = await asyncio.gather(*(two.get(f"{RUNG}/index.m3u8") for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert one.wants == ["parts", "stream"]
        stored = sum(
            len(part.data)
            for rendition in one.viewing.packager.renditions.values()  # type: ignore[union-attr]
            for piece in rendition.window.pieces
            for part in piece.parts
        )
        assert stored < two.own.counts("mirror_bytes")["received"] < 1.1 * stored
        assert "streamgen_mirrored" not in two.metrics.text().decode()  # that is the server's own
        await until(lambda: two.own.gauges().get(("mirrored", "here")) == 1)
        await until(lambda: one.wants == [], "nobody wants anything")
        await until(lambda: not two.word.sought)
        one.send(5)
        assert (await two.get(f"{RUNG}/index.m3u8")).status == 200  # and comes with the next
        await same(one, two)


@looped
async def test_what_was_cut_off_for_a_while_goes_on_where_it_was(
    taped: Tape, tmp_path: Path
) -> None:
    """The home lives, and so do its windows: only what is new comes."""
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(4.4)
            two.word.moved(one)
            await same(one, two)
            before = two.own.counts("mirror_bytes")["received"]
        one.send(5.4)
        one.door = MirrorDoor(address(one.place), one, one.answer, one.own)
        async with one.door:
            await until(lambda: two.level(one), "all that was missed")
            after = two.own.counts("mirror_bytes")["received"]
            one.send(6.4)
            await same(one, two)
    assert 0 < after - before < before / 2
    assert two.streams.viewers.find(NAME, hls=True) is None  # the edge has ended


@looped
async def test_who_comes_when_the_home_is_dead_gets_what_there_is(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody watches by WebRTC, so the stream is here, if not all of it."""
    monkeypatch.setattr(replica, "LINGER_S", 0.3)
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(3)
            two.word.moved(one)
            await same(one, two)
            stream = await two.streams.viewers.demanded(NAME, hls=False)
            assert stream is not None
            sound = stream.viewing.feed.subscribe("audio/aac")
            await until(lambda: one.wants == ["packets audio/aac", "stream"])
        two.word.moved(None, "")
        assert (await two.get(f"{RUNG}/index.m3u8")).status == 200
        sound.close()


@looped
async def test_what_nobody_has_is_not_waited_for(taped: Tape, tmp_path: Path) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        two.word.moved(None, "")
        assert (await two.get(TOP)).status == 404
        assert await two.streams.viewers.demanded(NAME, hls=False) is None
        two.word.moved(one)  # its home does not know it (any more)
        async with asyncio.timeout(2.5):
            assert (await two.get(TOP)).status == 404
        one.begin()
        one.send(2)
        await until(lambda: two.mirrors.find(NAME))
        assert (await two.get(TOP)).status == 200


@looped
async def test_who_may_not_watch_makes_no_edge_fetch_anything(taped: Tape, tmp_path: Path) -> None:
    async def nobody(viewer: Any) -> int | None:
        return 403

    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(2)
        two.word.moved(one)
        viewers = two.streams.viewers
        app = hls_app(viewers, nobody, demand=viewers.demand)
        assert (await ask(app, TOP)).status == 403
        assert (await ask(app, f"{RUNG}/index.m3u8")).status == 403
        assert not two.word.sought and one.wants == []
        assert (await ask(app, f"{RUNG}/0.m4s")).status == 200  # who knows the session may


@looped
async def test_so_many_names_are_sought_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "MOST", 3)
    monkeypatch.setattr(mirrors, "LEAST_S", 0.3)
    async with other(tmp_path / "b") as two:
        await asyncio.gather(*(two.get(f"/hls/n{number}/index.m3u8") for number in range(9)))
        assert sorted(two.word.sought) == ["n0", "n1", "n2"]
        await asyncio.sleep(0.3)
        await two.get("/hls/n9/index.m3u8")
        assert sorted(two.word.sought) == ["n1", "n2", "n9"]


@looped
async def test_packets_come_once_for_all_who_watch_by_webrtc(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "LINGER_S", 0.5)
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(2.1)
        two.word.moved(one)
        viewers = two.streams.viewers
        stream = await viewers.demanded(NAME, hls=False)
        assert stream is not None and stream.session == SESSION
        assert [track.name for track in stream.viewing.tracks] == [one.name for one in one.tracks]
        some = [stream.viewing.feed.subscribe("video/180p") for _ in range(3)]
        viewers.request_keyframe(NAME, "viewer")
        await until(lambda: one.wants == ["packets video/180p", "stream"])
        await until(lambda: one.asked == [f"{NAME} viewer"])
        sent = [packet for packet in one.packets if packet.track == "video/180p"]
        one.send(4)
        got = [[await anext(feed) for _ in range(40)] for feed in some]
        first = next(at for at, packet in enumerate(sent) if packet.keyframe)
        assert got[0] == got[1] == got[2]
        assert [(p.pts, bytes(p.data)) for p in got[0]] == [
            (p.pts, bytes(p.data)) for p in sent[first : first + 40]
        ]
        some.append(stream.viewing.feed.subscribe("audio/aac"))
        await until(lambda: "packets audio/aac" in one.wants)
        one.packets = [packet for packet in one.packets if packet.track != "video/180p"]
        one.send(5.5)
        await until(lambda: stream.viewing.resting == {"video/180p"}, "it rests here, too")
        for feed in some:
            feed.close()
        await until(lambda: one.wants == [], "nobody wants anything")


@looped
async def test_an_edge_that_reads_nothing_holds_up_nobody_and_goes_on_with_what_there_is(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlets, "WINDOW_BYTES", 20_000)
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(1)
        context: Any = zmq.asyncio.Context()
        slow = context.socket(zmq.DEALER)
        slow.connect(address(one.place))
        for message in (
            {"type": "hello"},
            {"type": "want", "sub": 1, "stream": NAME, "what": "parts"},
            {"type": "want", "sub": 2, "stream": NAME, "what": "packets", "track": "video/180p"},
        ):
            await slow.send(encoded(message))
        await until(lambda: one.wants == ["packets video/180p", "parts"])
        (guest,) = one.door.guests.values()
        two.word.moved(one)
        assert (await two.get(TOP)).status == 200
        for at_s in range(2, 13):
            one.send(at_s)
            await slow.send(encoded({"type": "beat"}))
            await asyncio.sleep(0.05)
            await same(one, two)
        flows = [want.outlet.flow for want in guest.wants.values() if want.outlet is not None]
        assert flows and all(flow.full for flow in flows)
        for number, flow in zip((1, 2), flows, strict=True):
            had = {"type": "had", "sub": number, "bytes": flow._sent, "messages": flow._messages}
            await slow.send(encoded(had))
        await until(lambda: one.own.counts("mirror_resyncs").get("too_slow", 0) == 2)
        slow.close(0)
        context.term()


@pytest.mark.parametrize("until_s", [4.4, 1.2])
def test_without_its_home_a_stream_stays_for_grace_and_goes_on_at_the_next(
    taped: Tape, tmp_path: Path, until_s: float
) -> None:
    asyncio.run(_goes_on(taped, tmp_path, until_s))


async def _goes_on(taped: Tape, tmp_path: Path, until_s: float) -> None:
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(until_s)
            two.word.moved(one)
            before = await same(one, two)
        assert (await two.get(f"{RUNG}/index.m3u8")).text == before
        async with home(tmp_path / "c", *taped) as next_home:
            next_home.begin()
            next_home.send(until_s - 0.5)  # so far it had come there
            next_home.viewing.go_on(SESSION, 0, next_home.tracks)
            next_home.skip(until_s + 1.8)
            two.word.moved(next_home, "edge-c")
            next_home.send(until_s + 3.8)
            await until(lambda: next_home.wants == ["parts", "stream"])
            after = await same(next_home, two)
            assert "GAP=YES" in after
            numbers = [int(n) for n in re.findall(r"\n(\d+)\.m4s", after)]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
            for edge_text in (before, after):
                assert "#EXT-X-ENDLIST" not in edge_text


@looped
async def test_the_next_home_need_not_have_seen_the_stream_before(
    taped: Tape, tmp_path: Path
) -> None:
    """What it lacks viewers have elsewhere; up to its first segment they get gaps."""
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(4.4)
            two.word.moved(one)
            before = await same(one, two)
        async with home(tmp_path / "c", *taped) as next_home:
            next_home.viewing.go_on(SESSION, UNIX_NS, next_home.tracks)
            next_home.begin(begun=True)
            next_home.skip(5.2)
            two.word.moved(next_home, "edge-c")
            for at_s in (5.9, 6.4, 7.9):
                next_home.send(at_s)
                for place in (RUNG, RUNG.replace("180p", "audio-aac")):
                    answer = await two.get(f"{place}/index.m3u8")
                    assert answer.status == 200
            await until(lambda: two.level(next_home))
            after = (await two.get(f"{RUNG}/index.m3u8")).text
        numbers = [int(n) for n in re.findall(r"\n(\d+)\.m4s", before + after)]
        assert set(numbers) == set(range(numbers[0], numbers[-1] + 1))
        found = two.mirrors.find(NAME)
        assert found is not None and found.viewing.packager is not None
        for rendition in found.viewing.packager.renditions.values():
            pieces = [*rendition.window.pieces]
            assert all(piece.complete for piece in pieces[:-1])
            assert [piece.number for piece in pieces if piece.gap] == [5, 6]
            for piece, following in pairwise(pieces):
                assert abs(piece.start_ns + piece.duration_ns - following.start_ns) < NS // 40


@looped
async def test_viewers_stay_where_the_stream_comes_to_their_edge_and_leaves_it(
    taped: Tape, tmp_path: Path
) -> None:
    """Its publisher comes here, then goes to a third edge."""
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(3)
        two.word.moved(one)
        await same(one, two)
        stream = await two.streams.viewers.demanded(NAME, hls=False)
        assert stream is not None
        low = stream.viewing.feed.subscribe("video/90p")
        await until(lambda: "packets video/90p" in one.wants)
        viewing = two.mirrors.give_up(NAME)
        assert viewing is stream.viewing and two.mirrors.find(NAME) is None
        assert not two.word.sought
        await until(lambda: one.wants == [], "nothing is wanted of the former home")

        viewing.go_on(SESSION, UNIX_NS, one.tracks)
        ours = [packet for packet in one.packets if 4 <= packet.time_s < 5]
        for packet in ours:
            viewing.put(packet)
        pictures = [packet for packet in ours if packet.track == "video/90p"]
        assert [await anext(low) for _ in pictures] == pictures

        two.mirrors.adopt(NAME, viewing)
        async with home(tmp_path / "c", *taped) as third:
            third.viewing.go_on(SESSION, UNIX_NS, third.tracks)
            third.begin(begun=True)
            two.word.moved(third, "edge-c")
            await until(lambda: "packets video/90p" in third.wants and "parts" in third.wants)
            assert third.asked == [f"{NAME} new home"]
            third.skip(6)
            third.send(9)
            next_ = await anext(low)
            assert next_.keyframe and next_.pts is not None and next_.pts >= 6 * 90_000
            await until(lambda: two.level(third))
            text = (await two.get(f"{RUNG}/index.m3u8")).text
            numbers = [int(n) for n in re.findall(r"\n(\d+)\.m4s", text)]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)) and "ENDLIST" not in text
            assert two.mirrors.find(NAME).viewing is viewing  # type: ignore[union-attr]


@looped
async def test_a_stream_whose_home_does_not_come_back_ends(taped: Tape, tmp_path: Path) -> None:
    async with other(tmp_path / "b", grace_s=0.3) as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(3)
            two.word.moved(one)
            await same(one, two)
            stream = await two.streams.viewers.demanded(NAME, hls=False)
            assert stream is not None
            sound = stream.viewing.feed.subscribe("audio/aac")
            two.word.moved(None, "")  # the coordinators know of no home
        async with asyncio.timeout(20):
            assert [packet async for packet in sound] == []
        assert "#EXT-X-ENDLIST" in (await two.get(f"{RUNG}/index.m3u8")).text
        assert stream.over
