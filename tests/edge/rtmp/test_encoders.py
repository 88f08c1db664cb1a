"""Real encoders publish; what arrives, decoded, is what they sent."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from streamgen_edge.rtmp import Limits, RtmpServer, Track, tls_context

from .basket import Basket, Owner
from .test_server import LOCAL, certificate, until

__all__ = ["certificate"]

OLD = shutil.which("ffmpeg")
NEW = imageio_ffmpeg.get_ffmpeg_exe()
IN_TIME = 40.0
QUIET = ["-nostdin", "-v", "error"]
PICTURES = 30

needs_old = pytest.mark.skipif(OLD is None, reason="needs ffmpeg")
needs_rtmpdump = pytest.mark.skipif(not shutil.which("rtmpdump"), reason="needs rtmpdump")
needs_librtmp = pytest.mark.skipif(
    ctypes.util.find_library("rtmp") is None, reason="needs the library of librtmp"
)


def has_rtmp2sink() -> bool:
    inspect = shutil.which("gst-inspect-1.0")
    wanted = ("rtmp2sink", "flvmux", "x264enc", "voaacenc")
    return inspect is not None and all(
        subprocess.run([inspect, name], capture_output=True).returncode == 0 for name in wanted
    )


async def published(
    *arguments: str,
    owner: Owner | None = None,
    path: str = "live/cam?token=s3cret",
    status: int | None = 0,
    tls: Any = None,
) -> tuple[Owner, str]:
    """Run an encoder on our server; `URL` in its arguments is where. Its log comes back too."""
    owner = owner or Owner(token="s3cret")
    async with RtmpServer(LOCAL, owner, tls=tls) as server:
        url = f"rtmp{'s' if tls else ''}://127.0.0.1:{server.port}/{path}"
        process = await asyncio.create_subprocess_exec(
            *(argument.replace("URL", url) for argument in arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(IN_TIME):
                log, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = log.decode(errors="replace")
        assert status is None or process.returncode == status, text
        await until(lambda: all(basket.end for basket in owner.baskets))
    return owner, text


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await test()

    return asyncio.run(whole())


def made(path: Path, *arguments: str, seconds: float = PICTURES / 25) -> Path:
    """A clip of moving pictures and a tone, by the new ffmpeg."""
    pictures = f"testsrc2=s=192x144:r=25:d={seconds}"
    sound = f"sine=f=440:r=48000:d={seconds}"
    inputs = ["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound]
    whole = [NEW, *QUIET, *inputs, "-pix_fmt", "yuv420p", *arguments, "-y", str(path)]
    subprocess.run(whole, check=True, capture_output=True, timeout=IN_TIME)
    return path


def decoder(track: Track) -> Any:
    # libavcodec's own decoder of AV1 works on hardware only.
    context = av.CodecContext.create("libdav1d" if track.codec == "av1" else track.codec, "r")
    if track.extradata:
        context.extradata = track.extradata
    if track.rate_hz and not track.extradata:
        context.sample_rate = track.rate_hz
    return context


def received(basket: Basket, name: str) -> list[tuple[Fraction, Any]]:
    """Presentation times from the first picture on, in seconds, and what was decoded."""
    context = decoder(next(track for track in basket.tracks if track.name == name))
    found: list[Any] = []
    for sent in basket.of(name):
        packet = av.Packet(bytes(sent.data))
        packet.pts, packet.dts, packet.time_base = sent.pts, sent.dts, sent.time_base
        found += context.decode(packet)
    found += context.decode(None)
    return timed([(frame.pts * sent.time_base, frame.to_ndarray()) for frame in found])


def reference(path: Path, kind: str) -> list[tuple[Fraction, Any]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        frames = [(f.pts * f.time_base, f.to_ndarray()) for f in container.decode(stream)]
    return timed(frames)


def timed(frames: list[tuple[Fraction, Any]]) -> list[tuple[Fraction, Any]]:
    frames.sort(key=lambda frame: frame[0])
    return [(time - frames[0][0], picture) for time, picture in frames]


def assert_same_pictures(basket: Basket, path: Path) -> None:
    got, sent = received(basket, "video/0"), reference(path, "video")
    assert len(got) == len(sent) == PICTURES
    for (at, picture), (time, original) in zip(got, sent, strict=True):
        assert abs(at - time) <= Fraction(1, 1000)
        assert np.array_equal(picture, original)


def skew_s(basket: Basket) -> Fraction:
    """First sound minus first picture, as sent."""
    video, audio = basket.of("video/0"), basket.of("audio/0")
    first = min(p.pts * p.time_base for p in video if p.pts is not None)
    assert audio[0].pts is not None
    return audio[0].pts * audio[0].time_base - first


def file_skew_s(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.pts is not None]
        video = min(p.pts * p.time_base for p in packets if p.stream.type == "video")
        audio = min(p.pts * p.time_base for p in packets if p.stream.type == "audio")
    return audio - video


H264 = ["-c:v", "libx264", "-g", "10", "-bf", "2", "-c:a", "aac", "-ar", "44100"]


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


class LibRtmp:
    """librtmp, which OBS has inside, as a publisher."""

    def __init__(self, url: str) -> None:
        name = ctypes.util.find_library("rtmp")
        assert name is not None
        lib = self.lib = ctypes.CDLL(name)
        lib.RTMP_Alloc.restype = ctypes.c_void_p
        self.rtmp = ctypes.c_void_p(lib.RTMP_Alloc())
        lib.RTMP_LogSetLevel(0)
        lib.RTMP_Init(self.rtmp)
        self.url = ctypes.create_string_buffer(url.encode())
        assert lib.RTMP_SetupURL(self.rtmp, self.url)
        lib.RTMP_EnableWrite(self.rtmp)

    def publish(self, flv: bytes) -> bool:
        """Whether the server let it in; then all tags of the file."""
        lib = self.lib
        if not (lib.RTMP_Connect(self.rtmp, None) and lib.RTMP_ConnectStream(self.rtmp, 0)):
            return False
        return bool(lib.RTMP_Write(self.rtmp, flv, len(flv)) == len(flv))

    def close(self) -> None:
        self.lib.RTMP_Close(self.rtmp)
        self.lib.RTMP_Free(self.rtmp)


async def by_librtmp(path: str, flv: bytes) -> tuple[Owner, bool]:
    owner = Owner(token="s3cret")
    async with RtmpServer(LOCAL, owner) as server:
        client = LibRtmp(f"rtmp://127.0.0.1:{server.port}/{path}")
        done = await asyncio.to_thread(client.publish, flv)
        await asyncio.to_thread(client.close)
        await until(lambda: all(basket.end for basket in owner.baskets))
    return owner, done


@needs_librtmp
def test_librtmp_publishes(tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, done = await by_librtmp("live/cam?token=s3cret", clip.read_bytes())
        assert done
        assert_same_pictures(owner.basket, clip)
        assert owner.basket.end is not None and owner.basket.end.explicit

    run(test)


@needs_librtmp
def test_librtmp_is_turned_away_with_a_wrong_key() -> None:
    async def test() -> None:
        owner, done = await by_librtmp("live/cam?token=wrong", b"")
        assert not done and owner.asked == 1 and not owner.baskets

    run(test)


@needs_rtmpdump
def test_rtmpdump_is_told_that_nothing_is_played_here(tmp_path: Path) -> None:
    async def test() -> None:
        arguments = ("rtmpdump", "-r", "URL", "-o", str(tmp_path / "out.flv"))
        owner, log = await published(*arguments, status=None)
        assert "NetStream.Play.Failed" in log and owner.asked == 0

    run(test)


@needs_rtmpdump
def test_rtmpe_of_rtmpdump_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with RtmpServer(LOCAL, Owner(), limits=Limits(handshake_s=2)) as server:
            url = f"rtmpe://127.0.0.1:{server.port}/live/cam"
            process = await asyncio.create_subprocess_exec(
                *("rtmpdump", "-r", url, "-o", str(tmp_path / "out.flv")),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert await process.wait() != 0

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
def test_ffmpeg_publishes_by_rtmps(
    ffmpeg: str, tmp_path: Path, certificate: tuple[str, str]
) -> None:
    clip = made(tmp_path / "clip.flv", *H264)

    async def test() -> None:
        owner, _ = await published(
            *(ffmpeg, *QUIET, "-i", str(clip), "-c", "copy", "-f", "flv"),
            *("-tls_verify", "0") if ffmpeg == NEW else (),
            "URL",
            tls=tls_context(*certificate),
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
