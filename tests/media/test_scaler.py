"""Pictures in every size: lent, not copied, and undistorted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from streamgen.errors import ConfigError
from streamgen.media.frame import Color, Device, Frame, Layout, Plane, Range, plane_shapes
from streamgen.media.scaler import INTERPOLATIONS, CascadeScaler
from streamgen.media.shell import shell
from streamgen.testing import HarshPool, late, picture


def scaler(interpolation: str = "bicubic", pool: HarshPool | None = None) -> CascadeScaler:
    pool = pool or HarshPool()
    return CascadeScaler(interpolation, pool, pool.meter)


def size(frame: Frame) -> tuple[int, int]:
    return (frame.width, frame.height)


def luma(frame: Frame) -> np.ndarray:
    return frame.planes[0].array().astype(float)


def test_a_shell_lends_the_planes_without_a_copy() -> None:
    frame = picture(64, 48)
    lent = shell(frame)
    assert [p.buffer_ptr for p in lent.planes] == [p.ptr for p in frame.planes]


def test_a_shell_lends_strided_planes_too() -> None:
    frame = HarshPool().take(Layout.I420, 62, 48).publish(picture(62, 48))
    lent = shell(frame)
    assert [p.buffer_ptr for p in lent.planes] == [p.ptr for p in frame.planes]
    assert [p.line_size for p in lent.planes] == [p.pitch for p in frame.planes]


def test_a_shell_keeps_the_planes_alive() -> None:
    pool = HarshPool()
    frame = pool.take(Layout.I420, 64, 48).publish(picture(64, 48))
    lent = shell(frame)
    del frame
    assert pool.out == 1
    del lent
    assert pool.out == 0


def test_a_shell_waits_until_the_pixels_are_there() -> None:
    frame, fence = late(picture(64, 48), delay_s=0.02)
    shell(frame)
    assert fence.done()


def test_a_picture_on_another_device_is_refused() -> None:
    planes = tuple(
        Plane(p.ptr, p.shape, p.pitch, p.dtype, Device("cuda"), p.owner)
        for p in picture(64, 48).planes
    )
    with pytest.raises(ConfigError, match="cuda"):
        shell(picture(64, 48).retimed(planes=planes))


def test_a_rung_of_the_pictures_own_size_is_the_same_frame() -> None:
    frame = picture(64, 48)
    same, small = scaler().scale_all(frame, [(64, 48), (32, 24)])
    assert same is frame
    assert size(small) == (32, 24)


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
def test_each_rung_is_made_from_the_next_larger(interpolation: str) -> None:
    frame = picture(320, 240)
    sizes = [(160, 120), (80, 60)]
    cascade = scaler(interpolation).scale_all(frame, sizes)
    first = scaler(interpolation).scale(frame, 160, 120)
    second = scaler(interpolation).scale(first, 80, 60)
    assert np.array_equal(luma(cascade[1]), luma(second))
    means = luma(frame).reshape(60, 4, 80, 4).mean(axis=(1, 3))
    # fast_bilinear stretches rows by a pixel; the others are exact.
    assert np.abs(luma(cascade[1]) - means).mean() < (8 if interpolation == "fast_bilinear" else 3)


def test_scaling_keeps_times_and_tags() -> None:
    tags = {
        "pts": 77,
        "time_base": Fraction(1, 1000),
        "duration": 40,
        "color": Color(range=Range.FULL),
        "sar": Fraction(16, 15),
        "rotation": 90,
        "epoch": 3,
        "received_ns": 5,
        "keyframe": True,
    }
    small = scaler().scale(picture(64, 48).retimed(**tags), 32, 24)
    assert {name: getattr(small, name) for name in tags} == tags


def test_scaling_leaves_the_source_and_its_spare_bytes_alone() -> None:
    pool = HarshPool()
    out = pool.take(Layout.I420, 62, 48)
    frame = out.publish(picture(62, 48))
    for plane, source in zip(frame.planes, picture(62, 48).planes, strict=True):
        np.asarray(plane)[:] = source.array()
    before = luma(frame)
    small = scaler().scale(frame, 30, 24)
    assert np.array_equal(luma(frame), before)
    assert not pool.spoiled(frame)
    packed = scaler().scale(picture(62, 48), 30, 24)
    assert np.array_equal(luma(small), luma(packed))


def test_an_odd_picture_is_padded_by_its_own_edge() -> None:
    pool = HarshPool()
    frame = picture(17, 31)
    even = scaler(pool=pool).fit(frame, 18, 32, Fraction(1))
    assert size(even) == (18, 32)
    assert np.array_equal(luma(even)[:31, :17], luma(frame))
    assert np.array_equal(luma(even)[:31, 17], luma(frame)[:, 16])
    assert np.array_equal(luma(even)[31], luma(even)[30])
    assert pool.meter.total == 3


def test_another_layout_is_converted() -> None:
    source = picture(64, 48)
    y, u, v = (plane.array() for plane in source.planes)
    uv = np.stack([u, v], axis=2).reshape(24, 64)
    nv12 = source.retimed(planes=(Plane.of(y), Plane.of(uv)), layout=Layout.NV12)
    fitted = scaler().fit(nv12, 64, 48, Fraction(1))
    assert fitted.layout is Layout.I420
    for plane, wanted in zip(fitted.planes, source.planes, strict=True):
        assert np.array_equal(plane.array(), wanted.array())


@pytest.mark.parametrize(
    ("width", "height", "picture_at"),
    [(64, 96, (slice(0, 96), slice(48, 112))), (160, 40, (slice(28, 68), slice(0, 160)))],
)
def test_a_picture_of_another_shape_gets_bars_not_distortion(
    width: int, height: int, picture_at: tuple[slice, slice]
) -> None:
    white = picture(width, height)
    for plane in white.planes:
        np.asarray(plane)[:] = 235
    fitted = scaler().fit(white, 160, 96, Fraction(1))
    assert size(fitted) == (160, 96)
    inside = np.zeros((96, 160), bool)
    inside[picture_at] = True
    assert luma(fitted)[inside].min() > 230
    assert set(luma(fitted)[~inside]) == {16}


def test_pixels_that_are_not_square_are_fitted_by_what_is_seen() -> None:
    # 720x576 at 64:45 is shown as wide as 1024x576.
    frame = picture(720, 576).retimed(sar=Fraction(64, 45))
    fitted = scaler().fit(frame, 1024, 576, Fraction(1))
    assert (size(fitted), fitted.sar) == ((1024, 576), 1)
    assert luma(fitted)[:, :8].mean() > 40


def test_a_change_back_to_the_planned_size_costs_nothing() -> None:
    cascade = scaler()
    cascade.fit(picture(32, 32), 64, 48, Fraction(1))
    frame = picture(64, 48)
    assert cascade.fit(frame, 64, 48, Fraction(1)) is frame


@pytest.mark.parametrize("given", [(64, 48), (63, 47), (1, 1)])
@pytest.mark.parametrize("wanted", [(33, 21), (128, 96), (1, 2)])
def test_odd_sizes_are_stretched_too(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    pool = HarshPool()
    frame = picture(*given)
    out = pool.take(Layout.I420, *given)
    for target, value in zip(out.planes, (90, 100, 160), strict=True):
        np.asarray(target)[:] = value
    scaled = CascadeScaler("bicubic", pool, pool.meter).stretch(out.publish(frame), *wanted)
    assert (scaled.width, scaled.height) == wanted
    assert [plane.shape for plane in scaled.planes] == list(plane_shapes(Layout.I420, *wanted))
    for plane, value in zip(scaled.planes, (90, 100, 160), strict=True):
        assert (plane.array() == value).all()
