"""Real encoders run on our server; what arrived is decoded and compared."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np

from streamgen_edge.rtmp import RtmpServer, Track

from .basket import Basket, Owner
from .peer import LOCAL, until

OLD = shutil.which("ffmpeg")
NEW = imageio_ffmpeg.get_ffmpeg_exe()
IN_TIME = 40.0
QUIET = ["-nostdin", "-v", "error"]
PICTURES = 30


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
    context: Any = av.CodecContext.create("libdav1d" if track.codec == "av1" else track.codec, "r")
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


H264 = ["-c:v", "libx264", "-g", "10", "-bf", "2", "-c:a", "aac", "-ar", "44100"]
