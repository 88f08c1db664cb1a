"""Where each block was in the picture before."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.stages.grey import GreyScaler, difference
from streamgen.stages.vectors import BLOCK, REDUCED, Estimator, Field
from tests.stages.pictures import scene


def estimated(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Field:
    scaler = GreyScaler()
    shape = [-(-size // REDUCED) for size in now.shape]
    small = [scaler.mean(grey, *shape) for grey in (before, now)]
    return Estimator(scaler).field(*small, *now.shape)


@pytest.mark.parametrize("shift", [(0, 3), (-7, 5), (12, -20), (2, -1), (24, 24)])
def test_a_shift_of_the_whole_picture_is_found(shift: tuple[int, int]) -> None:
    down, right = shift
    wide = scene(320, 448)
    before, now = wide[32:288, 32:416], wide[32 + down : 288 + down, 32 + right : 416 + right]
    field = estimated(before, now)
    inner = (slice(1, -1), slice(1, -1))
    far = np.maximum(np.abs(field.down - down), np.abs(field.right - right))[inner]
    assert np.median(far) <= 1
    moved = field.moved(before, np.empty_like(before))
    inside = (slice(BLOCK, -BLOCK), slice(BLOCK, -BLOCK))
    left = difference(moved, now)[inside].mean()
    assert left < 0.4 * difference(before, now)[inside].mean()


def test_a_picture_at_rest_is_given_back_itself() -> None:
    before = scene(96, 128)
    noisy = before + np.random.default_rng(1).integers(0, 3, before.shape, np.uint8)
    field = estimated(before, noisy)
    assert field.still
    assert field.moved(before, np.empty_like(before)) is before


@pytest.mark.parametrize("shape", [(1, 1), (31, 17), (33, 65), (70, 100)])
@pytest.mark.parametrize("scale", [1, 2])
def test_every_size_is_moved_whole(shape: tuple[int, int], scale: int) -> None:
    """Shifts that lead out stop at the edge; every pixel is written."""
    blocks = [-(-size // BLOCK) for size in shape]
    plane = np.full([-(-size // scale) for size in shape], 77, np.uint8)
    for down, right in ((-40, 9), (40, 40), (0, -3)):
        field = Field(np.full(blocks, down), np.full(blocks, right))
        assert (field.moved(plane, np.zeros_like(plane), scale) == 77).all()


def test_each_block_comes_from_its_own_place() -> None:
    plane = np.arange(96 * 128, dtype=np.int64).reshape(96, 128).astype(np.uint8)
    down, right = np.zeros((3, 4), np.int64), np.zeros((3, 4), np.int64)
    down[1, 2], right[1, 2] = -5, 7
    out = Field(down, right).moved(plane, np.empty_like(plane))
    wanted = plane.copy()
    wanted[32:64, 64:96] = plane[27:59, 71:103]
    np.testing.assert_array_equal(out, wanted)


def test_no_estimate_leads_out_of_the_picture() -> None:
    random = np.random.default_rng(2)
    before, now = (random.integers(0, 256, (70, 101), np.uint8) for _ in range(2))
    field = estimated(before, now)
    tops, lefts = np.arange(3)[:, None] * BLOCK, np.arange(4)[None, :] * BLOCK
    assert (tops + field.down >= 0).all() and (lefts + field.right >= 0).all()
    assert (np.minimum(tops + BLOCK, 70) + field.down <= 70).all()
    assert (np.minimum(lefts + BLOCK, 101) + field.right <= 101).all()
