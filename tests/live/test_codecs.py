"""Enhanced RTMP: what comes as HEVC or AV1 plays as H.264; a session outlives its codec."""

from __future__ import annotations

from collections.abc import Iterator

import av
import pytest

from tests.live.encoders import TONE, Encoder, coded, moving
from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server


@pytest.fixture
def publishers() -> Iterator[list[Publisher]]:
    some: list[Publisher] = []
    yield some
    for one in some:
        one.close()


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_newer_codecs_play_as_h264(server: Server, publishers: list[Publisher], codec: str) -> None:
    publishers.append(Encoder(server, codec, *moving("320x240", 20), *TONE, *coded(codec, 20)))
    server.until(lambda: len(renditions(server, codec)) >= 2, "playlists", 25)
    with av.open(f"http://127.0.0.1:{server.http}/hls/{codec}/index.m3u8") as player:
        video = player.streams.video[0]
        assert (video.codec_context.name, video.codec_context.height) == ("h264", 240)
        pictures = [f for f, _ in zip(player.decode(video), range(30), strict=False)]
    assert len(pictures) == 30
    assert all(p.to_ndarray()[:240].std() > 20 for p in pictures)
    row = server.stream(codec)
    assert row["publisher"]["tracks"][0]["codec"] == codec
    assert "undecodable" not in row["stats"]["dropped"]


def test_a_publisher_may_come_back_with_anything(
    server: Server, publishers: list[Publisher]
) -> None:
    """Another codec, size, shape, rate and start; then the worker dies as well."""
    publishers.append(Encoder(server, "any", *moving("640x480", 25), *TONE, *coded("h264", 25)))
    places = server.until(lambda: len(p := renditions(server, "any")) >= 3 and p, "playlists")
    server.until(lambda: server.frames_out("any") > 40, "motion")
    before = server.stream("any")
    seen = {place: Seen() for place in places}

    def look() -> bool:
        for place, one in seen.items():
            one.look(server.get(place)[1])
        return False

    for codec, size, rate, start in (("hevc", "320x180", 30, 1000), ("h264", "1280x720", 15, 3)):
        publishers[-1].kill()
        server.until(lambda: look() or server.stream("any")["state"] == "gap", "gap")
        out = server.frames_out("any")
        moved = "-output_ts_offset", str(start)
        publishers.append(
            Encoder(server, "any", *moving(size, rate), *TONE, *coded(codec, rate), *moved)
        )
        server.until(lambda: look() or server.stream("any")["state"] == "live", "return")
        server.until(lambda out=out: look() or server.frames_out("any") > out + 60, "motion", 25)
        row = server.stream("any")
        assert row["session"] == before["session"] and row["tracks"] == before["tracks"]
    assert row["takeovers"]["codec"] == 2
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place
        assert max(length for _, length in one.segments.values()) < 1.6
    with av.open(f"http://127.0.0.1:{server.http}/hls/any/index.m3u8") as player:
        video = max(player.streams.video, key=lambda stream: stream.codec_context.height)
        pictures = [f for f, _ in zip(player.decode(video), range(20), strict=False)]
    assert {(p.width, p.height) for p in pictures} == {(640, 480)}
    picture = pictures[-1].to_ndarray()[:480]
    assert picture[:40].mean() < 24 < picture[200:280].mean()  # 16:9 between bars
