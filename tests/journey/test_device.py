"""The whole journey on a device that is hard to please, beside the same one on the processor."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.encode.nvenc import Nvenc
from streamgen.errors import ConfigError
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.media.packet import Packet
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Hardware, Mode
from streamgen.report import Report, measure
from streamgen.session import run
from streamgen.testing import (
    Basket,
    FakeDevice,
    FakeEngines,
    FakeStream,
    fake_hardware,
    synthetic_clip,
)
from tests.gpus import Driverless

FRAMES = 60
RUNGS = ("source", "120p")
Planes = Sequence[NDArray[np.uint8]]


def inverted(planes: Planes) -> Planes:
    """A network whose picture is easy to tell from what it was given."""
    y, u, v = planes
    return [251 - np.clip(y, 16, 235), v, u]


def pipeline(*, painted: bool = True) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "test",
            "stages": [{"style": {"model": "starry", "size": "small"}}] if painted else [],
            "ladder": [
                {"height": "source", "bitrate": "2M"},
                {"height": 120, "bitrate": "500k"},
            ],
        }
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Neither side of the picture is a whole 16, nor a row a whole 64; B-frames, and sound."""
    path = tmp_path_factory.mktemp("clips") / "in.mp4"
    return synthetic_clip(path, width=328, height=246, frames=FRAMES, b_frames=2)


def carried(
    lane: Lane,
    clip: Path,
    engines: FakeEngines,
    hardware: Hardware | None = None,
    *,
    painted: bool = True,
) -> tuple[Basket, Report]:
    basket = Basket()
    source = open_source(str(clip))
    one = open_session(
        pipeline(painted=painted), source, [basket], lane=lane, engines=engines, hardware=hardware
    )
    with one:
        run(one)
        return basket, measure(one)


def on_device(hardware: Hardware, network: Any = inverted) -> FakeEngines:
    stream = hardware.stages.stream
    assert isinstance(stream, FakeStream)
    return FakeEngines(network, stream)


def decoded(basket: Basket, rung: str) -> list[av.VideoFrame]:
    track = next(t for t in basket.tracks if t.name == f"video/{rung}")
    context: Any = av.CodecContext.create(track.codec, "r")
    context.extradata = track.template.codec_context.extradata
    pictures = []
    for packet in basket.of(track.name):
        unit: Any = av.Packet(bytes(packet.data))
        unit.pts, unit.dts, unit.time_base = packet.pts, packet.dts, packet.time_base
        pictures += context.decode(unit)
    return [*pictures, *context.decode(None)]


def psnr(one: av.VideoFrame, other: av.VideoFrame) -> float:
    difference = one.to_ndarray().astype(float) - other.to_ndarray()
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9)))


def told(packets: Sequence[Packet]) -> list[tuple[object, ...]]:
    return [(p.pts, p.dts, p.duration, p.keyframe, p.epoch) for p in packets]


def test_the_network_on_a_device_sees_every_byte_that_it_sees_on_the_processor(
    lane: Lane, clip: Path
) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake)
    here, there = FakeEngines(inverted), on_device(hardware)
    wanted, reported = carried(lane, clip, here)
    basket, report = carried(lane, clip, there, hardware)
    assert len(here.read) == len(there.read) == FRAMES
    for one, other in zip(here.read, there.read, strict=True):
        assert all(map(np.array_equal, one, other))
    assert report.frames_in == report.frames_out == reported.frames_out == FRAMES
    for rung in RUNGS:
        assert told(basket.of(f"video/{rung}")) == told(wanted.of(f"video/{rung}"))
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38
    assert told(basket.of("audio/0")) == told(wanted.of("audio/0"))
    assert report.copies == {}
    assert fake.downloads == 0


def test_a_device_without_encoders_copies_each_rung_to_the_host_once(
    lane: Lane, clip: Path
) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake, sessions=0)
    wanted, _ = carried(lane, clip, FakeEngines(inverted))
    basket, report = carried(lane, clip, on_device(hardware), hardware)
    assert fake.downloads == FRAMES * len(RUNGS)
    assert report.copies == {"to host": 3 * FRAMES * len(RUNGS)}
    for rung in RUNGS:
        said = f"rung {rung} is encoded on the processor: fake:0 has no encoder session left"
        assert said in report.notes
        assert told(basket.of(f"video/{rung}")) == told(wanted.of(f"video/{rung}"))
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38


