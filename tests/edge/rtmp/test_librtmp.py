"""librtmp, which OBS has inside, as publisher and as player."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import shutil
import subprocess
from pathlib import Path

import pytest

from streamgen_edge.rtmp import Limits, RtmpServer

from .basket import Owner
from .encoding import (
    H264,
    assert_same_pictures,
    made,
    published,
    run,
)
from .peer import LOCAL, until

needs_rtmpdump = pytest.mark.skipif(not shutil.which("rtmpdump"), reason="needs rtmpdump")
needs_librtmp = pytest.mark.skipif(
    ctypes.util.find_library("rtmp") is None, reason="needs the library of librtmp"
)


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
