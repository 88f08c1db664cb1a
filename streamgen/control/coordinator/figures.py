"""`Figures`: what a coordinator counts of its decisions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

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
        self.ignored: Counter[str] = Counter()
        """Messages of peers that may not say this, by kind."""

    @staticmethod
    def cpu_ns() -> int:
        """Of this thread."""
        return time.thread_time_ns()

    def handled(self, event: Event, commands: Sequence[Command], took_ns: int) -> None:
        decided = sum(isinstance(one, DECISIONS) for one in commands)
        if decided and not isinstance(event, LeaseGained):
            for _ in range(decided):
                self.decisions.add(took_ns // decided)
        self.counts["moves"] += sum(isinstance(one, Move) for one in commands)
        self.counts["refusals"] += sum(isinstance(one, Refuse) for one in commands)
        self.counts["waits"] += sum(isinstance(one, Wait) for one in commands)
        self.counts["leases"] += isinstance(event, LeaseGained)

    def took_over(self) -> None:
        """A stream that ran got another owner."""
        self.counts["takeovers"] += 1

    def not_listened(self, kind: str) -> None:
        self.ignored[kind] += 1
