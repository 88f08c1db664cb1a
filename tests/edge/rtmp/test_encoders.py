"""Real encoders publish; what arrives, decoded, is what they sent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen_edge.rtmp import tls_context
from tests.certificates import certified, needs_openssl

from .basket import Basket
from .encoding import (
    H264,
    NEW,
    OLD,
    PICTURES,
    QUIET,
    assert_same_pictures,
    made,
    published,
    received,
    reference,
    run,
)

needs_old = pytest.mark.skipif(OLD is None, reason="needs ffmpeg")


def has_rtmp2sink() -> bool:
    inspect = shutil.which("gst-inspect-1.0")
    wanted = ("rtmp2sink", "flvmux", "x264enc", "voaacenc")
    return inspect is not None and all(
        subprocess.run([inspect, name], capture_output=True).returncode == 0 for name in wanted
    )


def skew_s(basket: Basket) -> Fraction:
    """First sound minus first picture, as sent."""
    video, audio = basket.of("video/0"), basket.of("audio/0")
    first = min(p.pts * p.time_base for p in video if p.pts is not None)
    assert audio[0].pts is not None
    return audio[0].pts * audio[0].time_base - first


def file_skew_s(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        packets: list[Any] = [p for p in container.demux() if p.pts is not None]
        video = min(p.pts * p.time_base for p in packets if p.stream.type == "video")
        audio = min(p.pts * p.time_base for p in packets if p.stream.type == "audio")
    return Fraction(audio - video)


@pytest.mark.parametrize(
    "ffmpeg", [pytest.param(OLD, marks=needs_old, id="ffmpeg 5"), pytest.param(NEW, id="ffmpeg 9")]
)
def test_ffmpeg_s_pictures_sound_and_times_arrive_as_sent(ffmpeg: str, tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, _ = await published(
            ffmpeg, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv", "URL"
        )
        basket = owner.basket
        assert_same_pictures(basket, clip)
        assert [p.keyframe for p in basket.of("video/0")].count(True) == 3
        sound, original = received(basket, "audio/0"), reference(clip, "audio")
        assert len(sound) == len(original)
        assert all(np.array_equal(a[1], b[1]) for a, b in zip(sound, original, strict=True))
        assert abs(skew_s(basket) - file_skew_s(clip)) <= Fraction(1, 1000)
        assert basket.end is not None and basket.end.explicit
        assert basket.publisher.metadata["width"] == 192.0
        assert not basket.publisher.stats.left_out

    run(test)


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        (
            ["libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"],
            "libopus",
            ("hevc", "opus"),
        ),
        (["libsvtav1", "-preset", "12", "-g", "10"], "flac", ("av1", "flac")),
        (["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"], "ac3", ("vp9", "ac3")),
    ],
    ids=["HEVC and Opus", "AV1 and FLAC", "VP9 and AC-3"],
)
def test_enhanced_rtmp_carries_the_newer_codecs(
    video: list[str], audio: str, codecs: tuple[str, str], tmp_path: Path
) -> None:
    clip = made(tmp_path / "clip.mkv", "-c:v", *video, "-c:a", audio)

    async def test() -> None:
        owner, _ = await published(NEW, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv", "URL")
        basket = owner.basket
        tracks = {track.name: track.codec for track in basket.tracks}
        assert tracks == {"video/0": codecs[0], "audio/0": codecs[1]}
        assert_same_pictures(basket, clip)
        sound, original = received(basket, "audio/0"), reference(clip, "audio")
        assert sum(s.shape[-1] for _, s in sound) >= sum(s.shape[-1] for _, s in original)
        assert abs(skew_s(basket) - file_skew_s(clip)) <= Fraction(15, 1000)

    run(test)


def test_every_key_picture_can_be_decoded_alone(tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, _ = await published(NEW, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv", "URL")
        keys = [p for p in owner.basket.of("video/0") if p.keyframe]
        for key in keys:
            context = av.CodecContext.create("h264", "r")
            assert len(context.decode(av.Packet(bytes(key.data))) + context.decode(None)) == 1

    run(test)


def test_several_tracks_arrive_under_their_own_names(tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        maps = [word for track in ("v", "v", "a", "a") for word in ("-map", f"0:{track}")]
        owner, _ = await published(
            NEW, *QUIET, "-i", str(clip), *maps, "-c", "copy", "-f", "flv", "URL"
        )
        packets = owner.basket.publisher.stats.packets
        assert set(packets) == {"video/0", "video/1", "audio/0", "audio/1"}
        assert packets["video/0"] == packets["video/1"] == PICTURES
        assert packets["audio/0"] == packets["audio/1"]

    run(test)


@pytest.mark.parametrize("bits", [24, 31])
def test_a_clock_that_wraps_while_ffmpeg_publishes_goes_on(bits: int, tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)
    start = ((1 << bits) - 500) / 1000

    async def test() -> None:
        owner, _ = await published(
            *(NEW, *QUIET, "-i", str(clip), "-c", "copy", "-output_ts_offset", str(start)),
            *("-f", "flv", "URL"),
        )
        assert_same_pictures(owner.basket, clip)
        times = [p.dts for p in owner.basket.of("video/0")]
        assert times == sorted(times, key=lambda time: time or 0)

    run(test)


FLV_PUBLISHER = """
import sys, av
source = av.open(sys.argv[1])
sink = av.open(sys.argv[2], "w", format="flv")
streams = {s.index: sink.add_stream_from_template(s) for s in source.streams}
for packet in source.demux():
    if packet.dts is not None:
        packet.stream = streams[packet.stream.index]
        sink.mux(packet)
