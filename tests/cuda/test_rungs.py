"""Pictures to all rungs, bit for bit as numpy scales them with the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.cuda.planes import KERNELS as PLANES
from streamgen.cuda.rungs import KERNELS as RUNGS
from streamgen.cuda.rungs import Scaling
from streamgen.cuda.taps import UNIT, Taps, taps
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.scaler import CascadeScaler, Size
from streamgen.testing import HarshPool, picture
from tests.cuda.bench import Bench, HostBench
from tests.cuda.pictures import Bytes, Placed, place, separated, source, target

LADDERS = [
    # The picture, its rungs: the picture's own size, and sizes that share no factor with it.
    ((320, 180), [(320, 180), (214, 120), (160, 90), (106, 60)]),
    ((854, 480), [(854, 480), (640, 360), (426, 240)]),
    ((320, 240), [(320, 240)]),
    ((320, 240), [(160, 240), (320, 120)]),
    ((131, 67), [(132, 68), (66, 34)]),
    ((1, 1), [(2, 2)]),
    ((640, 360), [(32, 18)]),
    ((64, 48), [(160, 120), (64, 48), (66, 50)]),
]


def weighted(plane: Bytes, across: Taps, down: Taps) -> Bytes:
    """What the kernels compute, written down as a sum."""

    def reads(filtered: Taps, source: int) -> NDArray[np.int64]:
        beyond = filtered.start[:, None] + np.arange(filtered.weights.shape[1])
        return np.clip(beyond, 0, source - 1)

    rows, columns = plane.shape
    centred = plane.astype(np.int64) - 128
    part = (centred[:, reads(across, columns)] * across.weights.astype(np.int64)).sum(axis=2)
    rested = down.weights.astype(np.int64)[:, :, None]
    total = (part[reads(down, rows)] * rested).sum(axis=1)
    return np.clip((total + 128 * UNIT**2 + UNIT**2 // 2) // UNIT**2, 0, 255).astype(np.uint8)


def expected(planes: Sequence[Bytes], size: Size, wanted: Size, interpolation: str) -> list[Bytes]:
    """y, u and v of a rung; an odd picture is one with its last pixels twice."""
    even = [side + side % 2 for side in size]
    made = []
    for plane, share in zip(planes, (1, 2, 2), strict=True):
        beyond = (even[1] // share - plane.shape[0], even[0] // share - plane.shape[1])
        plane = np.pad(plane, [(0, rest) for rest in beyond], mode="edge")
        if tuple(even) != wanted:
            across = taps(even[0] // share, wanted[0] // share, interpolation)
            down = taps(even[1] // share, wanted[1] // share, interpolation)
            plane = weighted(plane, across, down)
        made.append(plane)
    return made


def scaled(
    bench: Bench,
    frames: Sequence[Frame],
    sizes: Sequence[Size],
    layouts: Sequence[Layout],
    *,
    interpolation: str = "bicubic",
    spare: int = 0,
) -> list[list[Placed]]:
    """By rung and picture."""
    scaling = Scaling(frames[0].width, frames[0].height, sizes, interpolation)
    tables = bench.put(scaling.tables.view(np.uint8))
    made = [
        [target(bench, layout, *size, spare=spare) for _ in frames]
        for size, layout in zip(sizes, layouts, strict=True)
    ]
    bench.run(scaling.launch(frames, [[out for out, _ in rung] for rung in made], tables))
    return [[placed for _, placed in rung] for rung in made]


@pytest.mark.parametrize(("size", "sizes"), LADDERS)
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("spare", [0, 6, 128])
def test_every_rung_is_the_weighted_picture(
    bench: Bench, layout: Layout, size: Size, sizes: list[Size], spare: int
) -> None:
    frame, planes = source(bench, layout, *size, spare=spare, extra_rows=5 if spare else 0)
    layouts = [Layout.I420 if n % 2 else Layout.NV12 for n in range(len(sizes))]
    made = scaled(bench, [frame], sizes, layouts, spare=spare)
    for (placed,), wanted in zip(made, sizes, strict=True):
        parts = separated(placed.read())
        for got, plane in zip(parts, expected(planes, size, wanted, "bicubic"), strict=True):
            assert np.array_equal(got, plane)


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_other_filters_are_other_weights(bench: Bench, interpolation: str) -> None:
    frame, planes = source(bench, Layout.NV12, 320, 180)
    ((placed,),) = scaled(bench, [frame], [(142, 80)], [Layout.NV12], interpolation=interpolation)
    wanted = expected(planes, (320, 180), (142, 80), interpolation)
    for got, plane in zip(separated(placed.read()), wanted, strict=True):
        assert np.array_equal(got, plane)


def psnr(one: Bytes, other: Bytes) -> float:
    error = ((one.astype(float) - other) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_rungs_are_those_of_the_processor_s_scaler(bench: Bench, interpolation: str) -> None:
    """But for rounding: swscale's weights have 14 bits. A ladder of the processor is a cascade,
    each rung made from the next larger one; here all are made from the picture."""
    sizes = [(428, 240), (320, 180), (214, 120)]
    shown, pool = picture(640, 360), HarshPool()
    planes = [plane.array() for plane in shown.planes]
    placed = place(bench, plane_shapes(Layout.I420, 640, 360), "uint8", data=planes)
    frame = shown.retimed(planes=placed.planes)
    made = scaled(bench, [frame], sizes, [Layout.NV12] * 3, interpolation=interpolation)
    scaler = CascadeScaler(interpolation, pool, pool.meter)
    cascade = scaler.scale_all(shown, sizes)
    for (rung,), size, by_steps in zip(made, sizes, cascade, strict=True):
        at_once = scaler.scale(shown, *size)
        for got, one, other in zip(
            separated(rung.read()), at_once.planes, by_steps.planes, strict=True
        ):
            assert psnr(got, one.array()) >= 48
            assert psnr(got, other.array()) >= 38


def test_pictures_of_a_batch_do_not_mix(bench: Bench) -> None:
    sources = [source(bench, Layout.NV12, 130, 70, seed=n, spare=8 * n) for n in range(3)]
    sizes = [(130, 70), (64, 36)]
    made = scaled(bench, [frame for frame, _ in sources], sizes, [Layout.NV12] * 2)
    for rung, wanted in zip(made, sizes, strict=True):
        for placed, (_, planes) in zip(rung, sources, strict=True):
            parts = expected(planes, (130, 70), wanted, "bicubic")
            for got, plane in zip(separated(placed.read()), parts, strict=True):
                assert np.array_equal(got, plane)


def test_a_picture_cropped_from_a_padded_one_shows_nothing_of_the_pad(bench: Bench) -> None:
    shapes = plane_shapes(Layout.I420, 64, 48)
    random = np.random.default_rng(3)
    planes = [random.integers(0, 256, shape, np.uint8) for shape in shapes]
    placed = place(bench, shapes, "uint8", data=planes)
    shown = plane_shapes(Layout.I420, 61, 45)
    parts = tuple(p.crop(*s) for p, s in zip(placed.planes, shown, strict=True))
    frame = source(bench, Layout.I420, 61, 45)[0].retimed(planes=parts)
    made = scaled(bench, [frame], [(62, 46), (40, 30)], [Layout.NV12] * 2)
    pixels = [p[:rows, :columns] for p, (rows, columns) in zip(planes, shown, strict=True)]
    for (rung,), size in zip(made, [(62, 46), (40, 30)], strict=True):
        for got, plane in zip(
            separated(rung.read()), expected(pixels, (61, 45), size, "bicubic"), strict=True
        ):
            assert np.array_equal(got, plane)


def test_halves_are_rounded_to_even_between_0_and_255(bench: Bench) -> None:
    """All there are, but for those that are no numbers."""
    values = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)
    values = np.where(np.isnan(values), np.float16(7), values)
    planes = [values, values[:128, :128], values[128:, 128:]]
    placed = place(bench, plane_shapes(Layout.I420, 256, 256), "float16", data=planes)
    frame = source(bench, Layout.I420, 256, 256)[0].retimed(planes=placed.planes)
    ((rung,),) = scaled(bench, [frame], [(256, 256)], [Layout.NV12])
    for got, plane in zip(separated(rung.read()), planes, strict=True):
        assert np.array_equal(got, np.rint(np.clip(plane, 0, 255)))


def test_a_flat_picture_stays_flat_in_every_size(bench: Bench) -> None:
    for value in (0, 1, 127, 128, 254, 255):
        flat = [np.full(s, value, np.uint8) for s in plane_shapes(Layout.I420, 192, 108)]
        placed = place(bench, plane_shapes(Layout.I420, 192, 108), "uint8", data=flat)
        frame = source(bench, Layout.I420, 192, 108)[0].retimed(planes=placed.planes)
        made = scaled(bench, [frame], [(128, 72), (70, 40), (200, 110)], [Layout.NV12] * 3)
        assert {int(v) for (p,) in made for plane in p.read() for v in np.unique(plane)} == {value}


def test_what_cannot_be_one_launch_is_refused(host: HostBench) -> None:
    frame, _ = source(host, Layout.NV12, 64, 48)
    out, _ = target(host, Layout.NV12, 32, 24)
    with pytest.raises(ConfigError, match="sides of rungs are even"):
        Scaling(64, 48, [(33, 24)])
    with pytest.raises(ConfigError, match="1 to 8 rungs at a time, got 9"):
        Scaling(64, 48, [(32, 24)] * 9)
    with pytest.raises(ConfigError, match="too far apart"):
        Scaling(7680, 4320, [(64, 36)])
    with pytest.raises(ConfigError, match="made for 128x96"):
        Scaling(128, 96, [(32, 24)]).launch([frame], [[out]], 0)
    with pytest.raises(ConfigError, match=r"a rung of \(34, 24\)"):
        Scaling(64, 48, [(34, 24)]).launch([frame], [[out]], 0)


def test_every_kernel_that_may_be_named_is_there(host: HostBench) -> None:
    for name in (*PLANES, *RUNGS):
        assert host.job_size(name), name


def test_tables_of_a_whole_ladder_are_small() -> None:
    scaling = Scaling(3840, 2160, [(2560, 1440), (1920, 1080), (1280, 720), (854, 480), (426, 240)])
    assert scaling.tables.nbytes < 1_000_000


def test_u_and_v_of_two_pitches_are_refused(host: HostBench) -> None:
    frame, _ = source(host, Layout.I420, 64, 48)
    y, u, v = frame.planes
    odd = Plane(v.ptr, v.shape, v.pitch + 2, v.dtype, v.device, None)
    out, _ = target(host, Layout.NV12, 32, 24)
    with pytest.raises(ConfigError, match="u and v have one pitch"):
        Scaling(64, 48, [(32, 24)]).launch([frame.retimed(planes=(y, u, odd))], [[out]], 0)
