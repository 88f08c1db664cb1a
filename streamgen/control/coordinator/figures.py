"""`Figures`: what a coordinator counts of its decisions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from streamgen.control.coordinator.chronicle import Entry
from streamgen.control.coordinator.commands import Assign, Command, Move, Refuse, Wait
from streamgen.control.coordinator.events import Event, LeaseGained
from streamgen.telemetry import Times

DECISIONS = (Assign, Move, Refuse, Wait)


class Figures:
    """Since the process began, under all its leases."""

    def __init__(self) -> None:
        self.decisions = Times()
        """Processor time of each: an owner, a no, a place among those that wait."""
        self.counts: Counter[str] = Counter()
        """By kinds of the chronicle."""
        self.ignored: Counter[str] = Counter()
        """Messages of peers that may not say this, by kind."""

    @staticmethod
    def cpu_ns() -> int:
        """Of this thread."""
        return time.thread_time_ns()

    def handled(
        self, event: Event, commands: Sequence[Command], news: Sequence[Entry], took_ns: int
    ) -> None:
        """`news` is what of it was not said before."""
        decided = sum(isinstance(one, DECISIONS) for one in commands)
        if decided and not isinstance(event, LeaseGained):
            for _ in range(decided):
                self.decisions.add(took_ns // decided)
        self.counts.update(one.kind.value for one in news)

    def not_listened(self, kind: str) -> None:
        self.ignored[kind] += 1
