"""NVENC keeps the ladder's promises: key frames where they are forced, nothing held back live."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from streamgen.encode.nvenc import Nvenc, options
from streamgen.encode.rungs import Codec, Encoding, PictureFormat, PlannedRung
from streamgen.errors import EncodeError
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame, Layout
from streamgen.media.packet import Packet
from streamgen.protocols import Encoder, Hardware, Mode
from streamgen.telemetry import Telemetry
from streamgen.testing import synthetic_clip
from tests.encode.test_ladder import decoded, keys
from tests.gpus import Driverless, on_host, open_gpu

SIZE = (320, 240)
FRAMES = 50
TIME_BASE = Fraction(1, 25)
PICTURE = PictureFormat(*SIZE, time_base=TIME_BASE, rate=Fraction(25))
MODES = [Mode.OFFLINE, Mode.LIVE]
CODECS: list[Codec] = ["x264", "x265", "svt-av1"]


def rung(codec: Codec = "x264") -> PlannedRung:
    return PlannedRung("source", *SIZE, bitrate_bps=2_000_000, codec=codec)


@pytest.fixture(scope="module")
def gpu() -> Hardware:
    return open_gpu()


@pytest.fixture(scope="module")
def frames(gpu: Hardware, tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """A clip on the GPU; a key frame is wanted every 20 pictures."""
    path = tmp_path_factory.mktemp("clips") / "in.mp4"
    source = open_source(str(synthetic_clip(path, frames=FRAMES, audio=None)))
    decoder = gpu.decoder(source.info.video, pool=gpu.pool, telemetry=Telemetry())
    given = [frame for packet in source.packets() for frame in decoder.decode(packet)]
    made = [gpu.ladder.sized(f, [(SIZE, Layout.NV12)])[0] for f in [*given, *decoder.flush()]]
    return [
        one.retimed(pts=n, duration=1, time_base=TIME_BASE, keyframe=n % 20 == 0)
        for n, one in enumerate(made)
    ]


def opened(gpu: Hardware, codec: Codec, mode: Mode) -> Encoder:
    try:
        encoder: Encoder = gpu.encoder(rung(codec), PICTURE, Encoding(), mode=mode, threads=1)
    except EncodeError as error:
        pytest.skip(f"needs an NVIDIA GPU with an encoder: {error}")
    return encoder


@pytest.mark.gpu
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", MODES)
def test_what_a_gpu_encodes_decodes_to_the_pictures_at_their_times(
    gpu: Hardware, frames: list[Frame], codec: Codec, mode: Mode
) -> None:
    encoder = opened(gpu, codec, mode)
    packets: list[Packet] = []
    for number, frame in enumerate(frames):
        packets += encoder.encode(frame)
        assert mode is Mode.OFFLINE or len(packets) == number + 1
    packets += encoder.flush()
    assert keys(packets) == [0, 20, 40]
    shown = decoded(encoder, packets)
    assert [one.pts for one in shown] == list(range(FRAMES))
    for one, frame in zip(shown, frames, strict=True):
        wanted = on_host(gpu, frame).planes[0].array().astype(float)
        distance = np.mean((one.to_ndarray(format="yuv420p")[: SIZE[1]] - wanted) ** 2)
        assert 10 * np.log10(255**2 / max(distance, 1e-9)) >= 38


@pytest.mark.gpu
def test_a_session_too_many_is_refused_and_the_others_go_on(
    gpu: Hardware, frames: list[Frame]
) -> None:
    sessions = [opened(gpu, "x264", Mode.OFFLINE)]
    try:
        for _ in range(63):
            sessions.append(gpu.encoder(rung(), PICTURE, Encoding(), mode=Mode.OFFLINE, threads=1))
    except EncodeError:
        pass
    for encoder in sessions:
        assert len([*encoder.encode(frames[0]), *encoder.flush()]) == 1


def test_without_a_driver_the_rung_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match="h264_nvenc") as refused:
        Nvenc(Driverless(), rung(), PICTURE, Encoding(), mode=Mode.OFFLINE, threads=1)
    assert refused.value.rung == "source"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", MODES)
def test_key_frames_are_only_the_forced_ones_and_idr(codec: Codec, mode: Mode) -> None:
    told = options(rung(codec), Encoding(), mode)
    assert (told["forced-idr"], told["no-scenecut"]) == ("1", "1")
    assert int(told["g"]) >= 10_000


@pytest.mark.parametrize("codec", CODECS)
def test_live_there_are_no_b_frames_and_no_delay(codec: Codec) -> None:
    told = options(rung(codec), Encoding(), Mode.LIVE)
    assert (told["bf"], told["delay"], told["zerolatency"]) == ("0", "0", "1")


def test_offline_a_tune_for_no_latency_holds_nothing_back_either() -> None:
    assert options(rung(), Encoding(tune="zerolatency"), Mode.OFFLINE)["bf"] == "0"
    assert options(rung(), Encoding(), Mode.OFFLINE)["bf"] == "3"


def test_live_viewers_may_be_browsers_that_take_constrained_baseline_only() -> None:
    assert options(rung(), Encoding(), Mode.LIVE)["profile"] == "baseline"
    assert options(rung(), Encoding(), Mode.OFFLINE)["profile"] == "high"
