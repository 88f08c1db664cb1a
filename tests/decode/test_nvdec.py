"""NVDEC gives the processor's pictures, bit for bit, at the same times; and says when it cannot."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.decode.nvdec import NvdecDecoder
from streamgen.errors import DecodeError, SourceError
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame
from streamgen.media.pool import FramePool
from streamgen.protocols import Decoder, Hardware
from streamgen.telemetry import Telemetry
from streamgen.testing import synthetic_clip
from tests.gpus import Driverless, on_host, open_gpu

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9"}


@pytest.fixture(scope="module")
def gpu() -> Hardware:
    return open_gpu()


def decoded(decoder: Decoder, clip: Path) -> list[Frame]:
    frames: list[Frame] = []
    for packet in open_source(str(clip)).packets():
        try:
            frames += decoder.decode(packet)
        except DecodeError:
            continue
    return [*frames, *decoder.flush()]


def both(gpu: Hardware, clip: Path) -> tuple[list[Frame], list[Frame], Telemetry, Telemetry]:
    here, there = Telemetry(), Telemetry()
    track = open_source(str(clip)).info.video
    on_gpu = decoded(gpu.decoder(track, pool=gpu.pool, telemetry=there), clip)
    track = open_source(str(clip)).info.video
    wanted = decoded(FFmpegDecoder(track, pool=FramePool(), telemetry=here, threads=1), clip)
    return wanted, on_gpu, here, there


def same(gpu: Hardware, wanted: list[Frame], given: list[Frame]) -> bool:
    return all(
        one is not None
        and other is not None
        and (one.pts, one.duration, one.color, one.sar)
        == (other.pts, other.duration, other.color, other.sar)
        and all(
            np.array_equal(a.array(), b.array())
            for a, b in zip(one.planes, on_host(gpu, other).planes, strict=True)
        )
        for one, other in zip_longest(wanted, given)
    )


@pytest.mark.gpu
@pytest.mark.parametrize("codec", sorted(ENCODERS))
def test_pictures_on_a_gpu_are_the_processors_bit_for_bit(
    gpu: Hardware, codec: str, tmp_path: Path
) -> None:
    clip = synthetic_clip(
        tmp_path / "in.mkv", codec=ENCODERS[codec], frames=30, b_frames=2, audio=None
    )
    wanted, given, _, _ = both(gpu, clip)
    assert len(given) == 30
    assert {frame.device for frame in given} == {gpu.device}
    assert same(gpu, wanted, given)


@pytest.mark.gpu
def test_a_gpu_follows_the_size_in_mid_stream(gpu: Hardware, tmp_path: Path) -> None:
    parts = [
        synthetic_clip(tmp_path / f"{n}.ts", width=w, height=h, frames=10, audio=None)
        for n, (w, h) in enumerate(((320, 240), (640, 358)))
    ]
    clip = tmp_path / "both.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    wanted, given, _, _ = both(gpu, clip)
    assert same(gpu, wanted, given)


@pytest.mark.gpu
def test_damage_costs_a_gpu_no_more_pictures_than_the_processor(
    gpu: Hardware, tmp_path: Path
) -> None:
    whole = bytearray(synthetic_clip(tmp_path / "in.mp4", frames=60, audio=None).read_bytes())
    for at in range(len(whole) // 4, len(whole) * 3 // 4, 997):
        whole[at] ^= 0x55
    clip = tmp_path / "damaged.mp4"
    clip.write_bytes(whole)
    wanted, given, _, telemetry = both(gpu, clip)
    lost = telemetry.counts("dropped").get("undecodable", 0)
    assert len(given) + lost >= len(wanted)


@pytest.mark.gpu
def test_a_picture_is_whole_for_as_long_as_it_is_held(gpu: Hardware, tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", frames=40, audio=None)
    wanted, given, _, _ = both(gpu, clip)  # all of them are held at once
    assert same(gpu, wanted, given)


def test_without_a_driver_the_track_is_refused_by_name(tmp_path: Path) -> None:
    track = open_source(str(synthetic_clip(tmp_path / "in.mp4", frames=2))).info.video
    with pytest.raises(SourceError, match="cuda:0 does not decode h264: "):
        NvdecDecoder(Driverless(), track, pool=FramePool(), telemetry=Telemetry())


def test_formats_that_no_surface_holds_are_refused(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", frames=2, pix_fmt="yuv444p")
    track = open_source(str(clip)).info.video
    with pytest.raises(SourceError, match="cuda:0 decodes no h264 of this format"):
        NvdecDecoder(Driverless(), track, pool=FramePool(), telemetry=Telemetry())
