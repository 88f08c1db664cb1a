"""`FramePool` and the harsh fake: slots come back when nobody looks any more, not earlier."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from streamgen.errors import ConfigError
from streamgen.media.frame import CPU, Device, Layout
from streamgen.media.pool import FramePool, Pool, add_reader, copy_padded, cropped
from streamgen.testing import POISON, HarshPool, ManualFence, frame_of, picture


@pytest.fixture(params=["real", "harsh"])
def pool(request: pytest.FixtureRequest) -> FramePool | HarshPool:
    return FramePool() if request.param == "real" else HarshPool()


def test_a_published_frame_shows_what_was_written(pool: Pool) -> None:
    out = pool.take(Layout.I420, 64, 48)
    for number, plane in enumerate(out.planes):
        np.asarray(plane)[:] = number + 1
    frame = out.publish(picture(64, 48))
    assert [int(plane.array().mean()) for plane in frame.planes] == [1, 2, 3]
    assert (frame.width, frame.height) == (64, 48)


def test_a_slot_comes_back_only_when_the_last_array_is_gone() -> None:
    pool = FramePool()
    frame = pool.take(Layout.I420, 64, 48).publish(picture(64, 48))
    view = frame.planes[1].array()[3:5]
    del frame
    gc.collect()
    assert pool.free == 0
    del view
    gc.collect()
    assert pool.free == 1


def test_a_returned_buffer_is_lent_again() -> None:
    pool = FramePool()
    for _ in range(20):
        pool.take(Layout.I420, 64, 48).publish(picture(64, 48))
    gc.collect()
    assert pool.allocated <= 2


def test_a_slot_waits_for_the_fence_of_its_last_reader() -> None:
    pool = FramePool()
    fence = ManualFence()
    frame = pool.take(Layout.I420, 64, 48).publish(picture(64, 48))
    add_reader(frame, fence)
    del frame
    gc.collect()
    assert pool.free == 0
    fence.release()
    assert pool.free == 1


def test_planes_of_a_pool_are_aligned_and_packed() -> None:
    out = FramePool().take(Layout.I420, 426, 240)
    assert all(plane.ptr % 64 == 0 and plane.packed for plane in out.planes)
    assert [plane.shape for plane in out.planes] == [(240, 426), (120, 213), (120, 213)]


def test_ten_bit_frames_have_two_bytes_per_sample() -> None:
    out = FramePool().take(Layout.P010, 64, 48)
    assert [plane.shape for plane in out.planes] == [(48, 64), (24, 64)]
    assert np.asarray(out.planes[0]).dtype == np.uint16


def test_a_pool_of_host_memory_refuses_a_gpu() -> None:
    with pytest.raises(ConfigError, match="cuda:1"):
        FramePool(Device("cuda", 1))


@pytest.mark.parametrize(("width", "height"), [(854, 480), (426, 240), (17, 31), (1, 1), (6, 2)])
def test_a_padded_copy_continues_the_picture_and_is_counted(width: int, height: int) -> None:
    pool = FramePool()
    frame = picture(width, height)
    padded = copy_padded(frame, pool, pool.meter, 4)
    assert padded.width % 4 == 0 and padded.height % 4 == 0
    assert all(plane.packed for plane in padded.planes)
    for before, after in zip(frame.planes, padded.planes, strict=True):
        rows, columns = before.shape
        inside, outside = before.array(), after.array()
        assert np.array_equal(outside[:rows, :columns], inside)
        assert np.array_equal(
            outside[:rows, columns:], np.repeat(inside[:, -1:], outside.shape[1] - columns, axis=1)
        )
        assert np.array_equal(
            outside[rows:], np.repeat(outside[rows - 1 : rows], outside.shape[0] - rows, axis=0)
        )
    assert pool.meter.planes == {"unpacked plane": 3}


def test_a_cropped_frame_looks_at_the_same_memory() -> None:
    frame = picture(64, 48)
    part = cropped(frame, 50, 38)
    assert [plane.ptr for plane in part.planes] == [plane.ptr for plane in frame.planes]
    assert part.planes[1].shape == (19, 25)
    assert np.array_equal(part.planes[0].array(), frame.planes[0].array()[:38, :50])


def test_a_frame_lends_its_planes_by_dlpack() -> None:
    frame = picture(64, 48)
    view = np.from_dlpack(frame.planes[0])
    assert view.ctypes.data == frame.planes[0].ptr
    assert frame.device == CPU


def test_a_frame_with_missing_planes_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 planes, got 2"):
        frame_of([np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)])


def test_the_harsh_pool_poisons_what_comes_back_and_shows_who_writes_beside() -> None:
    pool = HarshPool()
    frame = pool.take(Layout.I420, 64, 48).publish(picture(64, 48))
    assert (frame.planes[0].array() == POISON).all()
    assert not pool.spoiled(frame)
    plane = frame.planes[0]
    beside = np.asarray(plane.crop(48, 65))
    beside[0, 64] = 0
    assert pool.spoiled(frame)
    assert pool.out == 1
    del frame, plane, beside
    gc.collect()
    assert pool.out == 0
