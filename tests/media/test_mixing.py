"""Weighted sums of planes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.media.mixing import Mixer, weights


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 40),
    weight=st.integers(0, 256),
    seed=st.integers(0, 99),
)
def test_a_mix_is_the_exact_sum_rounded(rows: int, columns: int, weight: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = (random.integers(0, 256, (rows, columns), np.uint8) for _ in range(2))
    exact = (a.astype(int) * (256 - weight) + b.astype(int) * weight) / 256
    each = np.full((rows, columns), weight, np.uint16)
    for given_weight in (weight, each):
        wide = np.full((rows, columns + 3), 7, np.uint8)
        Mixer().mix(a, b, given_weight, wide[:, :columns])
        assert np.abs(wide[:, :columns] - exact).max() <= 0.5
        assert (wide[:, columns:] == 7).all(), "nothing beside the rows is written"


def test_both_ends_of_a_mask_are_exact() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, -1)
    found = weights(every)
    assert (found[0, 0], found[0, 255]) == (0, 256)
    assert (np.diff(found.astype(int)) >= 1).all()
