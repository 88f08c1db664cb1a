"""`Outfits`: which nodes have which parts, as columns of bits: which of them have all that a
pipeline needs is one pass over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]


class Outfits:
    """By slot, as in `Bins`. A node that does not say what it has is taken to have everything: it
    is of an earlier release."""

    def __init__(self, size: int) -> None:
        """Of so many slots at first."""
        self._all = np.zeros(size, np.bool_)
        self._has: dict[str, Bits] = {}
        """By part; of those that any node has said."""
        self._said: dict[int, frozenset[str] | None] = {}

    def equip(self, slot: int, parts: frozenset[str] | None) -> None:
        """What this node has, in place of what it had."""
        self.strip(slot)
        self._said[slot] = parts
        self._all[slot] = parts is None
        for part in parts or ():
            if part not in self._has:
                self._has[part] = np.zeros_like(self._all)
            self._has[part][slot] = True

    def strip(self, slot: int) -> None:
        """The node is gone."""
        self._all[slot] = False
        for part in self._said.pop(slot, None) or ():
            self._has[part][slot] = False
            if not self._has[part].any():
                del self._has[part]

    def has(self, slot: int, parts: frozenset[str]) -> bool:
        """Whether this node has all of these."""
        said = self._said[slot]
        return said is None or parts <= said

    def able(self, parts: frozenset[str]) -> Bits:
        """The slots of nodes that have all of these; not to be changed."""
        if not parts <= self._has.keys():
            return self._all
        able = np.ones_like(self._all)
        for part in parts:
            able &= self._has[part]
        return able | self._all

    def missing(self, parts: frozenset[str], among: Bits | None = None) -> list[str]:
        """Those that no node has, or none of these, in order."""
        nobody = np.zeros(1, np.bool_)
        has = ((one, self._all | self._has.get(one, nobody)) for one in sorted(parts))
        return [one for one, nodes in has if not (nodes if among is None else nodes & among).any()]

    def grow(self) -> None:
        """To twice as many slots."""
        more = self._all.size
        self._all = np.pad(self._all, (0, more))
        self._has = {part: np.pad(has, (0, more)) for part, has in self._has.items()}
