"""Waits between tries."""

from __future__ import annotations

import random

import pytest

from streamgen_edge.push.retry import REFUSED_S, SPREAD, Retry


@pytest.mark.parametrize("seed", range(5))
def test_a_target_that_was_lost_is_asked_again_soon_however_long_it_is_away(seed: int) -> None:
    retry = Retry(random.Random(seed))
    waits = [retry.wait_s(0.01, refused=False) for _ in range(60)]
    assert waits[0] < 0.3
    assert max(waits) <= 1.25  # with a second for the key frame: in 3 s
    assert len({round(wait, 6) for wait in waits[3:]}) > 50  # not all at once


def test_one_that_says_no_is_asked_ever_more_seldom() -> None:
    retry = Retry(random.Random(1))
    waits = [retry.wait_s(0.01, refused=True) for _ in range(8)]
    for wait, meant in zip(waits, [*REFUSED_S, REFUSED_S[-1], REFUSED_S[-1]], strict=True):
        assert meant * (1 - SPREAD) <= wait <= meant * (1 + SPREAD)


def test_a_connection_that_lasted_begins_anew() -> None:
    retry = Retry(random.Random(1))
    for _ in range(8):
        retry.wait_s(0.01, refused=True)
    assert retry.wait_s(60, refused=True) < 1.5
    assert retry.wait_s(0.01, refused=False) < 0.3
