"""`skip_similar`: the last picture again while hardly anything changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamgen.media.frame import Frame
from streamgen.protocols import StageContext
from streamgen.stages.similar import SkipSimilar
from streamgen.testing import HarshPool
from tests.stages.pictures import flat, noise, pitched, same


def let_through(stage: SkipSimilar, frames: list[Frame], **params: Any) -> list[Frame]:
    given = SkipSimilar.Params(**params)
    found = []
    for frame in frames:
        result = stage.process({"picture": frame}, given)["picture"]
        assert isinstance(result, Frame)
        found.append(result)
    return found


def passed(context: StageContext, frames: list[Frame], **params: Any) -> list[Frame]:
    return let_through(SkipSimilar(SkipSimilar.Params(**params), context), frames, **params)


def still(number: int, pool: HarshPool) -> list[Frame]:
    """The same scene with a little noise, in pitched memory."""
    random = np.random.default_rng(5)
    base, frames = noise(64, 48), []
    for pts in range(number):
        frame = pitched(base.retimed(pts=pts), pool)
        luma = np.asarray(frame.planes[0])
        luma[:] = np.clip(luma + random.integers(-1, 2, luma.shape), 0, 255)
        frames.append(frame)
    return frames


def test_a_still_scene_gives_the_very_same_pixels_again(
    context: StageContext, pool: HarshPool
) -> None:
    counted: list[tuple[str, str]] = []
    context = replace(context, count=lambda name, reason: counted.append((name, reason)))
    frames = still(5, pool)
    result = passed(context, frames)
    assert all(frame.planes is frames[0].planes for frame in result)
    assert [frame.pts for frame in result] == [0, 1, 2, 3, 4]
    assert counted == [("reused", "skip_similar")] * 4


def test_a_change_is_let_through(context: StageContext) -> None:
    a, b = noise(64, 48, 1), noise(64, 48, 2, pts=1)
    assert passed(context, [a, b]) == [a, b]


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_change_in_one_place_is_enough(context: StageContext, plane: int) -> None:
    a = flat(640, 360, 90)
    b = flat(640, 360, 90, pts=1)
    size = 16 if plane == 0 else 8
    b.planes[plane].array()[100 : 100 + size, 100 : 100 + size] += 40
    assert passed(context, [a, b])[1] is b


def test_slow_changes_add_up(context: StageContext) -> None:
    frames = [flat(64, 48, 90 + pts, pts=pts) for pts in range(9)]
    new = [a is b for a, b in zip(passed(context, frames), frames, strict=True)]
    assert new == [True, False, False, False, True, False, False, False, True]


def test_a_picture_stays_no_longer_than_allowed(context: StageContext, pool: HarshPool) -> None:
    frames = still(11, pool)
    new = [a is b for a, b in zip(passed(context, frames, max_reuse="200ms"), frames, strict=True)]
    assert [pts for pts, one in enumerate(new) if one] == [0, 5, 10]


def test_a_reset_or_another_kind_of_picture_begins_anew(
    context: StageContext, pool: HarshPool
) -> None:
    stage = SkipSimilar(SkipSimilar.Params(), context)
    a, b, c = still(3, pool)
    other = flat(32, 24, 90, pts=4)
    let_through(stage, [a])
    stage.reset()
    assert let_through(stage, [b])[0] is b
    later = replace(c, epoch=1)
    assert let_through(stage, [later])[0] is later
    assert let_through(stage, [other])[0] is other


def test_every_tag_but_the_pixels_is_that_of_the_new_picture(
    context: StageContext, pool: HarshPool
) -> None:
    a, b = still(2, pool)
    result = passed(context, [a, replace(b, keyframe=True, received_ns=77)])[1]
    assert (result.keyframe, result.received_ns) == (True, 77)
    assert same(result, a)
