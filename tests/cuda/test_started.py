"""A blitter on the real kernels, compiled for this processor: as whole pictures come to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.cuda.launch import Launch
from streamgen.cuda.started import MOST_SCALINGS, StartedKernels
from streamgen.graph.lane import Lane
from streamgen.media.frame import CPU, Frame, Layout, Plane
from streamgen.media.pool import HostMemory, Memory
from streamgen.media.scaler import CascadeScaler
from streamgen.testing import (
    FakeDevice,
    FakeEngines,
    FakeStream,
    HarshPool,
    fake_hardware,
    noise,
    synthetic_clip,
)
from streamgen.testing.device import pixels
from tests.cuda.bench import HostBench
from tests.journey.test_device import RUNGS, carried, decoded, inverted, on_device, psnr, told
from tests.media.test_blitter import lent, read, semiplanar


class CompiledStream(FakeStream):
    """A stream of a `FakeDevice` on which launches run on this processor."""

    def __init__(self, fake: FakeDevice, host: HostBench) -> None:
        super().__init__(fake)
        self._fake = fake
        self._host = host

    def start(self, launch: Launch) -> None:
        self.enqueue(lambda: self._host.run(launch))

    def copy(self, source: int, target: int, size_bytes: int) -> None:
        def work() -> None:
            bytes_at(target, size_bytes)[:] = bytes_at(source, size_bytes)
            self._fake.downloads += 1

        self.enqueue(work)

    def fill(self, plane: Plane, value: int) -> None:
        (target,) = pixels([plane])
        self.enqueue(lambda: target.fill(value))


def bytes_at(address: int, size: int) -> NDArray[np.generic]:
    (row,) = pixels([Plane(address, (1, size), size, "uint8", CPU, None)])
    return row[0]


def upload(array: NDArray[np.generic]) -> Memory:
    memory = HostMemory(array.nbytes)
    bytes_at(memory.ptr, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
    return memory


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane() as lane:
        yield lane


@pytest.fixture
def fake(host: HostBench) -> FakeDevice:
    return FakeDevice(kernels=lambda fake: StartedKernels(CompiledStream(fake, host), upload))


def close(frame: Frame, wanted: Frame) -> float:
    """Mean distance of luma in code values, between a picture on the device and one on the host."""
    return float(np.abs(read(frame)[0].astype(int) - wanted.planes[0].array()).mean())


def test_a_picture_becomes_all_rungs_as_on_the_processor(fake: FakeDevice) -> None:
    source, pool, blitter = noise(96, 64), HarshPool(), fake.blitter()
    large, small = blitter.sized(
        lent(fake, semiplanar(source), Layout.NV12),
        [((96, 64), Layout.I420), ((48, 32), Layout.NV12)],
    )
    assert close(large, source) == 0
    assert close(small, CascadeScaler("bicubic", pool, pool.meter).scale(source, 48, 32)) < 1.5


def test_black_bars_are_where_the_processor_puts_them(fake: FakeDevice) -> None:
    source, blitter = noise(64, 64), fake.blitter()
    boxed = blitter.boxed(lent(fake, semiplanar(source), Layout.NV12), 112, 64, (64, 64))
    luma, chroma = read(boxed)
    assert np.array_equal(luma[:, 24:88], source.planes[0].array())
    assert np.array_equal(chroma[:, 24:88], semiplanar(source)[1])
    assert (luma[:, :24] == 16).all() and (luma[:, 88:] == 16).all()
    assert (chroma[:, :24] == 128).all() and (chroma[:, 88:] == 128).all()


def test_sizes_that_come_and_go_do_not_add_up(fake: FakeDevice) -> None:
    blitter = fake.blitter()
    made = [
        blitter.sized(
            lent(fake, semiplanar(noise(16 + 2 * n, 16)), Layout.NV12), [((8, 8), Layout.NV12)]
        )[0]
        for n in range(2 * MOST_SCALINGS)
    ]
    assert all(read(one)[0].shape == (8, 8) for one in made)


@pytest.mark.parametrize("sessions", [2, 0], ids=["encoders", "no-encoders"])
def test_a_clip_is_painted_on_the_real_kernels_as_on_the_processor(
    lane: Lane, fake: FakeDevice, tmp_path: Path, sessions: int
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=328, height=246, frames=8, b_frames=2)
    hardware = fake_hardware(fake, sessions=sessions)
    here, there = FakeEngines(inverted), on_device(hardware)
    wanted, _ = carried(lane, clip, here)
    basket, report = carried(lane, clip, there, hardware)
    for one, other in zip(here.read, there.read, strict=True):
        assert all(map(np.array_equal, one, other))
    for rung in RUNGS:
        assert told(basket.of(f"video/{rung}")) == told(wanted.of(f"video/{rung}"))
        pairs = zip(decoded(wanted, rung), decoded(basket, rung), strict=True)
        assert min(psnr(one, other) for one, other in pairs) > 38
    assert fake.downloads == (0 if sessions else report.frames_out * len(RUNGS))
