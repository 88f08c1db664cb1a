"""Pictures to networks' planes, bit for bit as numpy makes them."""

from __future__ import annotations

import numpy as np
import pytest

from streamgen.cuda.planes import to_planes
from streamgen.errors import ConfigError
from streamgen.media.frame import Layout, Plane, plane_shapes
from tests.cuda.bench import Bench, HostBench
from tests.cuda.pictures import Placed, place, source

# The picture, then the planes that a network takes: whole multiples of 4 or 2, or of nothing.
SIZES = [
    ((64, 48), (64, 48)),
    ((1280, 36), (1280, 36)),
    ((854, 34), (856, 36)),
    ((426, 30), (428, 32)),
    ((62, 46), (62, 46)),
    ((61, 45), (64, 48)),
    ((17, 31), (18, 32)),
    ((1, 1), (2, 2)),
    ((3, 2), (128, 64)),
]


def planes_for(bench: Bench, columns: int, rows: int, dtype: str) -> Placed:
    return place(bench, plane_shapes(Layout.I420, columns, rows), dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("size", "padded"), SIZES)
@pytest.mark.parametrize("spare", [0, 6, 128])
def test_planes_hold_the_picture_and_repeat_its_edge(
    bench: Bench,
    layout: Layout,
    size: tuple[int, int],
    padded: tuple[int, int],
    spare: int,
    dtype: str,
) -> None:
    frame, planes = source(bench, layout, *size, spare=spare, extra_rows=5 if spare else 0)
    made = planes_for(bench, *padded, dtype)
    bench.run(to_planes([frame], [made.planes]))
    for got, plane in zip(made.read(), planes, strict=True):
        beyond = [(0, whole - part) for whole, part in zip(got.shape, plane.shape, strict=True)]
        assert np.array_equal(got, np.pad(plane, beyond, mode="edge").astype(dtype))


@pytest.mark.parametrize("layout", Layout)
def test_pictures_become_one_batch(bench: Bench, layout: Layout) -> None:
    sources = [source(bench, layout, 62, 46, seed=n, spare=2 * n) for n in range(3)]
    tensors = [
        place(bench, [(3 * rows, columns)], "uint8")
        for rows, columns in plane_shapes(Layout.I420, 64, 48)
    ]
    parts = [
        [
            Plane(t.address + n * r * c, (r, c), c, "uint8", bench.device, None)
            for t, (r, c) in zip(tensors, plane_shapes(Layout.I420, 64, 48), strict=True)
        ]
        for n in range(3)
    ]
    bench.run(to_planes([frame for frame, _ in sources], parts))
    for number, (_, planes) in enumerate(sources):
        for tensor, plane in zip(tensors, planes, strict=True):
            batch = tensor.read()[0].reshape(3, -1, tensor.planes[0].shape[1])
            rows, columns = plane.shape
            assert np.array_equal(batch[number, :rows, :columns], plane)


def test_every_code_value_is_exact_in_half_precision(bench: Bench) -> None:
    frame, _ = source(bench, Layout.I420, 16, 16)
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    placed = place(
        bench,
        plane_shapes(Layout.I420, 16, 16),
        "uint8",
        data=[values, values[:8, :8], values[8:, 8:]],
    )
    made = planes_for(bench, 16, 16, "float16")
    bench.run(to_planes([frame.retimed(planes=placed.planes)], [made.planes]))
    assert np.array_equal(made.read()[0], values.astype(np.float16))


def test_ten_bits_are_rounded_and_do_not_overflow(bench: Bench) -> None:
    samples = np.arange(1024, dtype=np.uint16).reshape(32, 32) << 6
    frame, _ = source(bench, Layout.P010, 32, 32)
    placed = place(bench, plane_shapes(Layout.P010, 32, 32), "uint16", data=[samples, samples[:16]])
    made = planes_for(bench, 32, 32, "uint8")
    bench.run(to_planes([frame.retimed(planes=placed.planes)], [made.planes]))
    # As the stages of the processor do it (`stages/planar.py`).
    assert np.array_equal(made.read()[0], np.minimum((samples.astype(int) + 128) >> 8, 255))


def test_planes_that_do_not_hold_the_picture_are_refused(host: HostBench) -> None:
    frame, _ = source(host, Layout.NV12, 64, 48)
    with pytest.raises(ConfigError, match="64x48 does not fit into 62x48"):
        to_planes([frame], [planes_for(host, 62, 48, "uint8").planes])
    with pytest.raises(ConfigError, match="does not fit into 65x49"):
        to_planes([frame], [place(host, [(49, 65), (24, 32), (24, 32)], "uint8").planes])
    with pytest.raises(ConfigError, match="1 to 8 pictures at a time, got 9"):
        to_planes([frame] * 9, [])
    with pytest.raises(ConfigError, match="one size and layout"):
        to_planes([frame, source(host, Layout.NV12, 62, 48)[0]], [])


def test_a_kernel_that_leaves_its_memory_is_caught(host: HostBench) -> None:
    frame, _ = source(host, Layout.NV12, 64, 48)
    small = planes_for(host, 32, 32, "uint8")
    launch = to_planes([frame], [planes_for(host, 64, 48, "uint8").planes])
    launch.job.target[0].y = small.address
    with pytest.raises(AssertionError, match="touched memory that it was not given"):
        host.run(launch)
