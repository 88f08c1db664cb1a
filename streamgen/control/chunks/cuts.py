"""Where a file is cut, and what each piece must decode to give the pictures that it owns.

A piece begins on the grid of the frame clock, where the uncut output has a key frame anyway: so
the joined output has the key frames, segments and times of an uncut one. Decoding begins at a key
frame of the source before that, and early enough for stages that remember.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.control.chunks.survey import EXACT, HIDDEN, KEY, Survey

LEAST_NS = 5_000_000_000
"""A piece is not shorter: starting costs a second of work or so."""
MOST_NS = 60_000_000_000
"""Nor longer: what is lost when its process dies."""
EACH = 3
"""Pieces for each process, so that the last ones end at about the same time."""
WASTE = 0.5
"""Pictures that are decoded twice, of those in a piece, at most."""
FIRST_NS, LAST_NS = -(1 << 62), 1 << 62


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pipeline needs around the pictures of a piece."""

    settle_ns: int = 0
    """Stream time after which stages that remember are as they would be in an uncut run."""
    latency: int = 0
    """Pictures that stages hold back."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece. Times in nanoseconds of output; packets counted over the whole file."""

    number: int
    begin_ns: int
    """It owns the pictures from here ..."""
    end_ns: int
    """... to before this."""
    warm_ns: int
    """Pictures from here on pass the stages; what is not owned is then thrown away."""
    until_ns: int
    """Pictures from here on do not."""
    first: int
    """Packet with which decoding begins."""
    last: int
    """Last packet that is needed."""
    frames: int
    """Pictures announced among those that it owns."""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cuts:
    """The pieces of a file, in order."""

    chunks: tuple[Chunk, ...]
    uncut: str = ""
    """Why there is only one, in words for the user."""


def cut(
    survey: Survey,
    *,
    interval_ns: int,
    jobs: int,
    needs: Needs,
    least_ns: int = LEAST_NS,
) -> Cuts:
    """Pieces for `jobs` processes, cut at multiples of `interval_ns`."""
    order = shown_order(survey)
    if order is None or not len(order):
        return Cuts((), "its pictures have no times, or the same ones")
    pictures = _Pictures(survey, order)
    length_ns = int(pictures.at[-1] - pictures.at[0])
    number = _number(length_ns, jobs, least_ns)
    if number < 2:
        return Cuts((_whole(pictures, needs),), "it is too short")
    places = _places(pictures, number, interval_ns, needs)
    if not places:
        return Cuts((_whole(pictures, needs),), "its key frames are too far apart")
    edges = [FIRST_NS, *places, LAST_NS]
    return Cuts(
        tuple(
            _chunk(pictures, number, edges[number], edges[number + 1], needs)
            for number in range(len(edges) - 1)
        )
    )


def shown_order(survey: Survey) -> NDArray[np.int64] | None:
    """Numbers of the packets in the order in which their pictures are shown; None where only a
    decoder can tell."""
    if survey.untimed:
        return None
    rows = survey.rows
    shown = np.flatnonzero((rows["flags"] & HIDDEN) == 0)
    order = shown[np.lexsort((rows["pts"][shown], rows["epoch"][shown]))]
    pts = rows["pts"][order]
    return order if bool((np.diff(pts) > 0).all()) else None


class _Pictures:
    """Shown pictures in order, and the key frames from which each can be decoded."""

    def __init__(self, survey: Survey, order: NDArray[np.int64]) -> None:
        rows = survey.rows
        self.packets = len(rows)
        self.order = order
        self.at = survey.times_ns(rows["pts"][order])
        shown_key = (rows["flags"][order] & KEY) != 0
        self.keys = np.flatnonzero(shown_key)
        """Places of key frames in the order of presentation."""
        exact = (rows["flags"][order][self.keys] & EXACT) != 0
        # A key frame that refreshes by and by has done so when the next one comes.
        begins = [k if ok else max(k - 1, 0) for k, ok in enumerate(exact)]
        self.begins = self.keys[begins] if len(self.keys) else self.keys

    def place(self, time_ns: int) -> int:
        """The first picture at or after this time."""
        return int(np.searchsorted(self.at, time_ns))

    def decoded_from(self, picture: int) -> int:
        """The picture with which decoding begins, in the order of presentation; -1: the start."""
        key = int(np.searchsorted(self.keys, picture, side="right")) - 1
        return -1 if key <= 0 else int(self.begins[key])


def _number(length_ns: int, jobs: int, least_ns: int) -> int:
    each_ns = min(MOST_NS, max(least_ns, length_ns // (EACH * jobs)))
    number = length_ns // each_ns
    return number - number % jobs if number > jobs else number


def _places(pictures: _Pictures, number: int, interval_ns: int, needs: Needs) -> list[int]:
    """Times at which pieces begin, but the first: near an even division, and soon after a key
    frame of the source, because what lies between is decoded twice."""
    cells = pictures.at // interval_ns
    begins = np.flatnonzero(np.diff(cells)) + 1
    total = len(pictures.at)
    each = total / number
    places: list[int] = []
    for piece in range(1, number):
        ideal = piece * each
        near = begins[np.abs(begins - ideal) <= 0.4 * each]
        costs = [(_waste(pictures, int(p), needs) + 0.1 * abs(p - ideal), int(p)) for p in near]
        costs = [one for one in costs if _waste(pictures, one[1], needs) <= WASTE * each]
        if costs:
            place = min(costs)[1]
            places.append(int(cells[place]) * interval_ns)
    return places


def _waste(pictures: _Pictures, place: int, needs: Needs) -> int:
    warm = pictures.place(int(pictures.at[place]) - needs.settle_ns)
    return place - max(pictures.decoded_from(warm), 0)


def _chunk(pictures: _Pictures, number: int, begin_ns: int, end_ns: int, needs: Needs) -> Chunk:
    begin, end = pictures.place(begin_ns), pictures.place(end_ns)
    warm_ns = FIRST_NS if begin_ns == FIRST_NS else begin_ns - needs.settle_ns
    warm = pictures.place(warm_ns)
    last_shown = len(pictures.at) - 1
    after = min(end + needs.latency, last_shown)  # one more: who takes out interlacing looks ahead
    decoded = pictures.decoded_from(warm) if begin_ns != FIRST_NS else -1
    return Chunk(
        number=number,
        begin_ns=begin_ns,
        end_ns=end_ns,
        warm_ns=warm_ns,
        until_ns=LAST_NS if end + needs.latency > last_shown else int(pictures.at[after]),
        first=0 if decoded < 0 else int(pictures.order[decoded]),
        last=pictures.packets - 1
        if end_ns == LAST_NS
        else int(pictures.order[warm : after + 1].max()),
        frames=end - begin,
    )


def _whole(pictures: _Pictures, needs: Needs) -> Chunk:
    return _chunk(pictures, 0, FIRST_NS, LAST_NS, needs)
