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
HOLDS_US = (0, 12_000_000, 120_000_000, 240_000_000, 480_000_000)
"""How long a rung is left alone after so many falls from it."""
PASSES = (1, 1, 3, 6, 10)
"""How many tries in a row must have found room for it then: a way that is narrow now and then fails
one of them."""
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
        for rung in range(to):
            if (needs[rung] or 0) > bps:
                self._fell(rung, rung >= at, now_us)
        self.changed_us = now_us
        return Move(to, "full", need * SEVERE > bps)

    def _fell(self, rung: int, was_there: bool, now_us: int) -> None:
        record = self.records.setdefault(rung, Record())
        record.passes = 0
        if was_there:
            record.falls = min(record.falls + 1, len(HOLDS_US) - 1)
            record.fell_us = now_us

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

    def failed(self, rung: int, now_us: int) -> Move | None:
        """There is none for this one; perhaps a smaller one was found to have it."""
        self.records.setdefault(rung, Record()).passes = 0
        self.tried_us = now_us
        return self._go(now_us)

    def _go(self, now_us: int) -> Move | None:
        found, self.found = self.found, None
        if found is None:
            return None
        record = self.records[found]
        if record.passes < PASSES[record.falls]:
            return None
        record.passes = 0
        self.changed_us = now_us
        return Move(found, "room")
