"""Which published picture a received one shows is found by likeness, or not claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamgen_edge.demo.likeness import Came, latencies_ms, numbers
from streamgen_edge.demo.tape import THUMB, Tape, Thumb

RATE = 25
LATE_S = 0.3


def unit(values: Thumb) -> Thumb:
    values = values - values.mean()
    return np.asarray(values / np.linalg.norm(values), np.float32)


def moving(number: int) -> Thumb:
    """A shape that moves over a still ground."""
    random = np.random.default_rng(3)
    ground = random.normal(0, 1, THUMB[::-1])
    ground[4:9, number % THUMB[0]] += 3
    ground[number % THUMB[1], 8:12] -= 3
    return np.asarray(ground, np.float32)


def tape(length: int, picture: Thumb | None = None) -> Tape:
    thumbs = [unit(moving(n) if picture is None else picture) for n in range(length)]
    return Tape(Path("tape.mp4"), 320, 180, RATE, thumbs, False)


def received(first: int, count: int, length: int, *, every: int = 1) -> list[Came]:
    """Pictures from `first` on, painted, with times from anywhere."""
    random = np.random.default_rng(5)
    out = []
    for number in range(first, first + count * every, every):
        painted = np.tanh(moving(number % length)) + random.normal(0, 0.4, THUMB[::-1])
        at_s = 100 + number / RATE + LATE_S
        out.append(Came(at_s, 7777.123 + number / RATE, unit(painted.astype(np.float32))))
    return out


def test_painted_pictures_of_a_repeated_tape_are_told_from_each_other() -> None:
    one = tape(50)
    sent_s = [100 + n / RATE for n in range(300)]
    came = received(171, 60, 50, every=2)
    shown = numbers(came, one, sent_s)
    assert shown is not None
    assert shown[:3] == [171, 173, 175]
    found = latencies_ms(came, shown, sent_s)
    assert found and all(abs(ms - 1000 * LATE_S) < 1 for ms in found)


def test_pictures_that_are_all_alike_are_not_told_apart() -> None:
    still = tape(50, moving(1))
    sent_s = [100 + n / RATE for n in range(300)]
    assert numbers(received(60, 40, 50), still, sent_s) is None


def test_nothing_received_is_nothing_known() -> None:
    assert numbers([], tape(50), [100.0]) is None
