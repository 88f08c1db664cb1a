"""Weights of pixels: they add up, and their sums fit the numbers of the kernels."""

from __future__ import annotations

import numpy as np
import pytest

from streamgen.cuda.taps import FILTERS, UNIT, taps
from streamgen.errors import ConfigError
from streamgen.media.scaler import INTERPOLATIONS

SIDES = [1, 2, 3, 17, 64, 90, 120, 213, 240, 480, 540]


def test_filters_have_the_names_of_the_processor_s() -> None:
    assert set(FILTERS) == set(INTERPOLATIONS)
    with pytest.raises(ConfigError, match="unknown filter 'nearest'"):
        taps(64, 48, "nearest")


@pytest.mark.parametrize("interpolation", sorted(FILTERS))
@pytest.mark.parametrize("source", SIDES)
def test_weights_of_a_pixel_add_up(source: int, interpolation: str) -> None:
    for target in SIDES:
        made = taps(source, target, interpolation)
        assert (made.weights.sum(axis=1, dtype=np.int64) == UNIT).all(), target
        assert (made.start % 4 == 0).all() and (np.diff(made.start) >= 0).all()


@pytest.mark.parametrize("interpolation", sorted(FILTERS))
def test_sums_fit_the_numbers_of_the_kernels(interpolation: str) -> None:
    for source in SIDES:
        for target in SIDES:
            largest = int(
                np.abs(taps(source, target, interpolation).weights.astype(int)).sum(1).max()
            )
            assert 128 * largest < 2**15
            assert 128 * largest**2 + 128 * UNIT**2 < 2**31


def test_the_same_size_is_the_same_picture() -> None:
    for interpolation in FILTERS:
        made = taps(48, 48, interpolation)
        at = np.arange(48) - made.start
        assert (made.weights[np.arange(48), at] == UNIT).all()
        assert np.count_nonzero(made.weights) == 48