sink.close()
"""


def test_ffmpeg_8_inside_pyav_publishes_hevc_and_opus(tmp_path: Path) -> None:
    codecs = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"]
    clip = made(tmp_path / "clip.mp4", *codecs, "-c:a", "libopus")

    async def test() -> None:
        owner, _ = await published(sys.executable, "-c", FLV_PUBLISHER, str(clip), "URL")
        assert_same_pictures(owner.basket, clip)
        assert {track.codec for track in owner.basket.tracks} == {"hevc", "opus"}

    run(test)


@pytest.mark.skipif(not has_rtmp2sink(), reason="needs GStreamer's rtmp2sink, flvmux and x264enc")
def test_gstreamer_publishes_by_rtmp2sink() -> None:
    async def test() -> None:
        pipeline = (
            "videotestsrc num-buffers=30 ! video/x-raw,format=I420,width=192,height=144 "
            "! x264enc key-int-max=10 tune=zerolatency ! h264parse ! flvmux name=mux streamable=1 "
            "! rtmp2sink location=URL "
            "audiotestsrc num-buffers=50 ! audio/x-raw,rate=44100 ! voaacenc ! aacparse ! mux."
        )
        owner, _ = await published("gst-launch-1.0", "-q", *pipeline.split())
        assert len(received(owner.basket, "video/0")) == 30
        assert len(received(owner.basket, "audio/0")) > 30
        assert owner.basket.end is not None and owner.basket.end.explicit

    run(test)


@pytest.mark.parametrize(
    "ffmpeg", [pytest.param(OLD, marks=needs_old, id="ffmpeg 5"), pytest.param(NEW, id="ffmpeg 9")]
)
def test_ffmpeg_is_turned_away_with_a_wrong_key_and_says_why(ffmpeg: str, tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        arguments = (ffmpeg, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv", "URL")
        owner, log = await published(*arguments, path="live/cam?token=wrong", status=None)
        assert not owner.baskets and "wrong key" in log

    run(test)


@pytest.mark.parametrize(
    "ffmpeg", [pytest.param(OLD, marks=needs_old, id="ffmpeg 5"), pytest.param(NEW, id="ffmpeg 9")]
)
@needs_openssl
def test_ffmpeg_publishes_by_rtmps(ffmpeg: str, tmp_path: Path) -> None:
    tls = tls_context(*map(str, certified(tmp_path, "localhost")))
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, _ = await published(
            *(ffmpeg, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv"),
            *("-tls_verify", "0") if ffmpeg == NEW else (),
            "URL",
            tls=tls,
        )
        assert_same_pictures(owner.basket, clip)

    run(test)


def test_the_form_of_obs_with_the_key_apart_is_understood(tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, _ = await published(
            *(NEW, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv"),
            *("-rtmp_playpath", "cam?token=s3cret", "URL"),
            path="live",
        )
        assert owner.basket.publisher.request.stream == "cam"

    run(test)
