"""Key frames, times and pictures agree on all rungs, whatever the source was."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.encode.clock import FrameClock
from streamgen.encode.ladder import Encoding, Ladder, PictureFormat, Rung, plan_rungs
from streamgen.errors import EncodeError
from streamgen.media.frame import Color, Frame, Layout, Matrix, Range, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.shell import unwrap
from streamgen.protocols import Encoder, Mode
from streamgen.testing import HarshPool, picture, synthetic_clip

RUNGS = [Rung(height=120, bitrate=300_000), Rung(height=60, bitrate=100_000)]
MODES = [Mode.OFFLINE, Mode.LIVE]


def ladder(
    width: int = 160,
    height: int = 120,
    *,
    rungs: list[Rung] | None = None,
    mode: Mode = Mode.OFFLINE,
    pool: HarshPool | None = None,
    encoding: Encoding | None = None,
    **format: Any,
) -> Ladder:
    pool = pool or HarshPool()
    plan = plan_rungs(rungs or RUNGS, width, height, sar=format.get("sar", Fraction(1)))
    format.setdefault("time_base", Fraction(1, 25))
    return Ladder(
        plan.rungs,
        PictureFormat(width, height, **format),
        encoding or Encoding(),
        mode=mode,
        pool=pool,
        meter=pool.meter,
    )


def encoded(
    rungs: Ladder, frames: Iterator[Frame] | list[Frame], interval_s: float = 1.0
) -> dict[str, list[Packet]]:
    """What `session.py` does, on one thread."""
    clock = FrameClock(round(interval_s * 1e9))
    packets: dict[str, list[Packet]] = {track.name: [] for track in rungs.tracks}
    for frame in frames:
        for encoder, one in zip(rungs.encoders, rungs.split(clock.mark(frame)), strict=True):
            packets[encoder.track.name] += encoder.encode(one)
    for encoder in rungs.encoders:
        packets[encoder.track.name] += encoder.flush()
    return packets


def decoded(encoder: Encoder, packets: list[Packet]) -> list[Any]:
    """Decode packets of one track with nothing but the track's own description."""
    codec = encoder.track.codec
    context: Any = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    context.extradata = encoder.track.template.codec_context.extradata
    frames = []
    for packet in packets:
        data: Any = av.Packet(bytes(packet.data))
        data.pts, data.dts, data.time_base = packet.pts, packet.dts, packet.time_base
        frames += context.decode(data)
    return frames + context.decode(None)


def source_frames(path: Path) -> Iterator[Frame]:
    """Frames straight from a decoder, as the session has them."""
    with av.open(str(path)) as file:
        base = Fraction(file.streams.video[0].time_base or 1)
        for one in file.decode(video=0):
            like = picture(2, 2).retimed(pts=one.pts, time_base=base, duration=one.duration)
            yield unwrap(one, like)


def keys(packets: list[Packet]) -> list[int | None]:
    return [packet.pts for packet in packets if packet.keyframe]


def moving(number: int, width: int = 160, height: int = 120, step: int = 1) -> list[Frame]:
    start = picture(width, height)
    frames = []
    for index in range(number):
        planes = [np.roll(p.array(), 2 * index, axis=1) for p in start.planes]
        like = unwrap(
            av.VideoFrame.from_dlpack(planes, format="yuv420p", width=width, height=height), start
        )
        frames.append(like.retimed(pts=index * step, duration=step))
    return frames


