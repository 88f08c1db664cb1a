"""Pictures on a device are reshaped in order, while nobody waits and their owners let go early."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import pytest

from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Layout
from streamgen.media.shell import shell
from streamgen.testing import POISON, FakeDevice, FakeStream, flat, noise, picture
from streamgen.testing.device import pixels

SIZE = (70, 46)


def lent(fake: FakeDevice, planes: Sequence[np.ndarray], layout: Layout) -> Frame:
    """A picture on the device, whose pixels are there some time from now."""
    rows, columns = planes[0].shape
    out = fake.pool.take(layout, columns, rows)
    written, stream = pixels(out.planes), FakeStream(fake)

    def work() -> None:
        for one, other in zip(written, planes, strict=True):
            one[:] = other

    stream.enqueue(work)
    return out.publish(picture(*SIZE), ready=stream.record())


def semiplanar(frame: Frame) -> list[np.ndarray]:
    y, u, v = (np.array(plane.array()) for plane in frame.planes)
    return [y, np.stack([u, v], axis=-1).reshape(u.shape[0], -1)]


def read(frame: Frame) -> list[np.ndarray]:
    assert frame.ready is not None
    frame.ready.wait()
    return [np.array(plane) for plane in pixels(frame.planes)]


def test_a_network_gets_whole_planes_whose_edge_goes_on() -> None:
    fake = FakeDevice()
    source = noise(*SIZE)
    made = fake.blitter().planar(lent(fake, semiplanar(source), Layout.NV12), multiple=4)
    assert (made.width, made.height) == (72, 48)
    assert all(plane.packed for plane in made.planes)
    for plane, wanted in zip(read(made), source.planes, strict=True):
        rows, columns = wanted.shape
        assert np.array_equal(plane[:rows, :columns], wanted.array())
        assert np.array_equal(
            plane[:, columns:], plane[:, [columns - 1] * (plane.shape[1] - columns)]
        )
        assert np.array_equal(plane[rows:], plane[[rows - 1] * (plane.shape[0] - rows)])


def test_ten_bits_become_eight() -> None:
    fake = FakeDevice()
    ten = [plane.astype(np.uint16) << 8 | 0x40 for plane in semiplanar(noise(*SIZE))]
    made = fake.blitter().planar(lent(fake, ten, Layout.P010), multiple=2)
    for plane, wanted in zip(read(made), noise(*SIZE).planes, strict=True):
        assert np.array_equal(plane, wanted.array())


def test_a_picture_of_another_shape_stands_between_black_bars() -> None:
    fake = FakeDevice()
    grey = lent(fake, semiplanar(flat(60, 60, 200)), Layout.NV12)
    luma, chroma = read(fake.blitter().boxed(grey, 100, 60, (60, 60)))
    assert set(np.unique(luma[:, 20:80])) == {200}
    assert set(np.unique(luma[:, :20])) == set(np.unique(luma[:, 80:])) == {16}
    assert set(np.unique(chroma)) == {128}


def test_what_nobody_holds_any_more_is_written_to_the_end_before_its_memory_is_lent_again() -> None:
    fake = FakeDevice()
    blitter = fake.blitter()
    source = lent(fake, semiplanar(flat(*SIZE, 200)), Layout.NV12)
    made = blitter.planar(source, multiple=4)
    fence = made.ready
    del made
    gc.collect()
    taken = fake.pool.take(Layout.I420, 72, 48, multiple=4)
    pixels(taken.planes)[0][:] = 30
    assert fence is not None
    fence.wait()
    assert set(np.unique(pixels(taken.planes)[0])) == {30}


def test_a_source_is_held_until_it_has_been_read() -> None:
    fake = FakeDevice()
    blitter, source = fake.blitter(), lent(fake, semiplanar(flat(*SIZE, 200)), Layout.NV12)
    read(source)
    made = blitter.planar(source, multiple=4)
    del source
    gc.collect()
    assert set(np.unique(read(made)[0])) == {200}


def test_a_copy_to_the_host_is_one_and_is_counted() -> None:
    fake = FakeDevice()
    blitter = fake.blitter()
    source = lent(fake, [plane.array() for plane in noise(*SIZE).planes], Layout.I420)
    host = blitter.to_host(source)
    assert host.device.type == "cpu"
    assert fake.downloads == 0  # nobody has waited
    read(host)
    assert fake.downloads == 1
    assert fake.pool.meter.planes == {"to host": 3}
    for plane, wanted in zip(host.planes, noise(*SIZE).planes, strict=True):
        assert np.array_equal(plane.array(), wanted.array())


def test_memory_of_a_device_holds_nothing_until_somebody_has_waited() -> None:
    fake = FakeDevice()
    source = lent(fake, semiplanar(flat(*SIZE, 200)), Layout.NV12)
    assert set(np.unique(pixels(source.planes)[0])) == {POISON}


def test_numpy_and_libav_are_refused_what_is_not_in_host_memory() -> None:
    source = lent(FakeDevice(), semiplanar(flat(*SIZE, 200)), Layout.NV12)
    with pytest.raises(ConfigError, match="the pixels are on fake:0, not in host memory"):
        source.planes[0].array()
    with pytest.raises(ConfigError, match="the picture is on fake:0"):
        shell(source)


def test_a_picture_in_host_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="in host memory"):
        FakeDevice().blitter().planar(flat(*SIZE, 200), multiple=4)
