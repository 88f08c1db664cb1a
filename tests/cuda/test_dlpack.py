"""Planes go to libav by address and pitch, and live exactly as long as it holds them."""

from __future__ import annotations

import gc
import threading

import av
import numpy as np

from streamgen.cuda.dlpack import exported
from streamgen.media.frame import Frame, Layout
from streamgen.testing import HarshPool, picture

SIZE = (70, 46)


def written(pool: HarshPool) -> Frame:
    """NV12 with bytes behind its rows."""
    out = pool.take(Layout.NV12, *SIZE)
    for number, plane in enumerate(out.planes):
        np.asarray(plane)[:] = np.arange(plane.shape[1]) + 50 * number
    return out.publish(picture(*SIZE))


def lent(frame: Frame) -> av.VideoFrame:
    return av.VideoFrame.from_dlpack(
        tuple(exported(plane) for plane in frame.planes),
        format="nv12",
        width=frame.width,
        height=frame.height,
    )


def test_libav_sees_the_planes_where_they_lie() -> None:
    frame = written(HarshPool())
    shell = lent(frame)
    assert [p.buffer_ptr for p in shell.planes] == [p.ptr for p in frame.planes]
    assert [p.line_size for p in shell.planes] == [p.pitch for p in frame.planes]
    wanted = [plane.array() for plane in frame.planes]
    assert np.array_equal(shell.to_ndarray(), np.concatenate(wanted))


def test_the_memory_comes_back_when_libav_lets_go_and_not_before() -> None:
    pool = HarshPool()
    shell = lent(written(pool))
    gc.collect()
    assert pool.out == 1
    ended = threading.Thread(target=lambda box: box.clear(), args=([shell],))
    del shell
    ended.start()
    ended.join()
    gc.collect()
    assert pool.out == 0


def test_a_capsule_that_nobody_takes_keeps_nothing() -> None:
    pool = HarshPool()
    capsules = [exported(plane) for plane in written(pool).planes]
    gc.collect()
    assert pool.out == 1
    capsules.clear()
    gc.collect()
    assert pool.out == 0


def test_ten_bits_are_two_bytes_each() -> None:
    out = HarshPool().take(Layout.P010, *SIZE)
    for plane in out.planes:
        np.asarray(plane)[:] = np.arange(plane.shape[1]) << 6
    frame = out.publish(picture(*SIZE))
    shell = av.VideoFrame.from_dlpack(
        tuple(exported(plane) for plane in frame.planes), format="p010le", width=70, height=46
    )
    assert [p.line_size for p in shell.planes] == [p.pitch for p in frame.planes]
