"""Single planes: smaller, larger, grown and smoothed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.stages.grey import GreyScaler, difference, grown, smoothed


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 20), columns=st.integers(1, 20), reach=st.integers(0, 9))
def test_a_plane_grows_by_the_highest_value_in_reach(rows: int, columns: int, reach: int) -> None:
    plane = np.random.default_rng(rows * columns).integers(0, 256, (rows, columns), np.uint8)
    wide = np.pad(plane, reach)
    wanted = [
        [wide[y : y + 2 * reach + 1, x : x + 2 * reach + 1].max() for x in range(columns)]
        for y in range(rows)
    ]
    assert grown(plane, reach).tolist() == np.array(wanted).tolist()


def test_the_mean_of_three_by_three_keeps_flat_planes() -> None:
    spot = np.zeros((5, 5), np.uint8)
    spot[2, 2] = 90
    assert smoothed(spot)[1:4, 1:4].tolist() == [[10] * 3] * 3
    assert (smoothed(np.full((1, 1), 255, np.uint8)) == 255).all()


def test_a_difference_has_no_sign() -> None:
    a, b = np.array([[0, 255, 7]], np.uint8), np.array([[255, 0, 7]], np.uint8)
    assert difference(a, b).tolist() == [[255, 255, 0]]


def test_the_mean_reads_nothing_behind_the_rows() -> None:
    wide = np.full((48, 81 + 40), 255, np.uint8)
    wide[:, :81] = 60
    scaler = GreyScaler()
    for shape in ((12, 21), (1, 1), (48, 81), (96, 200)):
        assert np.abs(scaler.mean(wide[:, :81], *shape).astype(int) - 60).max() <= 1
        assert (scaler.smooth(wide[:, :81], *shape) == 60).all()
