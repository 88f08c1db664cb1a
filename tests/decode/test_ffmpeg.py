"""Decoding lends the codec's memory, keeps every picture's time, and loses pictures, not runs."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.errors import DecodeError, SourceError
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.telemetry import Telemetry
from streamgen.testing import ManualClock, synthetic_clip, video_track
from tests.decode.played import play


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


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("b_frames", [0, 1, 2, 3])
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
def test_avi_without_presentation_times_is_shown_evenly(
    tmp_path: Path, codec: str, b_frames: int, threads: int
) -> None:
    options = {"bf": str(b_frames)}
    clip = synthetic_clip(tmp_path / "a.avi", frames=30, codec=codec, audio=None, options=options)
    played = play(clip, threads=threads)
    assert len(played.frames) == 30
    assert set(np.diff(played.pts) * played.video.time_base) == {Fraction(1, 25)}


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


def test_a_picture_s_latency_begins_with_the_packet_that_lets_it_be_shown(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mp4", frames=13, b_frames=2, audio=None)
    clock = ManualClock(5)
    source = open_source(str(clip))
    decoder = FFmpegDecoder(
        source.info.video, pool=FramePool(), telemetry=Telemetry(), clock=clock, low_delay=True
    )
    frames: list[Frame] = []
    for n, packet in enumerate(source.packets()):
        clock.advance(1)
        said = replace(packet, received_ns=0 if n % 2 else clock.now_ns() - 3)
        given = decoder.decode(said)
        came_ns = said.received_ns or clock.now_ns()
        assert all(0 <= frame.received_ns - came_ns < len(given) for frame in given)
        frames += given
    frames += decoder.flush()
    assert len(frames) == len({frame.received_ns for frame in frames}) == 13


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


def test_a_track_without_a_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no decoder"):
        FFmpegDecoder(video_track(64, 48), pool=FramePool(), telemetry=Telemetry())
