"""`Edges`: who wants which stream, and whose pictures they get, in the simulation."""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.coordinator.events import StreamWanted
from streamgen.control.placement.scheduler import Work
from streamgen.control.simulate.arrivals import Arrival
from streamgen.control.simulate.figures import Figures


@dataclass(slots=True)
class Wish:
    """A stream that somebody wants."""

    work: Work
    length_ms: int
    asked_ms: int
    until_ms: int | None
    epoch: int = 0
    """Whose pictures come."""
    broken_ms: int | None = None
    """Since when none come, after they did."""

    def wanted(self) -> StreamWanted:
        return StreamWanted(self.work, self.until_ms, self.epoch)


class Edges:
    def __init__(self, figures: Figures) -> None:
        self.wishes: dict[str, Wish] = {}
        self.running = 0
        self._figures = figures

    def ask(self, arrival: Arrival, now_ms: int) -> Wish:
        runs_ms = None if arrival.standing.live else arrival.length_ms
        work = Work(arrival.name, arrival.profile, arrival.standing, runs_ms)
        until = None if arrival.patience_ms is None else now_ms + arrival.patience_ms
        wish = self.wishes[arrival.name] = Wish(work, arrival.length_ms, now_ms, until)
        self._figures.arrived += 1
        return wish

    def picture(self, name: str, epoch: int, now_ms: int) -> bool:
        """The first one of an owner; whether it is taken, since no later owner's were."""
        wish = self.wishes.get(name)
        if wish is None or epoch <= wish.epoch:
            return False
        if wish.epoch == 0:
            self._figures.started.append(now_ms - wish.asked_ms)
            self.running += 1
        elif wish.broken_ms is not None:
            if wish.work.standing.live:
                self._figures.gaps.append(now_ms - wish.broken_ms)
            self.running += 1
        wish.epoch, wish.broken_ms = epoch, None
        return True

    def breaks(self, name: str, epoch: int, now_ms: int) -> bool:
        """An owner is gone; whether its pictures were those that came."""
        wish = self.wishes.get(name)
        if wish is None or wish.epoch != epoch or wish.broken_ms is not None:
            return False
        wish.broken_ms = now_ms
        self.running -= 1
        return True

    def ends(self, name: str) -> bool:
        """Nobody wants it any more; whether anybody did."""
        wish = self.wishes.pop(name, None)
        if wish is None:
            return False
        if wish.broken_ms is not None:
            self._figures.ended_in_gap += wish.work.standing.live
        elif wish.epoch:
            self.running -= 1
        return True