def test_a_refused_session_sends_only_its_own_rung_to_the_processor(lane: Lane, clip: Path) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake, sessions=1)
    basket, report = carried(lane, clip, on_device(hardware), hardware)
    assert [note for note in report.notes if "processor" in note] == [
        "rung 120p is encoded on the processor: fake:0 has no encoder session left"
    ]
    assert fake.downloads == FRAMES
    assert [len(basket.of(f"video/{rung}")) for rung in RUNGS] == [FRAMES, FRAMES]


def test_where_libavcodec_finds_no_gpu_the_report_says_so_for_every_rung(
    lane: Lane, clip: Path
) -> None:
    fake = FakeDevice()
    hardware = replace(fake_hardware(fake), encoder=partial(Nvenc, Driverless()))
    basket, report = carried(lane, clip, on_device(hardware), hardware)
    said = [note for note in report.notes if "is encoded on the processor: " in note]
    assert len(said) == len(RUNGS)
    assert all("h264_nvenc" in note for note in said)
    assert [len(basket.of(f"video/{rung}")) for rung in RUNGS] == [FRAMES, FRAMES]


def test_without_a_stage_pictures_go_from_the_decoder_to_the_encoders(
    lane: Lane, clip: Path
) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake)
    wanted, _ = carried(lane, clip, FakeEngines(inverted), painted=False)
    basket, report = carried(lane, clip, FakeEngines(inverted), hardware, painted=False)
    assert report.copies == {}
    for rung in RUNGS:
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38


def test_a_source_that_the_device_does_not_decode_is_done_on_the_processor(
    lane: Lane, clip: Path
) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake, codecs=frozenset({"hevc"}))
    engines = FakeEngines(inverted)
    _, report = carried(lane, clip, engines, hardware)
    assert "fake:0 does not decode h264: all is done on the processor" in report.notes
    assert len(engines.read) == report.frames_out == FRAMES
    assert fake.pool.allocated == 0


def test_another_size_and_shape_in_mid_stream_fits_the_rungs_that_there_are(
    lane: Lane, tmp_path: Path
) -> None:
    wide = synthetic_clip(tmp_path / "w.ts", width=320, height=180, frames=10, audio=None)
    square = synthetic_clip(
        tmp_path / "s.ts", width=240, height=240, frames=10, audio=None, pts=range(10, 20)
    )
    both = tmp_path / "both.ts"
    both.write_bytes(wide.read_bytes() + square.read_bytes())
    hardware = fake_hardware(FakeDevice())
    wanted, _ = carried(lane, both, FakeEngines(inverted))
    basket, report = carried(lane, both, on_device(hardware), hardware)
    assert report.frames_out == 20
    assert report.copies == {}
    for rung in RUNGS:
        assert told(basket.of(f"video/{rung}")) == told(wanted.of(f"video/{rung}"))
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38


def test_damaged_packets_cost_a_device_the_same_pictures_as_the_processor(
    lane: Lane, clip: Path, tmp_path: Path
) -> None:
    whole = bytearray(clip.read_bytes())
    for at in range(len(whole) // 4, len(whole) * 3 // 4, 997):
        whole[at] ^= 0x55
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(whole)
    hardware = fake_hardware(FakeDevice())
    _, wanted = carried(lane, damaged, FakeEngines(inverted))
    _, report = carried(lane, damaged, on_device(hardware), hardware)
    assert wanted.corrupt or wanted.lost
    assert (report.frames_in, report.frames_out) == (wanted.frames_in, wanted.frames_out)
    assert (report.dropped, report.lost) == (wanted.dropped, wanted.lost)


def test_memory_of_a_device_is_used_again_and_all_of_it_comes_back(lane: Lane, clip: Path) -> None:
    fake = FakeDevice()
    hardware = fake_hardware(fake)
    engines = on_device(hardware)
    carried(lane, clip, engines, hardware)
    assert engines.addresses.keys() == {"y", "u", "v", "y_out", "u_out", "v_out"}
    assert all(len(at) < FRAMES // 2 for at in engines.addresses.values())
    del hardware
    gc.collect()
    assert fake.pool.free == fake.pool.allocated
    assert fake.host.free == fake.host.allocated == 0


def test_a_live_stream_is_refused_on_a_device(lane: Lane, clip: Path) -> None:
    hardware = fake_hardware(FakeDevice())
    with pytest.raises(ConfigError, match="a live stream runs on the processor, not on fake:0"):
        open_session(
            pipeline(),
            open_source(str(clip)),
            [Basket()],
            lane=lane,
            mode=Mode.LIVE,
            hardware=hardware,
        )
