"""Shared buffers: private until handed over, never torn, and gone with whoever had them."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from streamgen.media.frame import Layout
from streamgen.media.pool import add_reader
from streamgen.media.shared import HEADER, Region, SharedPool, memory_left, packed_size, slot_of
from streamgen.testing import ManualFence, frame_of, picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")


def test_a_lent_picture_is_packed_aligned_and_can_be_published() -> None:
    pool = SharedPool()
    out = pool.take(Layout.I420, 99, 55, multiple=4)
    assert (out.width, out.height) == (100, 56)
    assert all(plane.packed and plane.ptr % 64 == 0 for plane in out.planes)
    np.asarray(out.planes[2])[:] = 9
    frame = out.publish(picture(4, 4))
    assert (frame.planes[2].array() == 9).all()
    assert slot_of(frame) is not None


@pytest.mark.parametrize("layout", list(Layout))
def test_every_layout_fits_into_its_size(layout: Layout) -> None:
    pool = SharedPool()
    out = pool.take(layout, 33, 17)
    for number, plane in enumerate(out.planes):
        np.asarray(plane)[:] = number + 1
    assert [int(plane.array().max()) for plane in out.planes] == list(range(1, len(out.planes) + 1))
    last = out.planes[-1]
    start = out.slot.memory.ctypes.data
    assert last.ptr + last.pitch * last.shape[0] - start <= packed_size(layout, 33, 17)


def test_the_end_of_a_lease_makes_every_reference_stale() -> None:
    pool = SharedPool()
    slot = pool.lend(100)
    buffer, generation = slot.buffer, slot.generation
    seen = np.asarray(Region(buffer.fd, 0, HEADER, writable=False)).view(np.uint32)
    assert seen[0] == generation
    del slot
    assert seen[0] == buffer.generation == generation + 1
    assert pool.lend(100).buffer is buffer


def test_a_buffer_is_not_lent_again_while_an_array_of_it_lives() -> None:
    pool = SharedPool()
    frame = pool.take(Layout.I420, 32, 16).publish(picture(4, 4))
    array = frame.planes[1].array()
    address = array.ctypes.data
    del frame
    other = pool.take(Layout.I420, 32, 16)
    assert other.planes[1].ptr != address
    del array, other
    gc.collect()
    assert pool.free == pool.allocated == 2


def test_a_buffer_waits_for_the_fence_of_its_reader() -> None:
    pool = SharedPool()
    frame = pool.take(Layout.I420, 32, 16).publish(picture(4, 4))
    fence = ManualFence()
    add_reader(frame, fence)
    del frame
    assert pool.free == 0
    fence.release()
    assert pool.free == 1


def test_a_private_picture_is_copied_once_and_a_shared_one_never() -> None:
    pool = SharedPool()
    source = picture(48, 32)
    first = pool.shared(source)
    second = pool.shared(source.retimed(pts=9))
    assert second.planes is first.planes
    assert second.pts == 9
    assert pool.shared(first) is first
    assert pool.meter.planes == {"shared": 3}
    assert pool.meter.bytes == 48 * 32 * 3 // 2
    assert (first.planes[0].array() == source.planes[0].array()).all()


def test_a_padded_picture_is_copied_row_by_row() -> None:
    wide = np.arange(64 * 20, dtype=np.uint8).reshape(20, 64)
    source = frame_of([wide[:, :30], wide[:10, :15], wide[:10, 20:35]])
    copy = SharedPool().shared(source)
    for mine, theirs in zip(copy.planes, source.planes, strict=True):
        assert mine.packed
        assert (mine.array() == theirs.array()).all()


def test_remembered_copies_are_let_go() -> None:
    pool = SharedPool()
    pool.shared(picture(48, 32))
    assert pool.free == 0
    pool.forget()
    assert pool.free == 1


def test_nobody_else_can_write_into_a_sealed_buffer() -> None:
    buffer = SharedPool(sealed=True).lend(100).buffer
    with pytest.raises(OSError, match="map"):
        Region(buffer.fd, HEADER, buffer.size, writable=True)
    with pytest.raises(PermissionError):
        os.pwrite(buffer.fd, b"x", HEADER)
    Region(buffer.fd, HEADER, buffer.size, writable=False)


def test_a_read_only_descriptor_cannot_be_mapped_for_writing() -> None:
    buffer = SharedPool().lend(100).buffer
    fd = buffer.read_only_fd()
    with pytest.raises(OSError, match="map"):
        Region(fd, HEADER, buffer.size, writable=True)
    os.close(fd)


def test_a_buffer_cannot_be_cut_short_by_who_it_was_handed_to() -> None:
    buffer = SharedPool().lend(100).buffer
    assert fcntl.fcntl(buffer.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fd, 0)


def test_a_write_without_the_right_ends_the_process_not_the_picture() -> None:
    script = (
        "import numpy as np\n"
        "from streamgen.media.shared import HEADER, Region, SharedPool\n"
        "buffer = SharedPool().lend(100).buffer\n"
        "region = Region(buffer.fd, HEADER, buffer.size, writable=True)\n"
        "array = np.asarray(region)\n"
        "array[0] = 1\n"
        "region.allow_writing(False)\n"
        "print(array[0], flush=True)\n"
        "array[0] = 2\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "1\n"
    assert ended.returncode == -11


def test_descriptors_and_memory_go_with_the_pool() -> None:
    gc.collect()
    before = os.listdir("/proc/self/fd")
    pool = SharedPool()
    slots = [pool.lend(4096) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == len(before) + 5
    del slots, pool
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_another_size_lets_go_of_what_rests_of_the_old_one() -> None:
    pool = SharedPool()
    slots = [pool.lend(4096) for _ in range(8)]
    del slots
    pool.lend(1 << 20)
    assert pool.allocated == 3


def test_the_memory_that_is_left_is_known() -> None:
    left = memory_left()
    assert left is not None
    assert 1 << 20 < left < 1 << 50
