"""Start a small student from the channels of a larger one that its picture needs most.

What a channel says is its deviation over some crops times the weights that read it. The channels
that say least are left out, as are the residual pairs past `blocks`; training then mends the rest
in a third of the steps that it would take from nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from student import CENTER, UNIT, Student
from torch import Tensor, nn


def _loudest(value: Tensor, reader: nn.Conv2d, count: int) -> Tensor:
    """Which `count` channels of `value` say most to the convolution that reads them, in order."""
    says = value.std((0, 2, 3)) * reader.weight.square().sum((0, 2, 3)).sqrt()
    return says.argsort(descending=True)[:count].sort().values


def _put(to: nn.Conv2d, given: nn.Conv2d, rows: Tensor, columns: Tensor) -> None:
    to.weight.copy_(given.weight[rows][:, columns])
    assert to.bias is not None and given.bias is not None
    to.bias.copy_(given.bias[rows])


@torch.no_grad()
def narrowed(large: Student, narrow: int, wide: int, blocks: int, content: Tensor) -> Student:
    """A student of the smaller shape; `content` holds packed crops [N, 24, h, w]."""
    fine = F.relu(large.first((content - CENTER) / UNIT))
    coarse = F.relu(large.down(fine))
    for a, b in large.blocks:
        coarse = F.relu(coarse + b(F.relu(a(coarse))))
    joined = F.relu(fine + F.pixel_shuffle(large.up(coarse), 2))
    wides = _loudest(coarse, large.up, wide)
    narrows = _loudest(joined, large.last, narrow)
    spread = (4 * narrows[:, None] + torch.arange(4)).ravel()
    planes = torch.arange(24)
    small = Student(narrow, wide, blocks)
    _put(small.first, large.first, narrows, planes)
    _put(small.down, large.down, wides, narrows)
    _put(small.up, large.up, spread, wides)
    _put(small.last, large.last, planes, narrows)
    for new, old in zip(small.blocks, large.blocks, strict=False):
        for to, given in zip(new, old, strict=True):
            _put(to, given, wides, wides)
    return small
