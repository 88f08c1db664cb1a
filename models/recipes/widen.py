"""Start a large student as an exact copy of a small one, so that training only adds to it.

The small network's channels come first; new channels read everything, but nothing of the old ones
reads them yet, and a new residual pair adds zero. The picture is the same until the first step.
"""

from __future__ import annotations

import torch
from student import Student
from torch import Tensor


def _place(large: Tensor, small: Tensor, zero_new_inputs: bool = True) -> None:
    """Put `small` in the first rows (and columns) of `large`; its rows ignore new columns."""
    rows = len(small)
    if large.ndim == 4:
        columns = small.shape[1]
        if zero_new_inputs:
            large[:rows, columns:] = 0
        large[:rows, :columns] = small
    else:
        large[:rows] = small


@torch.no_grad()
def widened(small: Student, narrow: int, wide: int, blocks: int) -> Student:
    """A student of the larger shape that paints exactly what `small` paints."""
    large = Student(narrow, wide, blocks)
    for name in ("first", "down", "up", "last"):
        for kind in ("weight", "bias"):
            _place(getattr(getattr(large, name), kind), getattr(getattr(small, name), kind))
    # `up` holds four rows for each fine channel; the rows of new channels start small.
    large.up.weight[len(small.up.weight) :] *= 0.3
    for number, (a, b) in enumerate(large.blocks):
        if number < len(small.blocks):
            for new, old in zip((a, b), small.blocks[number], strict=True):
                _place(new.weight, old.weight)
                _place(new.bias, old.bias)
        else:
            b.weight.zero_()
            b.bias.zero_()
    return large
