from __future__ import annotations

import numpy as np
from streamgen_tint import Tint

from streamgen.testing import flat, moving, run_stage


def test_warmth_moves_the_chroma_and_leaves_the_luma() -> None:
    given = flat(64, 48, 100)
    [made] = run_stage(Tint, [given], {"warmth": 0.5})
    y, u, v = (plane.array() for plane in made["picture"].planes)
    assert (y[0, 0], u[0, 0], v[0, 0]) == (100, 108, 148)


def test_no_warmth_changes_nothing() -> None:
    for given, made in zip(moving(3), run_stage(Tint, moving(3), {"warmth": 0.0}), strict=True):
        for before, after in zip(given.planes, made["picture"].planes, strict=True):
            np.testing.assert_array_equal(before.array(), after.array())


def test_extremes_stay_in_range() -> None:
    [made] = run_stage(Tint, [flat(64, 48, 255)], {"warmth": 1.0})
    assert made["picture"].planes[2].array().max() == 168
