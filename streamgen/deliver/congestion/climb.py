"""`Climb`: which rung a viewer should have. Down at once, up slowly, and ever more slowly to a rung
that it fell from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

HEADROOM = 1.2
"""A rung is climbed when so many times its rate gets through."""
SETTLE_US = 3_000_000
"""After a change, and after the way was full, nothing is tried for so long."""
RETRY_US = 5_000_000
"""Between two tries."""
HOLDS_US = (0, 7_000_000, 120_000_000, 240_000_000, 480_000_000)
"""How long a rung is left alone after so many falls from it."""
PASSES = (1, 3, 10, 12, 12)
"""How many tries in a row must have found room for it then: a way that is narrow now and then fails
one of them. What flaps more slowly than the later ones look costs few changes anyway."""
SHUT_US = 12_000_000
"""A way that was narrow for so long, and then is wide, does not flap: one try is enough after the
first fall."""
FORGIVEN_US = 300_000_000
"""A rung that was kept for so long has one fall less."""
SEVERE = 0.7


@dataclass(frozen=True, slots=True)
class Move:
    """To another rung. `at_once`: what is left of the present one would only be in the way."""

    to: int
    reason: str
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """Whether there is room for so much."""

    rung: int
    rate_bps: int


class Limit(Protocol):
    """What is known of the way (`Estimate`, `Hearsay`)."""

    @property
    def bps(self) -> int | None:
        """None: no limit is known."""
        ...

    @property
    def congested_us(self) -> int | None:
        """When the way was last full."""
        ...


@dataclass(slots=True)
class Record:
    """What is known of one rung."""

    falls: int = 0
    fell_us: int = 0
    passes: int = 0
    """Tries in a row that found room."""
    wavers: bool = False
    """Room was found since the fall, and then was not."""
    shut: bool = False
    """It was not found for `SHUT_US`, ever."""

    @property
    def enough(self) -> bool:
        """Whether there is room, for all that is known."""
        return self.passes >= (1 if self.falls == 1 and self.shut else PASSES[self.falls])

    def failed(self, now_us: int) -> None:
        self.wavers = self.wavers or self.passes > 0
        self.shut = not self.wavers and now_us - self.fell_us >= SHUT_US
        self.passes = 0


@dataclass(slots=True)
class Climb:
    """Rungs by number, the largest is 0. Times in microseconds."""

    began_us: int
    records: dict[int, Record] = field(default_factory=dict)
    changed_us: int = 0
    tried_us: int = 0
    found: int | None = None
    """The largest rung that these tries have found room for."""

    def __post_init__(self) -> None:
        self.changed_us = self.began_us

    def judge(
        self, at: int, needs: Sequence[int | None], limit: Limit, now_us: int
    ) -> Move | Try | None:
        """`needs` is what each rung takes with all that goes along; None for one that is not there
        or not known."""
        down = self._down(at, needs, limit.bps, now_us)
        if down is not None:
            return down
        self._forgive(at, now_us)
        quiet_since = max(self.changed_us, limit.congested_us or 0)
        if now_us - quiet_since < SETTLE_US or now_us - self.tried_us < RETRY_US:
            return None
        return self._next(at, needs, now_us)

    def _down(
        self, at: int, needs: Sequence[int | None], bps: int | None, now_us: int
    ) -> Move | None:
        need = needs[at]
        if bps is None or need is None or need <= bps:
            return None
        lower = [rung for rung in range(at + 1, len(needs)) if needs[rung] is not None]
        if not lower:
            return None
        to = next((rung for rung in lower if (needs[rung] or 0) <= bps), lower[-1])
        falls = 0
        for rung in reversed(range(to)):
            if (needs[rung] or 0) > bps:
                falls = self._fell(rung, rung >= at, falls, now_us)
        self.changed_us = now_us
        return Move(to, "full", need * SEVERE > bps)

    def _fell(self, rung: int, was_there: bool, smaller: int, now_us: int) -> int:
        """A rung is no easier to keep than a smaller one, of whose falls it is told."""
        former = self.records.get(rung, Record()).falls + was_there
        falls = min(max(former, smaller), len(HOLDS_US) - 1)
        self.records[rung] = Record(falls, now_us)
        return falls

    def _forgive(self, at: int, now_us: int) -> None:
        record = self.records.get(at)
        if record is not None and record.falls and now_us - self.changed_us > FORGIVEN_US:
            record.falls -= 1
            self.changed_us = now_us

    def _next(self, at: int, needs: Sequence[int | None], now_us: int) -> Try | None:
        """The next larger rung that may be tried."""
        for rung in range(at - 1, -1, -1):
            need = needs[rung]
            if need is None:
                continue
            record = self.records.setdefault(rung, Record())
            if now_us - record.fell_us < HOLDS_US[record.falls]:
                return None
            self.tried_us = now_us
            return Try(rung, int(need * HEADROOM))
        return None

    def passed(self, rung: int, needs: Sequence[int | None], now_us: int) -> Move | Try | None:
        """There is room for this rung: try the next, or go there."""
        self.records.setdefault(rung, Record()).passes += 1
        self.found = rung
        return self._next(rung, needs, now_us) or self._go(now_us)

    def failed(
        self, rung: int, needs: Sequence[int | None], bps: int | None, now_us: int
    ) -> Move | None:
        """There is none for this one, and for no larger one; perhaps a smaller one was found to
        have it, unless the way has become too narrow for that, too: `bps`, if that is known."""
        found = self.found
        if found is not None and bps is not None and (needs[found] or 0) > bps:
            rung, self.found = found, None
        for larger in range(rung + 1):
            self.records.setdefault(larger, Record()).failed(now_us)
        self.tried_us = now_us
        return self._go(now_us)

    def _go(self, now_us: int) -> Move | None:
        found, self.found = self.found, None
        if found is None:
            return None
        record = self.records[found]
        if not record.enough:
            return None
        record.passes = 0
        self.changed_us = now_us
        return Move(found, "room")
