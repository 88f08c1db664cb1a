"""The whole line: ffmpeg publishes, a worker encodes, players play."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

import av
import pytest

from tests.live.playlists import renditions
from tests.live.serving import FFMPEG, Publisher, Server, needs_ffmpeg
from tests.live.watching import View, until, watched

pytestmark = needs_ffmpeg


def test_what_is_published_by_rtmp_plays_as_hls(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    publish("first", size="640x360")
    server.until(lambda: len(renditions(server, "first")) >= 2, "playlists")
    address = f"http://127.0.0.1:{server.http}/hls/first/index.m3u8"
    with av.open(address) as player:
        video, audio = player.streams.video[0], player.streams.audio[0]
        assert (video.codec_context.width, video.codec_context.height) == (426, 240)
        assert video.codec_context.profile == "Constrained Baseline"
        assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", 48_000)
        pictures = [
            frame.pts * video.time_base
            for frame, _ in zip(player.decode(video), range(50), strict=False)
        ]
    gaps = [round(float(b - a), 3) for a, b in itertools.pairwise(pictures)]
    lost = sum(round(gap / 0.04) - 1 for gap in gaps)  # where the machine had no time
    assert lost <= sum(server.stream("first")["stats"]["dropped"].values())
    assert sum(gaps) == pytest.approx(0.04 * (len(gaps) + lost))
    assert FFMPEG is not None
    command = [FFMPEG, "-nostdin", "-v", "error", "-i", address, "-t", "1", "-f", "null", "-"]
    played = subprocess.run(command, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
    assert played.returncode == 0 and not played.stderr


def test_every_picture_is_accounted_for(server: Server, publish: Callable[..., Publisher]) -> None:
    one = publish("counted", seconds=4)
    one.process.wait(20)
    server.until(lambda: server.stream("counted").get("state") == "ended", "end")
    stats = server.stream("counted")["stats"]
    assert stats["frames_in"] == 100
    assert stats["frames_in"] == stats["frames_out"] + sum(stats["dropped"].values())
    assert set(stats["dropped"]) <= {"starting", "late", "overflow"}  # none by the link


def test_a_stream_without_sound_has_silence(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    publish("mute", sound=False)
    server.until(lambda: len(renditions(server, "mute")) >= 2, "playlists")
    with av.open(f"http://127.0.0.1:{server.http}/hls/mute/index.m3u8") as player:
        loudest = 0.0
        for frame, _ in zip(player.decode(player.streams.audio[0]), range(60), strict=False):
            loudest = max(loudest, float(abs(frame.to_ndarray()).max()))
    assert loudest < 0.001
    assert server.stream("mute")["stats"]["corrected"]["silence"] > 0


def test_a_stream_may_have_no_sound_and_a_rung_that_is_not_for_webrtc(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    """`audio: none`, and High on the top rung, which HLS has and WHEP leaves alone."""
    high = {"height": 180, "bitrate": "400k", "profile": "high"}
    ladder = [high, {"height": 90, "bitrate": "150k"}]
    pipeline = {"name": "still", "ladder": ladder, "audio": {"codec": "none"}}
    assert server.get("/v1/streams/still", "PUT", {"pipeline": pipeline})[0] in (200, 202)
    publish("still")
    places = server.until(lambda: len(p := renditions(server, "still")) == 2 and p, "playlists")
    assert all("/audio" not in place for place in places)
    text = server.get("/hls/still/index.m3u8")[1]
    assert 'CODECS="avc1.6400' in text and 'CODECS="avc1.42C0' in text and "AUDIO" not in text
    with av.open(f"http://127.0.0.1:{server.http}/hls/still/index.m3u8") as player:
        assert not player.streams.audio
        profiles = {one.codec_context.height: one.codec_context.profile for one in player.streams}
        assert profiles == {180: "High", 90: "Constrained Baseline"}
        pictures = itertools.islice(player.decode(player.streams.video[0]), 30)
        assert len(list(pictures)) == 30

    async def scene(view: View) -> None:
        await until(lambda: len(view.shown) > 25, "pictures")

    assert watched(server, "/whep/still", scene).heights() == {90}
