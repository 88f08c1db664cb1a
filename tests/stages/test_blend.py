"""`blend`: two pictures in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from streamgen.errors import StageError
from streamgen.media.frame import Color, Frame, Layout, Matrix, Plane
from streamgen.protocols import StageContext
from streamgen.stages.blend import Blend
from streamgen.testing import HarshPool, LateFence
from tests.stages.pictures import SIZES, flat, noise, pitched, same, values


def blended(context: StageContext, a: Frame, b: Frame, amount: float) -> Frame:
    params = Blend.Params(amount=amount)
    stage = Blend(params, context)
    result = stage.process({"picture": a, "other": b}, params)["picture"]
    assert isinstance(result, Frame)
    return result


@pytest.mark.parametrize("size", SIZES)
def test_two_pictures_mix_pixel_by_pixel(
    context: StageContext, pool: HarshPool, size: tuple[int, int]
) -> None:
    a, b = pitched(noise(*size, 1), pool), pitched(noise(*size, 2), pool)
    result = blended(context, a, b, 0.25)
    for first, second, got in zip(values(a), values(b), values(result), strict=True):
        assert np.abs(got - (0.75 * first + 0.25 * second)).max() <= 0.5
    assert (result.width, result.height, result.pts) == (*size, a.pts)
    assert not any(pool.spoiled(frame) for frame in (a, b, result))


def test_at_both_ends_the_frame_itself_is_given(context: StageContext, pool: HarshPool) -> None:
    a, b = noise(64, 48, 1), noise(64, 48, 2)
    assert blended(context, a, b, 0.0) is a
    assert blended(context, a, b, 1.0) is b
    assert pool.taken == 0


def test_an_older_picture_takes_the_times_of_the_main_one(context: StageContext) -> None:
    a, b = noise(64, 48, 1, pts=9), noise(64, 48, 2, pts=7)
    result = blended(context, replace(a, epoch=2), b, 1.0)
    assert (result.pts, result.epoch) == (9, 2)
    assert result.planes is b.planes


@pytest.mark.parametrize("size", [(32, 24), (129, 95), (1, 1)])
def test_another_size_is_scaled_once(
    context: StageContext, pool: HarshPool, size: tuple[int, int]
) -> None:
    params = Blend.Params(amount=0.5)
    stage = Blend(params, context)
    a, b = flat(65, 49, 100), flat(*size, 200, 60, 30)
    for _ in range(2):
        result = stage.process({"picture": a, "other": b}, params)["picture"]
        assert isinstance(result, Frame)
        assert [int(plane.mean()) for plane in values(result)] == [150, 94, 79]
    assert pool.meter.total <= 3, "the same planes are not scaled again"


def test_without_the_other_picture_the_first_passes(context: StageContext) -> None:
    stage, a = Blend(Blend.Params(), context), noise(64, 48)
    assert stage.process({"picture": a}, Blend.Params())["picture"] is a


def test_pictures_in_different_colour_are_refused_for_that_frame(context: StageContext) -> None:
    b = replace(noise(64, 48), color=Color(matrix=Matrix.BT601))
    with pytest.raises(StageError, match=r"differ in colour: bt709 tv and bt601 tv"):
        blended(context, noise(64, 48), b, 0.5)


def test_semi_planar_pictures_are_taken_apart(context: StageContext, pool: HarshPool) -> None:
    plain = noise(64, 48)
    y, u, v = (plane.array() for plane in plain.planes)
    uv = np.ascontiguousarray(np.stack([u, v], axis=2).reshape(24, 64))
    other = replace(plain, layout=Layout.NV12, planes=(Plane.of(y), Plane.of(uv)))
    assert same(blended(context, plain, other, 0.5), plain)
    assert pool.meter.planes == {"nv12": 3}


def test_a_picture_that_is_not_there_yet_is_waited_for(context: StageContext) -> None:
    fence = LateFence(0.02)
    late = noise(64, 48).retimed(ready=fence)
    blended(context, late, noise(64, 48, 2), 0.5)
    assert fence.done()


def test_results_go_back_to_the_pool(context: StageContext, pool: HarshPool) -> None:
    result = blended(context, noise(64, 48, 1), noise(64, 48, 2), 0.5)
    assert pool.out == 1
    del result
    assert pool.out == 0


def test_an_amount_is_0_to_1() -> None:
    for amount in (-0.1, 1.1):
        with pytest.raises(ValidationError):
            Blend.Params(amount=amount)