SOURCES = {
    "gop of 10": {"gop": 10},
    "b-frames": {"gop": 30, "b_frames": 3},
    "all intra": {"gop": 1},
    "one key frame": {"gop": 250},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", sorted(SOURCES))
def test_key_frames_are_the_clocks_on_every_rung_whatever_the_source_had(
    tmp_path: Path, source: str, mode: Mode
) -> None:
    clip = synthetic_clip(
        tmp_path / "in.mp4", width=160, height=120, frames=60, audio=None, **SOURCES[source]
    )
    rungs = ladder(time_base=Fraction(1, 12_800), mode=mode)
    packets = encoded(rungs, source_frames(clip))
    for track in packets.values():
        assert len(track) == 60
        assert keys(track) == [0, 12_800, 25_600]


@pytest.mark.parametrize("codec", ["x264", "x265", "svt-av1"])
@pytest.mark.parametrize("mode", MODES)
def test_every_gop_is_closed(codec: Any, mode: Mode) -> None:
    rungs = ladder(rungs=[Rung(height="source", bitrate=200_000, codec=codec)], mode=mode)
    (packets,) = encoded(rungs, moving(60)).values()
    begins = [index for index, packet in enumerate(packets) if packet.keyframe]
    assert keys(packets) == [0, 25, 50]
    for begin, end in itertools.pairwise([*begins, len(packets)]):
        gop = packets[begin:end]
        shown = decoded(rungs.encoders[0], gop)
        assert [one.pts for one in shown] == sorted(p.pts or 0 for p in gop)
        assert not any(one.is_corrupt for one in shown)


@pytest.mark.parametrize("codec", ["x264", "x265", "svt-av1"])
@pytest.mark.parametrize("mode", MODES)
def test_variable_times_come_out_exactly(codec: Any, mode: Mode) -> None:
    times = [0, 1, 33, 34, 90, 400, 433, 1200, 1201, 1234, 2500, 2533]
    frames = [f.retimed(pts=t, duration=7 + t) for f, t in zip(moving(12), times, strict=True)]
    frames = [frame.retimed(time_base=Fraction(1, 1000)) for frame in frames]
    rungs = ladder(
        rungs=[Rung(height="source", bitrate=200_000, codec=codec)],
        mode=mode,
        time_base=Fraction(1, 1000),
    )
    (packets,) = encoded(rungs, frames).values()
    assert sorted(p.pts or 0 for p in packets) == times
    assert all(p.duration == 7 + (p.pts or 0) for p in packets)
    decoding = [p.dts or 0 for p in packets]
    assert decoding == sorted(set(decoding))
    assert all((p.dts or 0) <= (p.pts or 0) for p in packets)


@pytest.mark.parametrize(
    "base", [Fraction(1, 25), Fraction(1001, 24_000), Fraction(1, 90_000), Fraction(1, 12_800)]
)
def test_any_time_base_is_carried_exactly(base: Fraction) -> None:
    frames = [f.retimed(time_base=base) for f in moving(10)]
    for track, packets in encoded(ladder(time_base=base), frames).items():
        assert sorted((p.pts or 0, p.time_base) for p in packets) == [
            (n, base) for n in range(10)
        ], track


def test_the_top_rung_encodes_the_very_planes_of_the_picture() -> None:
    pool = HarshPool()
    frame = picture(160, 120)
    top, small = ladder(pool=pool).split(frame)
    assert [p.ptr for p in top.planes] == [p.ptr for p in frame.planes]
    assert (small.width, small.height) == (80, 60)
    assert pool.meter.total == 0


def test_an_encoder_reads_the_planes_only_when_they_are_ready() -> None:
    rungs = ladder(rungs=[RUNGS[0]], mode=Mode.LIVE)
    waited = []

    class Fence:
        def done(self) -> bool:
            return True

        def wait(self) -> None:
            waited.append(True)

        def on_done(self, call: Any) -> None:
            call()

    rungs.encoders[0].encode(picture(160, 120).retimed(ready=Fence(), keyframe=True))
    assert waited


def test_pooled_pictures_go_back_once_they_are_encoded() -> None:
    pool = HarshPool()
    rungs = ladder(mode=Mode.LIVE, pool=pool)
    for index in range(5):
        frame = pool.take(Layout.I420, 160, 120).publish(picture(160, 120))
        for encoder, one in zip(rungs.encoders, rungs.split(frame), strict=True):
            encoder.encode(one.retimed(pts=index, keyframe=index == 0))
    del frame, one
    assert pool.out == 0


def test_one_rung_that_breaks_leaves_the_others_alone() -> None:
    rungs = ladder(mode=Mode.LIVE)
    top, small = rungs.encoders
    for index, frame in enumerate(moving(6)):
        first, second = rungs.split(frame.retimed(keyframe=index == 0))
        assert top.encode(first)
        if index == 3:
            with pytest.raises(EncodeError) as broken:
                small.encode(second.retimed(pts=0))
            assert broken.value.rung == "60p"
        elif index < 3:
            assert small.encode(second)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("codec", "rate"),
    [
        ("x264", Fraction(25)),
        ("x264", None),
        ("x264", Fraction(1000)),
        ("x265", None),
        ("svt-av1", None),
    ],
)
def test_the_bitrate_is_kept_whatever_rate_the_container_claims(
    mode: Mode, codec: Any, rate: Fraction | None
) -> None:
    random = np.random.default_rng(1)
    base = Fraction(1, 90_000)
    like = picture(2, 2).retimed(time_base=base, duration=3600)
    noisy = []
    for index in range(150):
        planes = [
            random.integers(16, 235, s, np.uint8) for s in plane_shapes(Layout.I420, 160, 120)
        ]
        soft = [(p // 8 + 100).astype(np.uint8) for p in planes]
        shell = av.VideoFrame.from_dlpack(soft, format="yuv420p", width=160, height=120)
        noisy.append(unwrap(shell, like.retimed(pts=3600 * index)))
    only = [Rung(height="source", bitrate=300_000, codec=codec)]
    rungs = ladder(rungs=only, mode=mode, rate=rate, time_base=base)
    (packets,) = encoded(rungs, noisy).values()
    bits = 8 * sum(p.size_bytes for p in packets) / 6
    assert 200_000 < bits < 400_000


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 31), (8192, 16), (120, 160)])
def test_tiny_odd_extreme_and_portrait_pictures_are_encoded(width: int, height: int) -> None:
    rungs = ladder(width, height, rungs=[Rung(height="source", bitrate=200_000), RUNGS[1]])
    frames = [picture(width, height, seed).retimed(pts=seed) for seed in range(5)]
    for encoder, packets in zip(rungs.encoders, encoded(rungs, frames).values(), strict=True):
        shown = decoded(encoder, packets)
        assert len(shown) == 5
        assert (shown[0].width, shown[0].height) == (encoder.track.width, encoder.track.height)


