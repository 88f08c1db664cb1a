"""`crop`: a part of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import Frame, Layout, Plane
from streamgen.protocols import StageContext
from streamgen.stages.crop import Crop
from streamgen.testing import HarshPool
from tests.stages.pictures import noise, pitched


def cropped(context: StageContext, frame: Frame, **params: int) -> Frame:
    given = Crop.Params(**params)
    result = Crop(given, context).process({"picture": frame}, given)["picture"]
    assert isinstance(result, Frame)
    return result


@pytest.mark.parametrize(("width", "height"), [(32, 20), (31, 19), (1, 1)])
def test_a_part_is_a_view_on_the_same_memory(
    context: StageContext, pool: HarshPool, width: int, height: int
) -> None:
    frame = pitched(noise(90, 66), pool)
    taken = pool.taken
    result = cropped(context, frame, left=6, top=4, width=width, height=height)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    shapes = [(4, 6, height, width), (2, 3, *chroma), (2, 3, *chroma)]
    for (top, left, rows, columns), plane, got in zip(
        shapes, frame.planes, result.planes, strict=True
    ):
        wanted = plane.array()[top : top + rows, left : left + columns]
        np.testing.assert_array_equal(got.array(), wanted)
        assert got.owner is plane.owner
    assert (pool.taken, pool.meter.total) == (taken, 0)


def test_interleaved_colour_is_cut_between_its_pairs(context: StageContext) -> None:
    frame = noise(16, 8)
    y, u, v = (plane.array() for plane in frame.planes)
    uv = np.ascontiguousarray(np.stack([u, v], axis=2).reshape(4, 16))
    frame = replace(frame, layout=Layout.NV12, planes=(Plane.of(y), Plane.of(uv)))
    result = cropped(context, frame, left=4, top=2, width=6, height=4)
    np.testing.assert_array_equal(result.planes[1].array()[:, ::2], u[1:3, 2:5])


def test_what_is_not_said_goes_to_the_edge(context: StageContext) -> None:
    stage = Crop(Crop.Params(left=10, top=6), context)
    assert stage.output_size(65, 49) == (55, 43)


def test_a_part_outside_the_picture_is_refused(context: StageContext) -> None:
    stage = Crop(Crop.Params(left=32, width=64), context)
    with pytest.raises(ConfigError, match=r"64x48 at \(32, 0\), which does not fit into 64x48"):
        stage.output_size(64, 48)
    with pytest.raises(StageError, match="does not fit"):
        stage.process({"picture": noise(64, 48)}, Crop.Params(left=32, width=64))


def test_a_part_that_slides_out_stops_at_the_edge(context: StageContext) -> None:
    start = Crop.Params(width=32, height=32)
    frame = noise(64, 49)
    moved = Crop.Params(left=500, top=500, width=32, height=32)
    result = Crop(start, context).process({"picture": frame}, moved)["picture"]
    assert isinstance(result, Frame)
    np.testing.assert_array_equal(result.planes[0].array(), frame.planes[0].array()[16:48, 32:])


def test_a_corner_on_its_way_stands_on_even_places(context: StageContext) -> None:
    frame = noise(64, 48)
    between = Crop.Params.model_construct(left=13, top=7, width=32, height=32)
    stage = Crop(Crop.Params(width=32, height=32), context)
    result = stage.process({"picture": frame}, between)["picture"]
    assert isinstance(result, Frame)
    for plane, whole, at in zip(result.planes, frame.planes, (12, 6, 6), strict=True):
        rows = slice(at // 2, at // 2 + plane.shape[0])
        np.testing.assert_array_equal(plane.array(), whole.array()[rows, at : at + plane.shape[1]])


def test_an_odd_corner_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 2"):
        Crop.Params(left=1)
