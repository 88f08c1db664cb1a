"""`Waiting`: streams without room, best first, and of one kind in the order in which they came.

When a node gets room, one look at each kind tells whether any of it fits there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from streamgen.control.placement.scheduler import Work

Kind = tuple[int, str, str]


class Waiting:
    def __init__(self) -> None:
        self._kinds: dict[Kind, dict[str, None]] = {}
        self._kind_of: dict[str, Kind] = {}

    def __len__(self) -> int:
        return len(self._kind_of)

    def __contains__(self, name: str) -> bool:
        return name in self._kind_of

    def __iter__(self) -> Iterator[str]:
        """All of them, best first."""
        for kind in self.kinds():
            yield from self.of(kind)

    def add(self, work: Work) -> None:
        """At the end of its kind, if it does not wait already."""
        profile = work.profile
        subject = "" if profile.subject is None else profile.subject.text
        kind = (int(work.standing), profile.name, subject)
        if self._kind_of.get(work.name) == kind:
            return
        self.discard(work.name)
        self._kinds.setdefault(kind, {})[work.name] = None
        self._kind_of[work.name] = kind

    def discard(self, name: str) -> None:
        kind = self._kind_of.pop(name, None)
        if kind is not None:
            names = self._kinds[kind]
            del names[name]
            if not names:
                del self._kinds[kind]

    def kinds(self) -> list[Kind]:
        """Those that somebody waits of, best standing first."""
        return sorted(self._kinds)

    def of(self, kind: Kind, most: int | None = None) -> list[str]:
        """The first ones, in the order in which they came."""
        return list(islice(self._kinds.get(kind, ()), most))
