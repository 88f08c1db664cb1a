"""Decoding lends the codec's memory, keeps every picture's time, and loses pictures, not runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.errors import DecodeError, SourceError
from streamgen.ingest.container import open_source
from streamgen.media.color import color_of
from streamgen.media.frame import Frame, Layout, Matrix, Range, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.media.timeline import Presentation, Timeline
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Telemetry
from streamgen.testing import ManualClock, synthetic_clip, video_track


@dataclass
class Played:
    """What came of a file."""

    frames: list[Frame]
    announced: int
    errors: int
    telemetry: Telemetry
    pool: FramePool
    video: VideoTrack

    @property
    def pts(self) -> list[int]:
        return [f.pts for f in self.frames]

    @property
    def dropped(self) -> int:
        return sum(self.telemetry.counts("dropped").values())


def play(path: Path, *, threads: int = 2, low_delay: bool = False, keep: bool = True) -> Played:
    """The whole way from file to shown pictures, as a session goes it."""
    telemetry, pool = Telemetry(), FramePool()
    source = open_source(str(path))
    video = source.info.video
    rates = {} if video.rate is None else {video.name: video.rate}
    timeline = Timeline(telemetry, start=source.info.start, rates=rates)
    presentation = Presentation(telemetry)
    decoder = FFmpegDecoder(
        video, pool=pool, telemetry=telemetry, threads=threads, low_delay=low_delay
    )
    played = Played([], 0, 0, telemetry, pool, video)

    def show(frames: Sequence[Frame]) -> None:
        shown = [presentation.show(frame) for frame in frames]
        played.frames += [f if keep else f.retimed() for f in shown if f is not None]

    for packet in source.packets():
        mended = timeline.mend(packet)
        if mended.track != "video/0":
            continue
        try:
            show(decoder.decode(mended))
        except DecodeError:
            played.errors += 1
    show(decoder.flush())
    source.close()
    played.announced = timeline.announced
    return played


def raw_clip(
    path: Path,
    pix_fmt: str,
    *,
    codec: str = "ffv1",
    width: int = 64,
    height: int = 48,
    frames: int = 3,
    options: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    fill: dict[int, int] | None = None,
) -> Path:
    """Flat pictures in any pixel format, lossless; `fill` gives the code value of each plane."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number in range(frames):
            picture = av.VideoFrame(width, height, pix_fmt)
            for plane_number, plane in enumerate(picture.planes):
                wide = "10" in pix_fmt or "16" in pix_fmt
                values = np.frombuffer(plane, np.uint16 if wide else np.uint8)
                values[:] = (fill or {}).get(plane_number, 128)
            for name, value in (tags or {}).items():
                setattr(picture, name, value)
            picture.pts = number
            picture.time_base = Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def mean(frame: Frame) -> list[float]:
    return [float(plane.array().mean()) for plane in frame.planes]


@pytest.mark.parametrize(
    ("gop", "b_frames"), [(25, 0), (10, 3), (1, 0)], ids=["plain", "b-frames", "all-intra"]
)
def test_every_picture_comes_once_in_order_at_its_time(
    tmp_path: Path, gop: int, b_frames: int
) -> None:
    clip = synthetic_clip(tmp_path / "a.mp4", frames=40, gop=gop, b_frames=b_frames)
    played = play(clip)
    tick = 1 / (25 * played.video.time_base)
    assert played.pts == [n * tick for n in range(40)]
    assert (played.announced, played.dropped) == (40, 0)
    assert played.telemetry.counts("corrected") == {}
    assert all(f.duration == tick for f in played.frames)


def test_planes_are_the_decoders_own_memory(tmp_path: Path) -> None:
    played = play(synthetic_clip(tmp_path / "a.mp4", frames=5, audio=None))
    for frame in played.frames:
        pictures = [plane.owner for plane in frame.planes]
        assert all(isinstance(p, av.VideoFrame) for p in pictures)
        for plane, lent in zip(frame.planes, pictures[0].planes, strict=True):
            assert plane.ptr == lent.buffer_ptr
            assert plane.pitch == lent.line_size
            assert np.shares_memory(plane.array(), np.frombuffer(lent, np.uint8))
    assert played.pool.meter.total == 0
    assert played.telemetry.counts("converted") == {}


