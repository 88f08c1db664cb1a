"""`Seating`: which worker carries a stream. On one machine the idlest; in a cluster the one that
the coordinator says (`cluster/seats.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamgen_edge.link import Link, WorkerSeen


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker that may be asked to take the stream."""

    worker: WorkerSeen
    word: Mapping[str, Any] = field(default_factory=dict)
    """What the worker has to hear of it, beside what the stream is."""
    epoch: int = 0


class Seating(Protocol):
    """Of one stream; its tenure asks."""

    @property
    def why(self) -> str:
        """Why there is no seat now; empty: there is, or nobody looks for any."""
        ...

    @property
    def given_up(self) -> str:
        """What the stream goes without, for others or for want of room; empty: nothing."""
        ...

    def follow(self, reseat: Callable[[], None], refused: Callable[[str], None]) -> None:
        """`reseat` is called when there is another seat, `refused` when there will be none."""
        ...

    def find(self, avoid: str | None) -> Seat | None:
        """Where the stream may go now; not to `avoid` if there is a choice."""
        ...

    def taken(self, seat: Seat) -> None:
        """The first of what viewers get has come from there."""
        ...

    def lost(self, seat: Seat, *, silent: bool, home: int = 0) -> None:
        """The worker broke off; `silent`: it is not heard any more. `home`: epoch of the newest
        home of the stream that a worker had seen that refused us."""
        ...

    def over(self) -> None:
        """Nobody wants the stream any more."""
        ...

    def ends(self, within_s: float | None) -> None:
        """The stream is over in so long, as its publisher was lost; None: after all not."""
        ...

    def change(self, *, back: bool = False) -> None:
        """What the stream takes is another now: `reseat` is called once there is room for that,
        `refused` where there is none. `back`: it is what runs, after all; nothing is called."""
        ...

    def spare(self, worker: WorkerSeen) -> Seat | None:
        """If this worker is to be ready for the stream in case that its own one dies."""
        ...


class Idlest:
    """The living worker with the fewest streams."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reseat: Callable[[], None] = lambda: None

    @property
    def why(self) -> str:
        return "" if self._link.workers else "no worker is here"

    @property
    def given_up(self) -> str:
        return ""

    def follow(self, reseat: Callable[[], None], refused: Callable[[str], None]) -> None:
        self._reseat = reseat

    def find(self, avoid: str | None) -> Seat | None:
        worker = self._link.idlest(avoid)
        return None if worker is None else Seat(worker)

    def taken(self, seat: Seat) -> None: ...

    def lost(self, seat: Seat, *, silent: bool, home: int = 0) -> None: ...

    def over(self) -> None: ...

    def ends(self, within_s: float | None) -> None: ...

    def change(self, *, back: bool = False) -> None:
        if not back:
            self._reseat()

    def spare(self, worker: WorkerSeen) -> Seat | None:
        return Seat(worker)
