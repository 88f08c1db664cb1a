"""`motion`: a mask of where the picture moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Sheet
from streamgen.protocols import StageContext
from streamgen.stages.motion import Motion
from streamgen.testing import HarshPool
from tests.stages.pictures import flat, pitched


def with_square(x: int, y: int, pts: int, size: tuple[int, int] = (160, 96)) -> Frame:
    """A light square of 16 pixels on grey."""
    frame = flat(*size, 90, pts=pts)
    frame.planes[0].array()[y : y + 16, x : x + 16] = 200
    return frame


def masks(stage: Motion, frames: list[Frame], **params: Any) -> list[NDArray[np.uint8]]:
    given = Motion.Params(**params)
    found = []
    for frame in frames:
        sheet = stage.process({"picture": frame}, given)["mask"]
        assert isinstance(sheet, Sheet)
        assert (sheet.kind, sheet.pts) == ("mask", frame.pts)
        found.append(sheet.data)
    return found


def seen(context: StageContext, frames: list[Frame], **params: Any) -> list[NDArray[np.uint8]]:
    return masks(Motion(Motion.Params(**params), context), frames, **params)


def test_what_moves_is_in_the_mask_and_the_rest_is_not(context: StageContext) -> None:
    first, second = seen(context, [with_square(16, 16, 0), with_square(32, 16, 1)], grow=8)
    assert not first.any(), "before the first picture nothing is known"
    assert second.shape == (24, 40)
    assert (second[4:8, 4:12] == 255).all(), "where it was and where it is"
    assert not second[:, 20:].any() and not second[16:].any()


def test_noise_is_no_motion(context: StageContext) -> None:
    random = np.random.default_rng(4)
    frames = [flat(160, 96, 90, pts=pts) for pts in range(5)]
    for frame in frames:
        luma = frame.planes[0].array()
        luma[:] = np.clip(luma + random.normal(0, 5, luma.shape), 0, 255)
    assert not any(mask.any() for mask in seen(context, frames))


def test_what_came_to_rest_is_held_for_a_time(context: StageContext) -> None:
    """25 pictures a second: 200 ms are five."""
    frames = [with_square(16, 16, 0), *(with_square(48, 16, pts) for pts in range(1, 9))]
    held = [bool(mask.any()) for mask in seen(context, frames, hold="200ms")]
    assert held == [False, True, True, True, True, True, False, False, False]


def test_growing_reaches_as_far_as_asked(context: StageContext) -> None:
    frames = [flat(160, 96, 90), with_square(64, 32, 1)]
    small, large = (seen(context, frames, grow=grow)[1] for grow in (0, 32))
    columns = [np.flatnonzero(mask.any(axis=0)) for mask in (small, large)]
    assert [int(found[0]) for found in columns] == [15, 7], "a pixel of the mask is four"


def test_a_reset_forgets_the_picture_before(context: StageContext) -> None:
    stage = Motion(Motion.Params(), context)
    masks(stage, [with_square(16, 16, 0)])
    stage.reset()
    assert not masks(stage, [with_square(48, 16, 1)])[0].any()


@pytest.mark.parametrize("size", [(17, 31), (1, 1), (427, 241)])
def test_every_size_has_its_mask(
    context: StageContext, pool: HarshPool, size: tuple[int, int]
) -> None:
    frames = [pitched(flat(*size, y, pts=pts), pool) for pts, y in enumerate((60, 60, 200))]
    stage = Motion(Motion.Params(), context)
    found = masks(stage, [*frames, flat(64, 48, 10, pts=3)])
    assert found[2].shape == (-(-size[1] // 4), -(-size[0] // 4))
    assert not found[1].any(), "no byte from behind the rows"
    assert (found[2] == 255).all()
    assert found[3].shape == (12, 16), "another size begins anew"
