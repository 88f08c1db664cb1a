"""`Scheduler`: which node carries which work. Decisions and bookkeeping only.

Vector best-fit with head-room. Live work that finds no room takes it from batch work first, then
from the enhancement and then from the rungs of live work of a lower standing, and at last gives
up its own in that order; running live work is never ended for other work. What is refused is
refused with the reason. The same calls give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from streamgen.control.placement.bins import Bins, Vector, vector
from streamgen.control.placement.ends import Ends
from streamgen.control.placement.resources import (
    DIMENSIONS,
    Cut,
    Profile,
    Resources,
    Standing,
)

HEAD_ROOM = 0.1
"""Share of a node's time that is not planned with: pictures differ in what they cost."""
CUTS = (Cut.ENHANCEMENT, Cut.RUNGS)
_BATCH = {Standing.BATCH_PAID: 0, Standing.BATCH_FREE: 1}
_SAVED = {Cut.ENHANCEMENT: 2, Cut.RUNGS: 3}
"""Rows of `Bins.taken`; what is saved is of streams that are not paid for."""
_KINDS = 4


@dataclass(frozen=True, slots=True)
class Work:
    """A stream, or a chunk of a job."""

    name: str
    profile: Profile
    standing: Standing
    runs_ms: int | None = None
    """How long it will run, from its start, as far as that is known."""
    parts: frozenset[str] = field(default=frozenset(), compare=False)
    """What a node must have for it, by name (`placement.parts`). They follow from the pipeline, of
    which `profile` tells: who is of an earlier release does not say them."""

    def alike(self, other: Work) -> bool:
        """The same is asked for, whatever it was taken to need."""
        if self.profile.subject is None:
            return self == other
        profile = replace(other.profile, name=self.profile.name, needs=self.profile.needs)
        return self == replace(other, profile=profile)


class Force(Enum):
    """Whose room may be taken for work that finds none."""

    NOBODY = "nobody"
    BATCH = "batch"
    """Batch work's of a lower standing."""
    ALL = "all"
    """Also what live streams can give up, its own included."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where work goes, and what makes room for it. All of it is booked already."""

    node: str
    cut: Cut
    preempted: tuple[str, ...] = ()
    """Batch work that has to leave."""
    lowered: tuple[tuple[str, Cut], ...] = ()
    """Live work that gives something up."""
    warm: bool = False
    """All of its networks are loaded there."""


@dataclass(frozen=True, slots=True)
class Full:
    """Why there is no place."""

    reason: str
    ever: bool
    """Whether there would be one if nothing else ran."""
    earliest_ms: int | None = None
    """When there will be one if nothing else comes; None: that is not known."""


@dataclass(slots=True)
class Booking:
    """Room that is taken on one node."""

    work: Work
    slot: int
    cut: Cut
    number: int
    """Later ones are higher."""
    need: Vector = field(repr=False)


