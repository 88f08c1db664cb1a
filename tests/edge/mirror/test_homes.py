"""A stream's home dies, is cut off, or goes elsewhere: what viewers have stays, and goes on."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from pathlib import Path

import pytest

from streamgen.deliver.grid import NS
from streamgen_edge.mirror import replica
from streamgen_edge.mirror.door import MirrorDoor
from streamgen_edge.mirror.mirrors import address
from tests.edge.webrtc.peers import looped

from .edges import NAME, RUNG, SESSION, UNIX_NS, Tape, home, other, same, until


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
            await until(lambda: "parts 180p" in next_home.wants)
            after = await same(next_home, two)
            assert "GAP=YES" not in after  # players would stand still before it
            numbers = [int(n) for n in re.findall(r"\n(\d+)\.m4s", after)]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)) and numbers[0] > until_s + 2
            for edge_text in (before, after):
                assert "#EXT-X-ENDLIST" not in edge_text


@looped
async def test_the_next_home_need_not_have_seen_the_stream_before(
    taped: Tape, tmp_path: Path
) -> None:
    """What it lacks viewers have elsewhere, until its first segment is whole."""
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            one.begin()
            one.send(4.4)
            two.word.moved(one)
            await same(one, two, place=RUNG.replace("180p", "audio-aac"))
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
        first, last = (re.findall(r"\n(\d+)\.m4s", text) for text in (before, after))
        assert (first, last[0]) == (["0", "1", "2", "3", "4"], "7")
        found = two.mirrors.find(NAME)
        assert found is not None and found.viewing.packager is not None
        for rendition in found.viewing.packager.renditions.values():
            pieces = [*rendition.window.pieces]
            assert all(piece.complete for piece in pieces[:-1])
            assert not any(piece.gap for piece in pieces)
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
            await until(lambda: "packets video/90p" in third.wants and "parts 180p" in third.wants)
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
