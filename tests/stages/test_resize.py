"""`resize`: the picture in another size."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from streamgen.media.frame import Frame, Layout, plane_shapes
from streamgen.protocols import StageContext
from streamgen.stages.resize import Resize
from streamgen.testing import HarshPool, frame_of
from tests.stages.pictures import flat, noise, pitched, values


def resized(context: StageContext, frame: Frame, **params: Any) -> Frame:
    given = Resize.Params(**params)
    stage = Resize(given, context)
    result = stage.process({"picture": frame}, given)["picture"]
    assert isinstance(result, Frame)
    assert stage.output_size(frame.width, frame.height) == (result.width, result.height)
    return result


def ramp(width: int, height: int) -> Frame:
    """Darker on the left, lighter on the right."""
    planes = [
        np.tile(np.linspace(16, 235, columns), (rows, 1)).astype(np.uint8)
        for rows, columns in plane_shapes(Layout.I420, width, height)
    ]
    return frame_of(planes)


@pytest.mark.parametrize(
    ("given", "params", "size"),
    [
        ((1280, 720), {"height": 360}, (640, 360)),
        ((854, 480), {"width": 426}, (426, 240)),
        ((427, 241), {"height": 120}, (212, 120)),
        ((17, 31), {"width": 64, "height": 64}, (64, 64)),
        ((1, 1), {"height": 2}, (2, 2)),
    ],
)
def test_what_is_not_given_follows_the_shape(
    context: StageContext,
    pool: HarshPool,
    given: tuple[int, int],
    params: dict[str, int],
    size: tuple[int, int],
) -> None:
    frame = pitched(flat(*given, 90, 100, 160), pool)
    result = resized(context, frame, fit="stretch", **params)
    assert (result.width, result.height) == size
    for plane, wanted in zip(values(result), (90, 100, 160), strict=True):
        assert (plane == wanted).all(), "no byte from behind the rows"


def test_the_same_size_passes_as_it_is(context: StageContext) -> None:
    frame = noise(64, 48)
    assert resized(context, frame, height=48) is frame


def test_contain_shows_all_between_black_bars(context: StageContext) -> None:
    result = resized(context, ramp(128, 64), width=64, height=64)
    luma = values(result)[0]
    assert (luma[:16] == 16).all() and (luma[48:] == 16).all()
    assert luma[32, 0] < 30 and luma[32, -1] > 220


def test_cover_fills_and_cuts_off_what_stands_out(context: StageContext) -> None:
    luma = values(resized(context, ramp(128, 64), width=64, height=64, fit="cover"))[0]
    assert 65 < luma[32, 0] < 80 and 170 < luma[32, -1] < 186
    tall = values(resized(context, ramp(64, 128), width=64, height=64, fit="cover"))[0]
    assert np.abs(tall - values(ramp(64, 64))[0]).max() <= 1


def test_stretch_distorts(context: StageContext) -> None:
    luma = values(resized(context, ramp(128, 64), width=64, height=64, fit="stretch"))[0]
    assert luma[32, 0] < 20 and luma[32, -1] > 230


def test_wide_pixels_count_for_the_shape(context: StageContext) -> None:
    """A DV picture is 720x576 and shown as 16:9."""
    wide = replace(ramp(720, 576), sar=Fraction(64, 45))
    result = resized(context, wide, width=640, height=360)
    assert result.sar == 1
    assert values(result)[0][:, 0].max() < 30, "fills the 16:9 picture, no bars"
    assert resized(context, wide, height=288).sar == Fraction(64, 45)


def test_times_and_tags_stay(context: StageContext) -> None:
    frame = replace(noise(64, 48, pts=77), keyframe=True, epoch=3, rotation=90)
    result = resized(context, frame, height=24)
    assert (result.pts, result.keyframe, result.epoch, result.rotation) == (77, True, 3, 90)


@pytest.mark.parametrize("params", [{}, {"width": 63}, {"height": 0}, {"width": 20_000}])
def test_an_impossible_size_is_refused(params: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Resize.Params(**params)