class Scheduler:
    """The whole cluster's. Work that moves is booked on both nodes until it has arrived."""

    def __init__(self, head_room: float = HEAD_ROOM) -> None:
        self.bins = Bins(_KINDS)
        self._head_room = head_room
        self._bookings: dict[str, list[Booking]] = {}
        """By work; the last one is where it goes."""
        self._on: dict[int, dict[str, Booking]] = {}
        self._number = 0
        self._vectors: dict[Resources, Vector] = {}
        self.ends = Ends()
        """When work that has a place will be over, by the caller's clock."""

    def add(
        self,
        node: str,
        capacity: Resources,
        models: Iterable[str] = (),
        parts: frozenset[str] | None = None,
    ) -> None:
        """A node that is empty, and has these parts; None: it does not say, and gets any work."""
        slot = self.bins.add(node, capacity.under(self._head_room), models, parts)
        self._on[slot] = {}

    def remove(self, node: str) -> list[str]:
        """The node is gone; the work that was there alone and has no place now, best first."""
        slot = self.bins.slots[node]
        gone = list(self._on.pop(slot).values())
        for booking in gone:
            self._forget(booking)
        self.bins.remove(slot)
        lost = [one.work for one in gone if one.work.name not in self._bookings]
        return [work.name for work in sorted(lost, key=lambda one: (one.standing, one.name))]

    def open(self, node: str, wanted: bool) -> None:
        """Whether new work may go there; what is there stays."""
        self.bins.open(self.bins.slots[node], wanted)

    def loaded(self, node: str, models: Iterable[str]) -> None:
        """Networks that a node has ready."""
        for model in models:
            self.bins.warm(self.bins.slots[node], model)

    def place(
        self,
        work: Work,
        *,
        idle: bool = True,
        force: Force = Force.ALL,
        only: str | None = None,
        away: str | None = None,
        warm: bool = False,
    ) -> Placed | Full:
        """Find room and book it: a place that it does not have yet, if it has one.

        `idle`: also on nodes that do nothing yet; `only`: on this node or nowhere; `away`: not on
        this one; `warm`: only where its networks are loaded.
        """
        but = [one.slot for one in self._bookings.get(work.name, ())]
        if away in self.bins.slots:
            but.append(self.bins.slots[str(away)])
        there = None if only is None else self.bins.slots[only]
        for cut, reclaim in self._ways(work, force):
            need = self._vector(work.profile.need(cut))
            if there is None:
                models, parts = work.profile.models, work.parts
                slot = self.bins.best(
                    need, models, reclaim, idle=idle, but=but, warm=warm, parts=parts
                )
            else:
                fits = there not in but and self.bins.fits(there, need, reclaim, work.parts)
                slot = there if fits else None
            if slot is not None:
                return self._settle(work, work.profile.least(cut), slot, reclaim)
        return self._full(work)

    def full(self, work: Work) -> Full | None:
        """Why there is no place for work, what it has already put aside; None: there is one."""
        mine = self._bookings.get(work.name, ())
        for one in mine:
            self.bins.take(one.slot, -one.need, 0)
        try:
            for cut, reclaim in self._ways(work, Force.ALL):
                need = self._vector(work.profile.need(cut))
                if self.bins.best(need, reclaim=reclaim, parts=work.parts) is not None:
                    return None
            return self._full(work)
        finally:
            for one in mine:
                self.bins.take(one.slot, one.need, 0)

    def room(self, work: Work, node: str, cut: Cut = Cut.NOTHING) -> bool:
        """Whether there is room on this node as it is, open or not, and all that it needs."""
        need, slot = self._vector(work.profile.need(cut)), self.bins.slots[node]
        has = self.bins.outfits.has(slot, work.parts)
        return has and bool((self.bins.free[:, slot] >= need).all())

    def book(self, work: Work, node: str, cut: Cut = Cut.NOTHING) -> Placed:
        """Take room on a node, whether there is any or not: the work is there already, as the
        node says, or `room` has told so."""
        slot = self.bins.slots[node]
        warm = self.bins.has(slot, work.profile.models)
        self._number += 1
        need = self._vector(work.profile.need(cut))
        booking = Booking(work, slot, cut, self._number, need)
        self._bookings.setdefault(work.name, []).append(booking)
        self._on[slot][work.name] = booking
        self.bins.take(slot, need, 1)
        self._account(booking, 1)
        for model in work.profile.models:
            self.bins.warm(slot, model)
        return Placed(node, cut, warm=warm)

    def release(self, name: str, node: str) -> None:
        """The work is not on this node any more."""
        booking = self._on[self.bins.slots[node]].pop(name, None)
        if booking is not None:
            self._forget(booking)

    def raise_up(self, node: str) -> Iterator[tuple[str, Cut]]:
        """Live work on this node that gets back what it gave up, as far as there is room."""
        slot = self.bins.slots[node]
        lowered = [one for one in self._on[slot].values() if one.cut]
        for booking in sorted(lowered, key=lambda one: (one.work.standing, one.number)):
            for cut in (Cut.NOTHING, Cut.ENHANCEMENT):
                more = self._vector(booking.work.profile.need(cut)) - booking.need
                if cut < booking.cut and (self.bins.free[:, slot] >= more).all():
                    self._change(booking, cut)
                    yield booking.work.name, cut
                    break

    def there(self, node: str) -> list[Work]:
        """All that is booked on a node, best first."""
        held = self._on[self.bins.slots[node]].values()
        return sorted((one.work for one in held), key=lambda one: (one.standing, one.name))

    def names(self, node: str) -> list[str]:
        """The same, in the order in which it came."""
        return list(self._on[self.bins.slots[node]])

    def _ways(self, work: Work, force: Force) -> Iterator[tuple[Cut, tuple[int, ...]]]:
        """What to try: how much to give up, and what to take from others."""
        yield Cut.NOTHING, ()
        # Work that moves gives up no more than it has given up already.
        given = max((one.cut for one in self._bookings.get(work.name, ())), default=Cut.NOTHING)
        if given:
            yield given, ()
        if force is Force.NOBODY:
            return
        batch = tuple(kind for lower, kind in _BATCH.items() if lower > work.standing)
        if batch:
            yield Cut.NOTHING, batch[::-1]
        if given and batch:
            yield given, batch[::-1]
        if not work.standing.live or force is Force.BATCH:
            return
        for cut in CUTS:
            saved = (_SAVED[cut],) if work.standing is Standing.LIVE_PAID else ()
            if saved:
                yield Cut.NOTHING, batch + saved
            if len(work.profile.needs) > cut:
                yield cut, batch + saved

    def _settle(self, work: Work, cut: Cut, slot: int, reclaim: tuple[int, ...]) -> Placed:
        """Make the room that was found, with as little harm as possible, and book it."""
        need = self._vector(work.profile.need(cut))
        preempted, lowered = self._make_room(slot, need, reclaim)
        placed = self.book(work, str(self.bins.names[slot]), cut)
        return Placed(placed.node, cut, preempted, lowered, placed.warm)

    def _make_room(
        self, slot: int, need: Vector, reclaim: tuple[int, ...]
    ) -> tuple[tuple[str, ...], tuple[tuple[str, Cut], ...]]:
        short = need - self.bins.free[:, slot]
        if (short <= 0).all():
            return (), ()
        batch = [one for one in self._on[slot].values() if _BATCH.get(one.work.standing) in reclaim]
        batch.sort(key=lambda one: (-one.work.standing, -one.number))
        leaving = _enough([(one, one.need) for one in batch], short)
        for booking in leaving:
            self.release(booking.work.name, str(self.bins.names[slot]))
        short = need - self.bins.free[:, slot]
        lowered: list[tuple[str, Cut]] = []
        for cut in CUTS:
            if (short <= 0).all() or _SAVED[cut] < max(reclaim, default=0):
                continue
            giving = [
                (one, one.need - self._vector(one.work.profile.need(cut)))
                for one in sorted(self._on[slot].values(), key=lambda one: -one.number)
                if one.work.standing is Standing.LIVE_FREE and one.cut < one.work.profile.least(cut)
            ]
            for booking in _enough(giving, short):
                self._change(booking, booking.work.profile.least(cut))
                lowered.append((booking.work.name, booking.cut))
            short = need - self.bins.free[:, slot]
        return tuple(one.work.name for one in leaving), tuple(lowered)

    def _change(self, booking: Booking, cut: Cut) -> None:
        self._account(booking, -1)
        need = self._vector(booking.work.profile.need(cut))
        self.bins.take(booking.slot, need - booking.need, 0)
        booking.need, booking.cut = need, cut
        self._account(booking, 1)

    def _account(self, booking: Booking, sign: int) -> None:
        """What of this could be taken back."""
        work, taken = booking.work, self.bins.taken
        if work.standing in _BATCH:
            taken[_BATCH[work.standing], :, booking.slot] += sign * booking.need
        elif work.standing is Standing.LIVE_FREE:
            for cut in CUTS:
                if booking.cut < cut:
                    saved = booking.need - self._vector(work.profile.need(cut))
                    taken[_SAVED[cut], :, booking.slot] += sign * saved

    def _forget(self, booking: Booking) -> None:
        self._account(booking, -1)
        self.ends.expect(booking.work.name, booking.slot, None)
        self.bins.take(booking.slot, -booking.need, -1)
        left = self._bookings[booking.work.name]
        left.remove(booking)
        if not left:
            del self._bookings[booking.work.name]

    def _vector(self, resources: Resources) -> Vector:
        """Profiles are few, streams many."""
        found = self._vectors.get(resources)
        if found is None:
            found = self._vectors[resources] = vector(resources)
        return found

    def _full(self, work: Work) -> Full:
        """Why not: what no node has at all, or what is used up."""
        need = self._vector(work.profile.need(Cut.RUNGS if work.standing.live else Cut.NOTHING))
        if not self.bins.slots:
            return Full("there are no nodes", ever=False)
        largest = self.bins.largest()
        short = np.flatnonzero(need > largest)
        nobody = [DIMENSIONS[i] for i in short if not self.bins.limit[i].any()]
        nobody += self.bins.outfits.missing(work.parts)
        if nobody:
            return Full(f"no node has {', '.join(nobody)}", ever=False)
        if short.size:
            what = ", ".join(f"{DIMENSIONS[i]} {need[i]} (most {largest[i]})" for i in short)
            return Full(f"no open node has {what}", ever=False)
        if not self.bins.holds(need, work.parts):
            missing = self.bins.outfits.missing(work.parts, self.bins.opened)
            what = ", ".join(missing) or "all that it needs at once"
            return Full(f"no open node has {what}", ever=False)
        able = self.bins.outfits.able(work.parts)
        lacking = [
            np.count_nonzero(able & (room < wanted))
            for room, wanted in zip(self.bins.free, need, strict=True)
        ]
        reason = f"all nodes are full, most of {DIMENSIONS[np.argmax(lacking)]}"
        earliest_ms = self.ends.earliest(
            need, work.parts, self.bins, lambda name, slot: self._on[slot][name].need
        )
        return Full(reason, ever=True, earliest_ms=earliest_ms)


def _enough(offers: list[tuple[Booking, Vector]], short: Vector) -> list[Booking]:
    """The first offers that make up for what is short, without those that are not needed."""
    chosen: list[tuple[Booking, Vector]] = []
    short = short.copy()
    for booking, gain in offers:
        if (short <= 0).all():
            break
        if ((gain > 0) & (short > 0)).any():
            chosen.append((booking, gain))
            short -= gain
    for offer in list(chosen):
        if (short + offer[1] <= 0).all():
            short += offer[1]
            chosen.remove(offer)
    return [booking for booking, _ in chosen]
