"""`Nodes`: who is there, in the order in which they were last heard, so that finding the silent
ones costs nothing while there are none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streamgen.control.placement.resources import Profile, Resources

UNDER_WAY_MS = 250
"""A heartbeat may be heard so long after its node died."""


@dataclass(slots=True)
class Node:
    """A node as it stands. Work may come to it while nothing below speaks against it."""

    name: str
    boot: str
    capacity: Resources
    models: tuple[str, ...]
    heard_ms: int
    draining: bool = False
    profiles: tuple[Profile, ...] = ()
    """What it has measured."""
    parts: frozenset[str] | None = None
    """As in `NodeRegistered`."""
    resting: bool = False
    """It failed of late, and is given time."""
    suspect: bool = False
    """An edge hears nothing from it; over with its next heartbeat that was not under way then."""
    doubted_ms: int = 0
    """When an edge said so last."""
    reserved: bool = False
    """Room is being made there for one stream."""
    reported: bool = False
    """It has told this leader what it carries."""
    pieces: int = 0
    """Of jobs, as it reported last."""
    cordoned: bool = False
    """It has none any more and takes none, as it reported since it was told so."""
    moving: str = ""
    """The stream that leaves it now, while it is drained."""
    empty: bool = False
    """It was drained, and that was said."""

    @property
    def open(self) -> bool:
        return not self.resting and not self._closed

    @property
    def on_trial(self) -> bool:
        """Work may come to it where there is no other: it failed of late, that is all."""
        return self.resting and not self._closed

    @property
    def _closed(self) -> bool:
        return self.draining or self.suspect or self.reserved


class Nodes:
    """By name, longest silent first."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, Node] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def add(self, node: Node) -> None:
        self._nodes[node.name] = node

    def get(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def remove(self, name: str) -> Node:
        return self._nodes.pop(name)

    def heard(self, names: Iterable[str], now_ms: int) -> list[Node]:
        """These are alive; those of them that were under suspicion are returned."""
        cleared = []
        get, move_to_end = self._nodes.get, self._nodes.move_to_end
        for name in names:
            node = get(name)
            if node is not None:
                node.heard_ms = now_ms
                move_to_end(name)
                if node.suspect and now_ms - node.doubted_ms > UNDER_WAY_MS:
                    node.suspect = False
                    cleared.append(node)
        return cleared

    @property
    def heard_ms(self) -> int | None:
        """When any of them was heard last; None: there are none."""
        return next((one.heard_ms for one in reversed(self._nodes.values())), None)

    def silent(self, before_ms: int) -> list[str]:
        """Those not heard since."""
        found = []
        for node in self._nodes.values():
            if node.heard_ms >= before_ms:
                break
            found.append(node.name)
        return found


class Strikes:
    """How often nodes failed of late; each time they are trusted again later."""

    def __init__(self, first_ms: int, most_ms: int, forget_ms: int) -> None:
        self._first_ms, self._most_ms, self._forget_ms = first_ms, most_ms, forget_ms
        self._struck: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def add(self, name: str, now_ms: int) -> None:
        while self._struck:
            oldest = next(iter(self._struck.values()))
            if oldest[1] + self._forget_ms > now_ms:
                break
            self._struck.popitem(last=False)
        number, _ = self._struck.pop(name, (0, 0))
        self._struck[name] = (number + 1, now_ms)

    def trusted_ms(self, name: str, now_ms: int) -> int:
        """From when on work may go there: at once after a first failure, then later and later."""
        number, at_ms = self._struck.get(name, (0, 0))
        if number < 2 or at_ms + self._forget_ms <= now_ms:
            return now_ms
        return at_ms + min(self._first_ms << min(number - 2, 20), self._most_ms)
