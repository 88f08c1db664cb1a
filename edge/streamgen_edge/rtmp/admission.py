"""How many clients may come, from where, who makes room, and how fast they may send."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from streamgen_edge.crowd import customer
from streamgen_edge.rtmp.limits import Limits

_LOOKS = 64
"""Clients that are looked at for one that makes room."""


class Guest(Protocol):
    """A client's connection."""

    def make_room(self, limit: str) -> None:
        """Go at once: another has come, and this limit is reached."""
        ...

    def has_news(self) -> bool:
        """Whether something has come that was not read yet."""
        ...


@dataclass(slots=True, eq=False)
class Place:
    """What one client takes."""

    guest: Guest
    origin: Origin
    since: float
    """When it last went on: came, shook hands, connected, asked."""
    heard: bool = False
    """Something was read from it."""
    known: bool = False
    """It was let in once."""


_Queue: TypeAlias = "OrderedDict[Place, None]"


@dataclass(slots=True, eq=False)
class Origin:
    """The clients of one address, or of one IPv6 network of 64 bits, which is one customer's."""

    name: str
    rate: int
    """Bytes per second."""
    clients: int = 0
    waiting: tuple[_Queue, _Queue] = field(default_factory=lambda: (OrderedDict(), OrderedDict()))
    """Those that do not publish, the longest without progress first: never let in, and known."""
    _spent: float = 0.0
    _at: float = 0.0

    def delay_s(self, received: int, now: float) -> float:
        """Count bytes; how long reading must wait for the rate to hold (bursts of one second)."""
        self._spent = max(0.0, self._spent - (now - self._at) * self.rate) + received
        self._at = now
        return max(0.0, self._spent / self.rate - 1.0)


class Admission:
    """Counts clients, all together and by origin.

    Where a limit is reached, a newcomer takes the place of one that does not publish: of its own
    origin if that is full, else of the origin that has most of them. Those never let in go first,
    among them those that have made no progress for longest, and never one that publishes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._origins: dict[str, Origin] = {}
        self.clients = 0

    def enter(self, address: str, guest: Guest, now: float) -> Place | str:
        """A place, if need be another's; else the limit that keeps this client out."""
        name = customer(address)
        origin = self._origins.get(name)
        if origin is not None and origin.clients >= self._limits.connections_per_address:
            limit, crowd = "connections_per_address", [origin]
        elif self.clients >= self._limits.connections:
            limit, crowd = "connections", list(self._origins.values())
        else:
            limit, crowd = "", []
        if limit and not self._make_room(limit, crowd, now):
            return limit
        if name not in self._origins:
            self._origins[name] = Origin(name, self._limits.bytes_per_s_per_address)
        place = Place(guest, self._origins[name], now)
        place.origin.clients += 1
        self.clients += 1
        self.waits(place, now)
        return place

    def waits(self, place: Place, now: float) -> None:
        """A client that does not publish has gone on: others make room before it does."""
        self._out_of_queue(place)
        place.since = now
        place.origin.waiting[place.known][place] = None

    def publishes(self, place: Place) -> None:
        """A client was let in: it keeps its place."""
        self._out_of_queue(place)
        place.known = True

    def goes(self, place: Place) -> None:
        """A client is being closed: nobody makes room before it does."""
        self._out_of_queue(place)
        place.heard, place.known, place.since = True, False, 0.0
        queue = place.origin.waiting[False]
        queue[place] = None
        queue.move_to_end(place, last=False)

    def leave(self, place: Place) -> None:
        """A client that came in has gone."""
        self._out_of_queue(place)
        origin = place.origin
        origin.clients -= 1
        self.clients -= 1
        if not origin.clients:
            del self._origins[origin.name]

    def _make_room(self, limit: str, crowd: list[Origin], now: float) -> bool:
        for known in (False, True):
            fullest = max(crowd, key=lambda o: (len(o.waiting[known]), -_longest(o, known)))
            queue = fullest.waiting[known]
            if not queue:
                continue
            # What came from a client just now is read a moment later; that is no idle one.
            for place in list(itertools.islice(queue, _LOOKS)):
                if place.heard or not place.guest.has_news():
                    break
                self.waits(place, now)
            place = next(iter(queue))
            self.leave(place)
            place.guest.make_room(limit)
            return True
        return False

    @staticmethod
    def _out_of_queue(place: Place) -> None:
        place.origin.waiting[place.known].pop(place, None)


def _longest(origin: Origin, known: bool) -> float:
    """Since when the first in the queue has waited."""
    first = next(iter(origin.waiting[known]), None)
    return 0.0 if first is None else first.since
