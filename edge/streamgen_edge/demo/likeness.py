"""Which of the published pictures a received one shows.

A clip has no barcode, and a server's output has times of its own: input times plus a constant that
nobody outside is told. So the constant is found by likeness: small greys of what came are compared
with those of the tape at every possible shift, over many pictures at once; a painted picture is
still most like the one that it was painted from. From then on times tell, to one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgen_edge.demo.tape import Tape, Thumb

SAMPLES = 60
DISTINCT = 0.01
"""A shift must be liked so much more than others that are not beside it."""
NEAR = 3
"""Shifts by so few pictures are beside each other."""


@dataclass(frozen=True, slots=True, eq=False)
class Came:
    """One received picture."""

    at_s: float
    """`time.monotonic`."""
    time_s: float
    """In the stream's output, counted from anywhere."""
    thumb: Thumb


def numbers(came: Sequence[Came], tape: Tape, sent_s: Sequence[float]) -> list[int] | None:
    """By received picture, the number of the published one; None where they are too much alike.

    `sent_s` are the times when each of them was sent; the tape was repeated.
    """
    if not came:
        return None
    steps = [round((one.time_s - came[0].time_s) * tape.rate) for one in came]
    shift = _shift(came, steps, tape)
    if shift is None:
        return None
    length = len(tape.thumbs)
    # Of all repetitions the last that was sent before it came.
    turns = [n for n in range(shift, len(sent_s), length) if sent_s[n] <= came[0].at_s]
    if not turns:
        return None
    return [turns[-1] + step for step in steps]


def _shift(came: Sequence[Came], steps: Sequence[int], tape: Tape) -> int | None:
    length = len(tape.thumbs)
    tapes = np.stack([one.ravel() for one in tape.thumbs])
    chosen = np.linspace(0, len(came) - 1, min(SAMPLES, len(came))).astype(int)
    likes = np.zeros(length)
    for at in chosen:
        alike = tapes @ came[at].thumb.ravel()  # by tape picture
        likes += np.roll(alike, -steps[at])
    likes /= len(chosen)
    best = int(np.argmax(likes))
    away = np.abs((np.arange(length) - best + length // 2) % length - length // 2)
    others = likes[away > NEAR]
    if others.size and likes[best] - float(others.max()) < DISTINCT:
        return None
    return best


def latencies_ms(
    came: Sequence[Came], shown: Sequence[int], sent_s: Sequence[float]
) -> list[float]:
    """By received picture, from its sending until it was there."""
    return [
        1000 * (one.at_s - sent_s[number])
        for one, number in zip(came, shown, strict=True)
        if number < len(sent_s)
    ]
