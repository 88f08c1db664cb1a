"""Pixel formats, sizes, colours and fields: lent where they can be, converted where not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.errors import SourceError
from streamgen.media.color import color_of
from streamgen.media.frame import Layout, Matrix, Range, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.telemetry import Telemetry
from streamgen.testing import synthetic_clip, video_track
from tests.decode.played import mean, play, raw_clip


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 31), (8192, 16)])
def test_odd_sizes_have_their_chroma_rounded_up(tmp_path: Path, width: int, height: int) -> None:
    clip = raw_clip(tmp_path / "a.mkv", "yuv420p", width=width, height=height, fill={0: 90, 1: 60})
    played = play(clip)
    frame = played.frames[0]
    assert [p.shape for p in frame.planes] == list(plane_shapes(Layout.I420, width, height))
    assert mean(frame) == [90, 60, 128]
    assert played.pool.meter.total == 0


@pytest.mark.parametrize(
    ("pix_fmt", "fill", "expected"),
    [
        ("yuv422p", {0: 100, 1: 90, 2: 160}, [100, 90, 160]),
        ("yuv444p", {0: 100, 1: 90, 2: 160}, [100, 90, 160]),
        ("yuv420p10le", {0: 400, 1: 360, 2: 640}, [100, 90, 160]),
        ("yuv422p10le", {0: 400, 1: 360, 2: 640}, [100, 90, 160]),
        ("gray", {0: 100}, [100, 128, 128]),
        ("gray10le", {0: 400}, [100, 128, 128]),
        ("bgr0", {0: 255}, [235, 128, 128]),
        ("yuva420p", {0: 100, 1: 90, 2: 160, 3: 255}, [100, 90, 160]),
    ],
)
def test_other_pixel_formats_are_converted_once_and_counted(
    tmp_path: Path, pix_fmt: str, fill: dict[int, int], expected: list[float]
) -> None:
    tags = {} if pix_fmt == "bgr0" else {"color_range": 1}
    played = play(raw_clip(tmp_path / "a.mkv", pix_fmt, fill=fill, tags=tags))
    frame = played.frames[0]
    assert frame.layout is Layout.I420
    assert mean(frame) == pytest.approx(expected, abs=1)
    assert played.telemetry.counts("converted") == {pix_fmt: 3}
    assert played.pool.meter.planes == {"converted": 9}


def test_colour_survives_a_conversion_of_red(tmp_path: Path) -> None:
    played = play(raw_clip(tmp_path / "a.nut", "gbrp", codec="rawvideo", fill={0: 0, 1: 0, 2: 255}))
    assert mean(played.frames[0]) == pytest.approx([63, 102, 240], abs=1)
    assert played.frames[0].color.matrix is Matrix.BT709


def test_full_range_jpeg_pictures_are_lent_and_tagged(tmp_path: Path) -> None:
    clip = synthetic_clip(
        tmp_path / "a.avi", frames=3, codec="mjpeg", pix_fmt="yuvj420p", audio=None
    )
    played = play(clip)
    assert {f.color.range for f in played.frames} == {Range.FULL}
    assert played.video.color.range is Range.FULL
    assert played.pool.meter.total == 0


@pytest.mark.parametrize("pix_fmt", ["nv12", "p010le"])
def test_semi_planar_pictures_are_lent_as_they_are(pix_fmt: str) -> None:
    context: Any = av.CodecContext.create("rawvideo", "r")
    context.width, context.height, context.pix_fmt = 64, 48, pix_fmt
    track = replace(video_track(64, 48), codec_context=context)
    pool = FramePool()
    decoder = FFmpegDecoder(track, pool=pool, telemetry=Telemetry())
    depth = np.uint8 if pix_fmt == "nv12" else np.uint16
    data = np.arange(72 * 64, dtype=depth)
    packet = Packet(data.tobytes(), 0, 0, 1, Fraction(1, 25), True, "video/0")
    [frame] = [*decoder.decode(packet), *decoder.flush()]
    assert frame.layout is Layout(pix_fmt)
    assert [p.shape for p in frame.planes] == [(48, 64), (24, 64)]
    assert np.array_equal(np.concatenate([p.array() for p in frame.planes]), data.reshape(72, 64))
    assert pool.meter.total == 0


def test_interlaced_pictures_become_progressive_one_for_one(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "top": "1", "bf": "0"}
    clip = synthetic_clip(
        tmp_path / "a.mpg", frames=20, codec="mpeg2video", audio=None, options=options
    )
    with av.open(str(clip)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    played = play(clip)
    assert played.announced == len(played.frames) == 20
    assert played.telemetry.counts("converted") == {"interlaced": 20}
    steps = np.diff(played.pts) * played.video.time_base
    assert set(steps) == {Fraction(1, 25)}


@pytest.mark.parametrize("height", [480, 720])
def test_an_untagged_matrix_is_guessed_from_the_height(height: int) -> None:
    color = color_of(2, 0, 2, 2, height=height, pix_fmt="yuv420p")
    assert color.matrix is (Matrix.BT601 if height < 720 else Matrix.BT709)
    assert color.range is Range.STUDIO


def test_tags_of_the_source_reach_the_frames(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    frame = play(raw_clip(tmp_path / "a.mkv", "yuv420p", tags=tags)).frames[0]
    assert frame.color.matrix is Matrix.BT2020
    assert (frame.color.primaries, frame.color.transfer) == (9, 14)


def test_a_matrix_nobody_can_undo_is_refused_by_name(tmp_path: Path) -> None:
    clip = raw_clip(tmp_path / "a.mkv", "yuv420p", tags={"colorspace": 14})
    with pytest.raises(SourceError, match="colour matrix 14"):
        play(clip)


@pytest.mark.parametrize(("transfer", "white"), [(16, 573), (18, 721)], ids=["pq", "hlg"])
def test_hdr_is_tone_mapped_to_a_bright_white(tmp_path: Path, transfer: int, white: int) -> None:
    # Reference white, 203 cd/m2: 58 % in PQ, 75 % in HLG (BT.2408 table 1).
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    fill = {0: white, 1: 512, 2: 512}
    played = play(raw_clip(tmp_path / "a.mkv", "yuv420p10le", tags=tags, fill=fill))
    y, u, v = mean(played.frames[0])
    assert 200 < y < 235
    assert (u, v) == pytest.approx((128, 128), abs=1)
    assert played.frames[0].color == played.video.color
    assert (played.video.color.matrix, played.video.color.transfer) == (Matrix.BT709, 1)
    assert played.telemetry.counts("converted") == {"hdr": 3}


def test_rotation_of_a_phone_video_is_told_before_and_with_the_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    played = play(path)
    assert played.video.rotation == played.frames[0].rotation == 90
