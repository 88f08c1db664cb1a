"""Defragmentation: which streams would have to move so that a node becomes empty, or that a stream
that waits gets in. Few moves or none; the scheduler has booked what is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamgen.control.placement.bins import Bins, Vector, vector
from streamgen.control.placement.resources import Cut
from streamgen.control.placement.scheduler import Force, Placed, Scheduler, Work

CANDIDATES = 4
"""Nodes that are tried each time."""
SLACK = 0.15
"""Share of what the nodes in use have that must be free of every dimension afterwards: a node that
is emptied when there is hardly room would be filled again at once."""

Movable = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Clearing:
    """Streams that leave one node."""

    node: str
    moves: tuple[tuple[Work, Placed], ...]


def free_a_node(scheduler: Scheduler, most: int, movable: Movable) -> Clearing | None:
    """Empty the node with the least on it into others that are in use. None: that cannot be done
    with `most` moves of what is `movable`, or is not worth it."""
    bins = scheduler.bins
    load = bins.load()
    share = (load / np.maximum(bins.limit, 1)).max(axis=0)
    share[~bins.opened | (bins.items == 0) | (bins.items > most)] = np.inf
    for slot in np.argsort(share, kind="stable")[:CANDIDATES]:
        if not np.isfinite(share[slot]) or not _loose(bins, int(slot)):
            return None
        name = str(bins.names[slot])
        works = scheduler.there(name)
        if all(movable(work.name) for work in works):
            moves = _moved(scheduler, works, idle=False)
            if moves is not None:
                return Clearing(name, moves)
    return None


def let_in(scheduler: Scheduler, work: Work, most: int, movable: Movable) -> Clearing | None:
    """Room for this work on a node where little is missing. None: not with `most` moves."""
    bins = scheduler.bins
    need = _need(work)
    missing = (np.maximum(need[:, None] - bins.free, 0) / np.maximum(bins.limit, 1)).max(axis=0)
    unfit = ~bins.opened | ~bins.outfits.able(work.parts)
    missing[unfit | (bins.limit < need[:, None]).any(axis=0)] = np.inf
    for slot in np.argsort(missing, kind="stable")[:CANDIDATES]:
        if not np.isfinite(missing[slot]):
            return None
        name = str(bins.names[slot])
        works = _enough(
            [one for one in scheduler.there(name) if movable(one.name)],
            need - bins.free[:, slot],
        )
        if 0 < len(works) <= most:
            moves = _moved(scheduler, works, idle=True)
            if moves is not None:
                return Clearing(name, moves)
    return None


def _loose(bins: Bins, slot: int) -> bool:
    """Whether there is still room on the other nodes in use after this one's load went there."""
    used = bins.opened & (bins.items > 0)
    used[slot] = False
    have = bins.limit[:, used].sum(axis=1)
    free = bins.free[:, used].sum(axis=1) - bins.load()[:, slot]
    return bool((free >= SLACK * have).all())


def _enough(works: list[Work], short: Vector) -> list[Work]:
    """The smallest one that makes up for what is short, or the largest ones together."""
    works = sorted(works, key=lambda one: (_need(one).sum(), one.name))
    for work in works:
        if (_need(work) >= short).all():
            return [work]
    chosen = []
    for work in reversed(works):
        if (short <= 0).all():
            break
        chosen.append(work)
        short = short - _need(work)
    return chosen if (short <= 0).all() else []


def _need(work: Work) -> Vector:
    return vector(work.profile.need(Cut.NOTHING))


def _moved(
    scheduler: Scheduler, works: list[Work], *, idle: bool
) -> tuple[tuple[Work, Placed], ...] | None:
    """All of them booked elsewhere as well, the largest first, or none of them."""
    done: list[tuple[Work, Placed]] = []
    for work in sorted(works, key=lambda one: (-_need(one).sum(), one.name)):
        placed = scheduler.place(work, idle=idle, force=Force.NOBODY)
        if not isinstance(placed, Placed):
            for other, where in done:
                scheduler.release(other.name, where.node)
            return None
        done.append((work, placed))
    return tuple(done)