def test_a_plane_outlives_the_frame_and_the_decoder(tmp_path: Path) -> None:
    played = play(synthetic_clip(tmp_path / "a.mp4", frames=3, audio=None))
    view = played.frames[0].planes[0].array()
    before = view.copy()
    del played
    assert np.array_equal(view, before)


def test_raw_h264_gets_times_from_its_rate(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.h264", frames=30, b_frames=2, audio=None)
    played = play(clip)
    steps = np.diff(played.pts)
    assert len(played.frames) == 30
    assert len(set(steps)) == 1
    assert steps[0] * played.video.time_base == Fraction(1, 25)
    assert played.telemetry.counts("corrected")["missing_pts"] > 0


def test_raw_h264_is_shown_in_the_right_order(tmp_path: Path) -> None:
    plain = play(synthetic_clip(tmp_path / "a.mp4", frames=30, b_frames=2, audio=None))
    bare = play(synthetic_clip(tmp_path / "a.h264", frames=30, b_frames=2, audio=None))
    for one, two in zip(plain.frames, bare.frames, strict=True):
        assert np.array_equal(one.planes[0].array(), two.planes[0].array())


@pytest.mark.parametrize("b_frames", [0, 2])
def test_avi_without_presentation_times_is_shown_in_order(tmp_path: Path, b_frames: int) -> None:
    options = {"bf": str(b_frames)}
    clip = synthetic_clip(tmp_path / "a.avi", frames=30, codec="mpeg4", audio=None, options=options)
    played = play(clip)
    assert len(played.frames) == 30
    # With B-frames the first picture has no time either: it begins where decoding does.
    assert set(np.diff(played.pts)[1:] * played.video.time_base) == {Fraction(1, 25)}


def test_variable_frame_rate_keeps_every_time(tmp_path: Path) -> None:
    times = [0, 40, 41, 300, 1000, 1033, 4000]
    clip = synthetic_clip(
        tmp_path / "a.mkv", frames=7, pts=times, time_base=Fraction(1, 1000), audio=None
    )
    assert play(clip).pts == times


def test_pictures_outside_the_edit_list_are_not_shown(tmp_path: Path) -> None:
    times = [n - 10 for n in range(50)]
    clip = synthetic_clip(tmp_path / "a.mp4", frames=50, pts=times, audio_s=1.6)
    played = play(clip)
    assert played.announced == len(played.frames) == 40
    assert played.pts[0] == 0
    assert played.dropped == 0


def damaged(path: Path, share: float = 0.02) -> Path:
    """Overwrite random bytes in the middle of a file; its head stays readable."""
    data = bytearray(path.read_bytes())
    dice = random.Random(1)
    for _ in range(int(len(data) * share)):
        data[dice.randrange(len(data) // 4, len(data))] = dice.randrange(256)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", ["a.ts", "a.h264", "a.mkv"])
def test_damage_loses_pictures_not_the_run_and_counts_each(
    tmp_path: Path, name: str, threads: int
) -> None:
    clip = synthetic_clip(
        tmp_path / name, width=160, height=120, frames=60, b_frames=2, gop=10, audio=None
    )
    played = play(damaged(clip, 0.01), threads=threads)
    assert played.announced == len(played.frames) + played.dropped
    assert len(played.frames) > 20
    assert played.dropped + played.telemetry.counts("corrupt").get("decode", 0) > 0
    assert all(b > a for a, b in pairwise(played.pts))


def test_a_damaged_packet_is_an_error_of_its_own(tmp_path: Path) -> None:
    source = open_source(str(synthetic_clip(tmp_path / "a.mp4", frames=20, gop=5, audio=None)))
    telemetry = Telemetry()
    decoder = FFmpegDecoder(source.info.video, pool=FramePool(), telemetry=telemetry, threads=1)
    frames: list[Frame] = []
    for number, packet in enumerate(source.packets()):
        if number == 7:
            with pytest.raises(DecodeError) as caught:
                decoder.decode(
                    Packet(b"\0" * 40, packet.pts, packet.dts, 0, packet.time_base, False, "v")
                )
            assert caught.value.pts == packet.pts
        else:
            frames += decoder.decode(packet)
    frames += decoder.flush()
    assert len(frames) == 19
    assert telemetry.counts("dropped") == {"undecodable": 1}


def test_packets_of_plain_bytes_are_decoded_too(tmp_path: Path) -> None:
    source = open_source(str(synthetic_clip(tmp_path / "a.mp4", frames=10, audio=None)))
    decoder = FFmpegDecoder(source.info.video, pool=FramePool(), telemetry=Telemetry())
    frames: list[Frame] = []
    for p in source.packets():
        plain = Packet(bytes(p.data), p.pts, p.dts, p.duration, p.time_base, p.keyframe, p.track)
        frames += decoder.decode(plain)
    assert len(frames) + len(decoder.flush()) == 10


def test_a_hidden_packet_gives_no_picture_and_no_loss(tmp_path: Path) -> None:
    source = open_source(str(synthetic_clip(tmp_path / "a.mp4", frames=10, audio=None)))
    telemetry = Telemetry()
    decoder = FFmpegDecoder(source.info.video, pool=FramePool(), telemetry=telemetry)
    frames: list[Frame] = []
    for n, p in enumerate(source.packets()):
        hidden = Packet(p.data, p.pts, p.dts, 0, p.time_base, p.keyframe, p.track, 0, n < 4)
        frames += decoder.decode(hidden)
    assert len([*frames, *decoder.flush()]) == 6
    assert telemetry.counts("dropped") == {}


def test_a_new_epoch_begins_after_flush_and_frames_carry_what_packets_said(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mp4", frames=10, b_frames=2, audio=None)
    clock = ManualClock(5)
    first = open_source(str(clip))
    decoder = FFmpegDecoder(first.info.video, pool=FramePool(), telemetry=Telemetry(), clock=clock)
    frames: list[Frame] = []
    for epoch in range(2):
        for p in open_source(str(clip)).packets():
            clock.advance(1)
            said = Packet(p.data, p.pts, p.dts, 7, p.time_base, p.keyframe, p.track, epoch)
            frames += decoder.decode(said)
        frames += decoder.flush()
    assert [f.epoch for f in frames] == [0] * 10 + [1] * 10
    assert {f.duration for f in frames} == {7}
    assert sorted(f.received_ns for f in frames) == [5 + n * 10**9 for n in range(1, 21)]


def test_flushing_before_the_first_packet_gives_nothing(tmp_path: Path) -> None:
    source = open_source(str(synthetic_clip(tmp_path / "a.mp4", frames=2, audio=None)))
    decoder = FFmpegDecoder(source.info.video, pool=FramePool(), telemetry=Telemetry())
    assert decoder.flush() == []


def test_low_delay_gives_each_picture_at_once(tmp_path: Path) -> None:
    clip = synthetic_clip(
        tmp_path / "a.mp4", frames=10, audio=None, options={"tune": "zerolatency"}
    )
    source = open_source(str(clip))
    decoder = FFmpegDecoder(
        source.info.video, pool=FramePool(), telemetry=Telemetry(), low_delay=True
    )
    assert [len(decoder.decode(packet)) for packet in source.packets()] == [1] * 10


def test_the_size_may_change_inside_a_stream(tmp_path: Path) -> None:
    small = synthetic_clip(tmp_path / "s.ts", width=160, height=120, frames=10, audio=None)
    large = synthetic_clip(tmp_path / "l.ts", width=320, height=240, frames=10, audio=None)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    played = play(both)
    sizes = [(f.width, f.height) for f in played.frames]
    assert sizes == [(160, 120)] * 10 + [(320, 240)] * 10
    assert played.frames[-1].planes[1].shape == (120, 160)
    assert all(b > a for a, b in pairwise(played.pts))


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


def test_a_track_without_a_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no decoder"):
        FFmpegDecoder(video_track(64, 48), pool=FramePool(), telemetry=Telemetry())
