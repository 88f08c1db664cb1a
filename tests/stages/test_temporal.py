"""`temporal`: calms flicker, following what moves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.media.frame import Frame
from streamgen.protocols import StageContext
from streamgen.stages.temporal import FLICKER, Temporal, draw
from streamgen.testing import HarshPool, frame_of
from tests.stages.pictures import flat, noise, pitched, scene, values


def calmed(
    context: StageContext, frames: list[Frame], guides: list[Frame] | None = None, **params: Any
) -> list[Frame]:
    given = Temporal.Params(**params)
    stage = Temporal(given, context)
    found = []
    for number, frame in enumerate(frames):
        inputs = {"picture": frame} | ({"guide": guides[number]} if guides else {})
        result = stage.process(inputs, given)["picture"]
        assert isinstance(result, Frame)
        assert result.pts == frame.pts
        found.append(result)
    return found


def painted(luma: NDArray[np.uint8], seed: int, pts: int) -> Frame:
    """The scene with brush strokes that flicker by a few code values."""
    random = np.random.default_rng(seed)
    flicker = random.normal(0, 6, luma.shape)
    chroma = np.full([-(-size // 2) for size in luma.shape], 128, np.uint8)
    return frame_of([np.clip(luma + flicker, 0, 255).astype(np.uint8), chroma, chroma], pts=pts)


def clean(luma: NDArray[np.uint8], pts: int) -> Frame:
    chroma = np.full([-(-size // 2) for size in luma.shape], 128, np.uint8)
    return frame_of([np.ascontiguousarray(luma), chroma, chroma], pts=pts)


def flicker_of(frames: list[Frame], shift: int = 0) -> float:
    """Root mean square change from picture to picture once the shift is taken out."""
    lumas = [values(frame)[0][40:-40, 40:-40] for frame in frames]
    pairs = pairwise(lumas[4:])
    changes = [a[:, shift:] - b[:, : b.shape[1] - shift] for a, b in pairs]
    return float(np.sqrt(np.mean([np.square(change).mean() for change in changes])))


def test_a_still_scene_flickers_less_than_half(context: StageContext) -> None:
    luma = scene(160, 224)
    frames = [painted(luma, seed, seed) for seed in range(12)]
    guides = [clean(luma, pts) for pts in range(12)]
    result = calmed(context, frames, guides, strength=0.8)
    assert flicker_of(result) < 0.5 * flicker_of(frames)


def test_what_moves_is_calmed_along_its_way(context: StageContext) -> None:
    wide = scene(160, 300)
    views = [wide[:, 4 * step : 4 * step + 224] for step in range(12)]
    frames = [painted(view, seed, seed) for seed, view in enumerate(views)]
    guides = [clean(view, pts) for pts, view in enumerate(views)]
    result = calmed(context, frames, guides, strength=0.8)
    assert flicker_of(result, shift=4) < 0.8 * flicker_of(frames, shift=4)
    gap = values(result[-1])[0] - values(guides[-1])[0]
    assert np.abs(gap).mean() <= np.abs(values(frames[-1])[0] - values(guides[-1])[0]).mean() + 1


def test_what_went_away_leaves_no_ghost(context: StageContext) -> None:
    frames = [flat(160, 96, 90, pts=pts) for pts in range(8)]
    for frame in frames[:4]:
        frame.planes[0].array()[32:64, 48:96] = 200
        frame.planes[1].array()[16:32, 24:48] = 60
    result = calmed(context, frames, strength=1.0)
    for got, wanted in zip(values(result[4]), values(frames[4]), strict=True):
        assert np.abs(got - wanted).max() <= 2


def test_a_painting_that_changes_over_a_guide_at_rest_is_followed(context: StageContext) -> None:
    """Another style fades in while the camera stands still."""
    guides = [flat(160, 96, 90, pts=pts) for pts in range(40)]
    frames = [flat(160, 96, 60 if pts < 20 else 200, pts=pts) for pts in range(40)]
    result = calmed(context, frames, guides, strength=1.0)
    assert np.abs(values(result[20])[0] - 200).max() <= 1


def test_a_picture_at_rest_is_reached_exactly() -> None:
    now, picture = np.full((300, 8), 100, np.uint8), np.full((300, 8), 100 + FLICKER, np.uint8)
    weight = np.full((300, 8), 120, np.uint8)
    for _ in range(60):
        draw(now, picture, weight, picture)
    assert (picture == 100).all()


def test_drawing_is_the_same_up_and_down() -> None:
    gaps = np.arange(-100, 101)
    now = np.full((1, gaps.size), 120, np.uint8)
    before = (120 + gaps).astype(np.uint8)[None]
    out = np.empty_like(now)
    draw(now, before, np.full_like(now, 64), out)
    steps = out[0].astype(int) - 120
    assert (steps == -steps[::-1]).all()
    near = np.abs(gaps) <= FLICKER
    assert np.abs(steps[near] - gaps[near] / 2).max() <= 0.5
    assert (steps[np.abs(gaps) >= 2 * FLICKER] == 0).all()


def test_without_strength_the_input_itself_is_given(context: StageContext, pool: HarshPool) -> None:
    frames = [noise(64, 48, seed, pts=seed) for seed in range(3)]
    assert calmed(context, frames, strength=0.0) == frames
    assert pool.taken == 0


def test_the_first_picture_after_a_reset_passes(context: StageContext) -> None:
    params = Temporal.Params()
    stage = Temporal(params, context)
    for pts in range(2):
        stage.process({"picture": flat(64, 48, 90, pts=pts)}, params)
    stage.reset()
    frame = flat(64, 48, 95, pts=2)
    assert stage.process({"picture": frame}, params)["picture"] is frame


@pytest.mark.parametrize("size", [(17, 31), (1, 1), (90, 66), (131, 97)])
def test_every_size_works_in_bad_memory(
    context: StageContext, pool: HarshPool, size: tuple[int, int]
) -> None:
    frames = [pitched(flat(*size, 90 + 4 * (pts % 2), pts=pts), pool) for pts in range(6)]
    guides = [flat(*(-(-n // 2) for n in size), 50, pts=pts) for pts in range(6)]
    result = calmed(context, frames, guides, strength=1.0)
    for frame in result:
        luma = values(frame)[0]
        assert luma.min() >= 90 and luma.max() <= 94
    assert not any(pool.spoiled(frame) for frame in (*frames, *result))
    last = [values(frame)[0].mean() for frame in result[-2:]]
    assert abs(last[0] - last[1]) < 4, "calmer than the input"


def test_memory_goes_back_to_the_pool(context: StageContext, pool: HarshPool) -> None:
    params = Temporal.Params()
    stage = Temporal(params, context)
    for pts in range(6):
        stage.process({"picture": flat(64, 48, 90 + pts, pts=pts)}, params)
    assert pool.out <= 1, "only the last result is kept"
    stage.close()
    assert pool.out == 0
