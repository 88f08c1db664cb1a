"""`CostMeter`: what a stream takes of a worker, as seen while it runs: processor time for each
picture, by the clock of the process, and memory.

A process has one clock, so nothing can be said while different things run in it, nor while any of
them is given up or lost: then less was done than the pipeline asks for.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

from streamgen.control.placement.catalogue import MOST_PROFILES
from streamgen.control.placement.resources import (
    Cut,
    Profile,
    Resources,
    Subject,
    amounts,
)

PICTURES = 250
"""Of each stream, for one measurement."""
ENOUGH, LAST = 3, 5
"""Measurements until anything is said, and those of which the middle one counts: networks are
loaded for others meanwhile, and pictures differ."""
NEWS = 0.1
"""What is more by less than this share is not said."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a session has done so far."""

    pictures: int
    """Announced to it."""
    spared: int
    """How often something was not done: for want of time, as it failed, or as nothing moved."""
    whole: bool
    """Nothing is left out at present."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A stream as it runs now."""

    stream: object
    """Tells it from others."""
    profile: Profile
    cut: Cut
    done: Done | None
    """None: it has not begun."""


@dataclass(frozen=True, slots=True)
class _Look:
    streams: frozenset[object]
    pictures: int
    spared: int
    cpu_s: float


class CostMeter:
    """On one thread."""

    def __init__(
        self,
        cpu_s: Callable[[], float] = time.process_time,
        memory_mb: Callable[[], float] | None = None,
    ) -> None:
        """Made while nothing runs yet."""
        self._cpu_s, self._memory_mb = cpu_s, memory_mb or own_memory_mb
        self._idle_mb = self._memory_mb()
        self._began: _Look | None = None
        self._costs: OrderedDict[Subject, deque[float]] = OrderedDict()
        """CPU milliseconds a picture."""
        self._most_mb: float | None = 0.0
        """None: it cannot be told any more what belongs to whom."""
        self._first: Subject | None = None
        self._said: dict[Subject, Resources] = {}

    def look(self, carried: Sequence[Carried]) -> Profile | None:
        """Now and then. What the whole of something takes, once that is known, and when it is more:
        pictures may be still for a while, and the most that they took is what has to be there."""
        alike = {(one.profile.subject, one.cut) for one in carried}
        subject = carried[0].profile.subject if carried else None
        self._look_at_memory(subject, len(carried))
        if subject is None or alike != {(subject, Cut.NOTHING)}:
            self._began = None
            return None
        done = [one.done for one in carried if one.done is not None and one.done.whole]
        now = _Look(
            frozenset(one.stream for one in carried),
            sum(one.pictures for one in done),
            sum(one.spared for one in done),
            self._cpu_s(),
        )
        began = self._began
        if len(done) < len(carried):
            self._began = None
        elif began is None or (began.streams, began.spared) != (now.streams, now.spared):
            self._began = now
        elif now.pictures - began.pictures >= PICTURES * len(carried):
            self._began = now
            cost_ms = 1000 * (now.cpu_s - began.cpu_s) / (now.pictures - began.pictures)
            return self._news(carried[0].profile, subject, cost_ms)
        return None

    def _look_at_memory(self, subject: Subject | None, number: int) -> None:
        """What streams leave behind is not given back at once: only of one alone, in a process that
        has had no other, it is known what it took."""
        if not number:
            return
        self._first = self._first or subject
        if number > 1 or subject != self._first or subject is None:
            self._most_mb = None
        elif self._most_mb is not None:
            self._most_mb = max(self._most_mb, self._memory_mb() - self._idle_mb)

    def _news(self, profile: Profile, subject: Subject, cost_ms: float) -> Profile | None:
        costs = self._costs.setdefault(subject, deque(maxlen=LAST))
        self._costs.move_to_end(subject)
        costs.append(cost_ms)
        if len(self._costs) > MOST_PROFILES:
            self._said.pop(self._costs.popitem(last=False)[0], None)
        if len(costs) < ENOUGH:
            return None
        known = self._said.get(subject, Resources())
        memory_mb = 0 if self._most_mb is None else ceil(self._most_mb)
        need = Resources(cpu_ms=ceil(median(costs) * subject.rate), memory_mb=memory_mb)
        if all(a <= b * (1 + NEWS) for a, b in zip(amounts(need), amounts(known), strict=True)):
            return None
        self._said[subject] = need.most(known)
        return Profile(profile.name, (self._said[subject],), subject=subject)


def own_memory_mb() -> float:
    """Of this process, without what lies in files."""
    rows = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("RssAnon:")) / 1024
