"""`Bins`: what every node has free, as columns of numbers: which one fits a need best is one pass
over them, some 100 us for 10,000 nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamgen.control.placement.outfits import Outfits
from streamgen.control.placement.resources import DIMENSIONS, Resources, amounts

Vector = NDArray[np.int64]
Kind = tuple[Resources, frozenset[str] | None]
"""What a node has, and its parts, as in `Outfits`."""
FIRST = 64
WARM = 0.05
"""What a node that has the networks loaded is liked better for, as a share of a node's room."""


class Bins:
    """Nodes by slot. A slot's number is a node's for as long as it is there."""

    def __init__(self, reclaimable: int) -> None:
        """`reclaimable` kinds of use can be taken back, and are counted beside what is free."""
        self.names: list[str | None] = []
        self.slots: dict[str, int] = {}
        self.free: Vector = np.zeros((len(DIMENSIONS), FIRST), np.int64)
        self.taken: NDArray[np.int64] = np.zeros((reclaimable, len(DIMENSIONS), FIRST), np.int64)
        """What could be taken back, by kind."""
        self.items: Vector = np.zeros(FIRST, np.int64)
        self.limit: Vector = np.zeros((len(DIMENSIONS), FIRST), np.int64)
        self.opened: NDArray[np.bool_] = np.zeros(FIRST, np.bool_)
        self._share = np.zeros((len(DIMENSIONS), FIRST), np.float32)
        """What is free, in units of the largest node's capacity."""
        self._scale = np.ones(len(DIMENSIONS))
        self._warm: dict[str, NDArray[np.bool_]] = {}
        self._unused: list[int] = []
        self._have = np.zeros(len(DIMENSIONS), np.int64)
        self._left = np.zeros(len(DIMENSIONS), np.int64)
        """Of all nodes, and what of it is free."""
        self._kinds: Counter[Kind] = Counter()
        """Open nodes by what they have: nodes are many, kinds of them few."""
        self._kind: list[Kind] = []
        self.outfits = Outfits(FIRST)

    def add(
        self,
        name: str,
        limit: Resources,
        models: Iterable[str],
        parts: frozenset[str] | None = None,
    ) -> int:
        """A node with nothing on it; its slot."""
        slot = self._unused.pop() if self._unused else len(self.names)
        if slot == len(self.names):
            self.names.append(None)
            self._kind.append((limit, parts))
            if slot == self.items.size:
                self._grow()
        self.names[slot] = name
        self.slots[name] = slot
        has = vector(limit)
        self.limit[:, slot] = self.free[:, slot] = has
        self._have += has
        self._left += has
        self._kind[slot] = limit, parts
        self.outfits.equip(slot, parts)
        self.open(slot, True)
        for model in models:
            self.warm(slot, model)
        scale = np.maximum(self._scale, has)
        if (scale > self._scale).any():
            self._scale = scale
            self._share = (self.free / scale[:, None]).astype(np.float32)
        self._share[:, slot] = self.free[:, slot] / self._scale
        return slot

    def remove(self, slot: int) -> None:
        """The node is gone, and all that was on it."""
        self.open(slot, False)
        self._have -= self.limit[:, slot]
        self._left -= self.free[:, slot]
        del self.slots[str(self.names[slot])]
        self.names[slot] = None
        for columns in (self.free, self.taken, self.items, self.limit, self._share):
            columns[..., slot] = 0
        for warm in self._warm.values():
            warm[slot] = False
        self.outfits.strip(slot)
        self._unused.append(slot)

    def open(self, slot: int, wanted: bool) -> None:
        """Whether new work may come here."""
        if self.opened[slot] != wanted:
            self.opened[slot] = wanted
            self._kinds[self._kind[slot]] += 1 if wanted else -1

    def equip(self, slot: int, parts: frozenset[str] | None) -> None:
        """The node has these parts from now on."""
        opened = bool(self.opened[slot])
        self.open(slot, False)
        self._kind[slot] = self._kind[slot][0], parts
        self.open(slot, opened)
        self.outfits.equip(slot, parts)

    def warm(self, slot: int, model: str) -> None:
        """The node has this network loaded from now on."""
        if model not in self._warm:
            self._warm[model] = np.zeros(self.items.size, np.bool_)
        self._warm[model][slot] = True

    def has(self, slot: int, models: Iterable[str]) -> bool:
        """Whether all of these networks are loaded there."""
        return all(model in self._warm and self._warm[model][slot] for model in models)

    def take(self, slot: int, need: Vector, items: int = 1) -> None:
        """Use so much; negative numbers give back."""
        self.free[:, slot] -= need
        self._left -= need
        self._share[:, slot] = self.free[:, slot] / self._scale
        self.items[slot] += items

    def fits(
        self,
        slot: int,
        need: Vector,
        reclaim: tuple[int, ...] = (),
        parts: frozenset[str] = frozenset(),
    ) -> bool:
        """Whether new work has room there, and the `parts` that it needs; what was taken of the
        kinds `reclaim` is free."""
        room = self.free[:, slot]
        for kind in reclaim:
            room = room + self.taken[kind, :, slot]
        there = bool(self.opened[slot]) and self.outfits.has(slot, parts)
        return there and bool(((room >= need) | (need <= 0)).all())

    def load(self) -> Vector:
        """What is in use, by dimension and slot."""
        return self.limit - self.free

    def best(
        self,
        need: Vector,
        models: Iterable[str] = (),
        reclaim: tuple[int, ...] = (),
        *,
        idle: bool = True,
        but: Sequence[int] = (),
        warm: bool = False,
        parts: frozenset[str] = frozenset(),
    ) -> int | None:
        """The slot whose rest would be smallest, nodes that are in use first; None: no one fits,
        or only those of `but`. `warm`: only those that have all of `models`
        loaded; `parts`: only those that have all of these.

        What was taken of the kinds `reclaim` counts as free. The rest is measured as the sum of
        squares over all dimensions, each weighted by how scarce it is (Panigrahy et al., 2011).
        """
        number = len(self.names)
        fits = self.opened[:number] & self.outfits.able(parts)[:number]
        for slot in but:
            fits[slot] = False
        for model in models if warm else ():
            fits &= self._warm[model][:number] if model in self._warm else False
        for dimension, wanted in enumerate(need):
            if wanted:
                room = self.free[dimension, :number]
                for kind in reclaim:
                    room = room + self.taken[kind, dimension, :number]
                fits &= room >= wanted
        used = fits & (self.items[:number] > 0)
        if used.any():
            fits = used
        elif not idle:
            return None
        found = np.flatnonzero(fits)
        if not found.size:
            return None
        # Most nodes: all of them in one sweep are faster than those picked out.
        all_of_them = found.size * 4 > number
        share = self._share[:, :number] if all_of_them else self._share[:, found]
        rest = share - (need / self._scale).astype(np.float32)[:, None]
        rest *= rest
        score = self._weights() @ rest
        if all_of_them:
            score = score[found]
        for model in models:
            if model in self._warm:
                score -= WARM * self._warm[model][found]
        return int(found[np.argmin(score)])

    def largest(self) -> Vector:
        """The most that any open node has, by dimension, empty."""
        kinds = [vector(has) for (has, _), number in self._kinds.items() if number]
        return np.max(kinds, axis=0) if kinds else np.zeros(len(DIMENSIONS), np.int64)

    def holds(self, need: Vector, parts: frozenset[str] = frozenset()) -> bool:
        """Whether an open node could carry this if nothing else were on it."""
        return any(
            bool((vector(has) >= need).all())
            for (has, said), number in self._kinds.items()
            if number and (said is None or parts <= said)
        )

    def _weights(self) -> NDArray[np.float32]:
        """How scarce each dimension is: in use over what there is."""
        return ((self._have - self._left + 1) / (self._have + 1)).astype(np.float32)

    def _grow(self) -> None:
        more = self.items.size

        def doubled(columns: NDArray[np.generic]) -> NDArray[np.generic]:
            widths = [(0, 0)] * (columns.ndim - 1) + [(0, more)]
            return np.pad(columns, widths)

        self.free, self.limit = doubled(self.free), doubled(self.limit)  # type: ignore[assignment]
        self.taken, self.items = doubled(self.taken), doubled(self.items)  # type: ignore[assignment]
        self._share, self.opened = doubled(self._share), doubled(self.opened)  # type: ignore[assignment]
        self._warm = {m: doubled(w) for m, w in self._warm.items()}  # type: ignore[misc]
        self.outfits.grow()


def vector(resources: Resources) -> Vector:
    return np.array(amounts(resources), np.int64)
