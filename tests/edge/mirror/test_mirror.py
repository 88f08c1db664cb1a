"""Viewers at any edge get the same playlists, parts and packets, which come once from the home."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from streamgen.control.wire import encoded
from streamgen_edge.hls import hls_app
from streamgen_edge.mirror import mirrors, outlets, replica
from streamgen_edge.mirror.mirrors import address
from tests.edge.hls.asking import ask
from tests.edge.webrtc.peers import looped

from .edges import NAME, RUNG, SESSION, TOP, Tape, home, other, same, until

PART = re.compile(r'#EXT-X-PART:.*URI="([^"]+)"(?!.*GAP)')


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
        assert one.wants == ["ladder", "parts 180p", "stream"]
        assert one.viewing.packager is not None
        pieces = one.viewing.packager.renditions["180p"].window.pieces
        stored = sum(piece.size_bytes for piece in pieces)
        assert stored < two.own.counts("mirror_bytes")["received"] < 1.1 * stored
        assert "streamgen_mirrored" not in two.metrics.text().decode()  # that is the server's own
        await until(lambda: two.own.gauges().get(("mirrored", "here")) == 1)
        await until(lambda: one.wants == [], "nobody wants anything")
        await until(lambda: not two.word.sought)
        one.send(5)
        assert (await two.get(f"{RUNG}/index.m3u8")).status == 200  # and comes with the next
        await same(one, two)


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
            {"type": "want", "sub": 1, "stream": NAME, "what": "parts", "track": "180p"},
            {"type": "want", "sub": 2, "stream": NAME, "what": "packets", "track": "video/180p"},
        ):
            await slow.send(encoded(message))
        await until(lambda: one.wants == ["packets video/180p", "parts 180p"])
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
