"""Of another edge's stream those renditions come that HLS viewers here ask for, and no others."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from streamgen_edge.mirror import replica
from streamgen_edge.picture import Pictures
from tests.edge.hls.asking import ask
from tests.edge.webrtc.peers import looped

from .edges import RUNG, SESSION, TOP, UNIX_NS, HomeEdge, OtherEdge, Tape, home, other, same, until

LOW, SOUND = RUNG.replace("180p", "90p"), RUNG.replace("180p", "audio-aac")


def stored(one: HomeEdge, place: str) -> int:
    """Bytes of media that the home has of a rendition."""
    assert one.viewing.packager is not None
    pieces = one.viewing.packager.renditions[place].window.pieces
    return sum(piece.size_bytes for piece in pieces)


def received(two: OtherEdge) -> int:
    return two.own.counts("mirror_bytes").get("received", 0)


@looped
async def test_only_what_is_asked_for_crosses_the_link(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(3)
        two.word.moved(one)
        tops = [await two.get(TOP), await ask(one.app, TOP)]
        assert tops[0].status == 200 and tops[0].text == tops[1].text
        assert tops[0].headers["etag"] == tops[1].headers["etag"]
        assert tops[0].text.count("/index.m3u8") == 3
        assert received(two) == 0 and one.wants == ["ladder", "stream"]

        low = await same(one, two, place=LOW)
        assert low.count("RENDITION-REPORT") == 2  # of what is not here, too
        assert stored(one, "90p") <= received(two) < stored(one, "90p") + 5_000
        assert stored(one, "180p") > 10_000
        for at_s in (3.7, 4.4, 5.1):
            one.send(at_s)
            await same(one, two, place=LOW)
            await same(one, two, place=LOW, query="_HLS_skip=YES")
        assert one.wants == ["ladder", "parts 90p", "stream"]

        before = received(two)
        monkeypatch.setattr(replica, "LINGER_S", 0.8)
        assert one.viewing.packager is not None
        number, index = one.viewing.packager.renditions["180p"].window.following()
        reload = f"_HLS_msn={number}&_HLS_part={index}"
        asked = asyncio.ensure_future(two.get(f"{RUNG}/index.m3u8", reload))
        await until(lambda: "parts 180p" in one.wants)
        one.send(5.8)
        assert (await asked).status == 200
        text = await same(one, two)
        assert stored(one, "180p") <= received(two) - before < 1.5 * stored(one, "180p")
        for uri in (*re.findall(r"\n(\d+\.m4s)", text), *re.findall('MAP:URI="([^"]+)', text)):
            parts = [await ask(one.app, f"{RUNG}/{uri}"), await two.get(f"{RUNG}/{uri}")]
            assert parts[0].body == parts[1].body and parts[1].status == 200

        for _ in range(30):  # the low rung is asked for no more
            await two.get(f"{RUNG}/index.m3u8")
            await asyncio.sleep(0.05)
        assert one.wants == ["ladder", "parts 180p", "stream"]
        before, sent = received(two), stored(one, "180p")
        one.send(6.5)
        await same(one, two)
        assert received(two) - before <= stored(one, "180p") - sent + 20_000
        tops = [await two.get(TOP), await ask(one.app, TOP)]
        assert tops[0].text == tops[1].text
        await same(one, two, place=LOW)  # it comes again, from where it was
        await same(one, two, place=SOUND)


@looped
async def test_a_segment_of_a_rung_that_is_not_here_comes(taped: Tape, tmp_path: Path) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(4)
        two.word.moved(one)
        await same(one, two, place=LOW)
        for file in ("1.m4s", "2.0.m4s"):
            ours, theirs = await two.get(f"{RUNG}/{file}"), await ask(one.app, f"{RUNG}/{file}")
            assert (ours.status, ours.body) == (200, theirs.body)
        assert (await two.get(f"{RUNG}/99.m4s")).status == 404


@looped
async def test_a_rung_is_there_when_the_stream_has_ended(taped: Tape, tmp_path: Path) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(4)
        two.word.moved(one)
        await same(one, two, place=LOW)
        one.viewing.end()
        copy = two.mirrors.find("cam")
        assert copy is not None
        await until(lambda: copy.over)
        for place in (LOW, RUNG, SOUND):
            assert "#EXT-X-ENDLIST" in await same(one, two, place=place)


@looped
async def test_all_rungs_stay_in_the_playlist_where_the_stream_gets_its_home(
    taped: Tape, tmp_path: Path
) -> None:
    """Of rungs that nobody asked for here there is no segment yet."""
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(4)
        two.word.moved(one)
        await same(one, two, place=LOW)
        before = (await two.get(TOP)).text
        viewing = two.mirrors.give_up("cam")
        assert viewing is not None
        packager = viewing.packager
        assert packager is not None and not packager.renditions["180p"].window.pieces
        viewing.go_on(SESSION, UNIX_NS, one.tracks)
        assert packager.ready and packager.playable
        assert packager.multivariant().count("m3u8") == before.count("m3u8")
        for packet in one.packets:
            if packet.time_s < 7:
                viewing.put(packet)
        numbers = [piece.number for piece in packager.renditions["180p"].window.pieces]
        assert numbers[0] >= 4 and packager.renditions["180p"].window.ready
        assert packager.wanted("180p")


@looped
async def test_a_picture_is_of_the_top_rung_which_comes_for_it(taped: Tape, tmp_path: Path) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(4)
        two.word.moved(one)
        await same(one, two, place=LOW)
        copy = two.mirrors.find("cam")
        assert copy is not None and copy.viewing.packager is not None
        assert (await Pictures().jpeg(copy.viewing.packager))[:2] == b"\xff\xd8"
        assert "parts 180p" in one.wants