def test_a_picture_of_another_size_does_not_disturb_the_stream() -> None:
    rungs = ladder()
    frames = [*moving(5), *(f.retimed(pts=f.pts + 5) for f in moving(5, 200, 90))]
    for encoder, packets in zip(rungs.encoders, encoded(rungs, frames).values(), strict=True):
        shown = decoded(encoder, packets)
        assert len(shown) == 10
        assert {(f.width, f.height) for f in shown} == {(encoder.track.width, encoder.track.height)}


def test_colour_and_pixel_aspect_are_written_into_the_stream() -> None:
    color = Color(Matrix.BT601, Range.FULL, primaries=6, transfer=6)
    rungs = ladder(color=color, sar=Fraction(16, 15), rotation=90)
    for encoder, packets in zip(rungs.encoders, encoded(rungs, moving(3)).values(), strict=True):
        shown = decoded(encoder, packets)[0]
        assert (shown.colorspace, shown.color_range) == (6, 2)
        assert (shown.color_primaries, shown.color_trc) == (6, 6)
        context = encoder.track.template.codec_context
        assert context.sample_aspect_ratio == Fraction(16, 15)
        assert (encoder.track.rotation, encoder.track.color) == (90, color)


@pytest.mark.parametrize("codec", ["x264", "x265", "svt-av1"])
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_live_encoders_keep_no_picture(codec: Any, threads: int) -> None:
    rungs = ladder(
        rungs=[Rung(height="source", bitrate=200_000, codec=codec)],
        mode=Mode.LIVE,
        encoding=Encoding(threads=threads),
    )
    for index, frame in enumerate(moving(8)):
        (packet,) = rungs.encoders[0].encode(frame.retimed(keyframe=index == 0))
        assert packet.pts == packet.dts == index
    assert not rungs.encoders[0].flush()


def test_no_encoder_leaves_the_process_in_real_time_scheduling() -> None:
    ladder(rungs=[Rung(height="source", bitrate=200_000, codec="svt-av1")])
    policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
    assert policies == {os.SCHED_OTHER}


def test_epochs_go_through_the_encoder() -> None:
    frames = [frame.retimed(epoch=frame.pts // 6) for frame in moving(12)]
    for packets in encoded(ladder(), frames).values():
        assert all(p.epoch == (p.pts or 0) // 6 for p in packets)
        assert keys(packets) == [0, 6]


def test_packets_can_be_written_by_a_container_that_copies_the_template(tmp_path: Path) -> None:
    rungs = ladder()
    packets = encoded(rungs, moving(30))
    for track in rungs.tracks:
        target = tmp_path / "out.mp4"
        with av.open(str(target), "w") as out:
            stream = out.add_stream_from_template(track.template)
            for packet in packets[track.name]:
                data: Any = av.Packet(bytes(packet.data))
                data.pts, data.dts, data.time_base = packet.pts, packet.dts, packet.time_base
                data.duration, data.is_keyframe = packet.duration, packet.keyframe
                data.stream = stream
                out.mux(data)
        with av.open(str(target)) as file:
            assert [frame.time for frame in file.decode(video=0)] == [n / 25 for n in range(30)]


@pytest.mark.parametrize(
    "rung",
    [
        Rung(height="source", bitrate=100_000, profile="none-such"),
        Rung(height="source", bitrate=100_000, codec="x265", profile="none-such"),
    ],
)
def test_an_encoder_that_does_not_open_says_so_at_once(rung: Rung) -> None:
    with pytest.raises(EncodeError, match="source") as refused:
        ladder(rungs=[rung])
    assert refused.value.rung == "source"
