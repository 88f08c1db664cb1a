"""`ClusterSeats`: an edge's wire to the coordinators: what its streams want, and which worker they
get. While no coordinator leads, what runs goes on, and what has no worker waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from streamgen.control.coordinator.commands import Assign, Change, Move, Refuse, Wait
from streamgen.control.coordinator.directory import EdgeLeft, EdgeRegistered
from streamgen.control.coordinator.events import (
    StreamAttached,
    StreamChanged,
    StreamEnds,
    StreamLost,
    StreamReleased,
    StreamWanted,
)
from streamgen.control.coordinator.messages import FromCoordinator, ToCoordinator
from streamgen.control.holdings import written
from streamgen.control.placement.resources import Cut
from streamgen.control.placement.scheduler import Work
from streamgen_edge.link import Link, WorkerSeen
from streamgen_edge.seats import Seat

PATIENCE_MS = 20_000
"""How long a stream waits for room; for each leader anew."""
CONNECTED_S = 0.05
"""Between two looks whether a worker has come that was told to."""
ANSWER_S = 2.0
"""A coordinator that says nothing to another pipeline for so long is not waited for."""
SPARES = 2
"""Workers that are kept ready for a stream, beside its own."""
log = logging.getLogger("streamgen.edge.cluster")
Say = Callable[[ToCoordinator], None]


class Claim:
    """One stream's; implements `seats.Seating`."""

    def __init__(
        self, name: str, work: Callable[[], Work], seats: ClusterSeats, former: Claim | None
    ) -> None:
        """A session goes on where a `former` one of the same name ends, by the same word."""
        self.name = name
        self.grant: Assign | None = None if former is None else former.grant
        """The newest word; its worker may not be here yet."""
        self._shown: Assign | None = None
        """The word by which viewers get pictures."""
        self._lost = 0
        """Epoch that broke off last."""
        self._work: Work | None = None if former is None else former._work
        self._former: Work | None = None
        """What was asked for before, while the coordinator is to say whether it may change."""
        self._answer: asyncio.TimerHandle | None = None
        self._described, self._seats = work, seats
        self._why = ""
        self._room_ms: int | None = None
        """When there is room for what it waits for, as far as the coordinator knows."""
        self._ends_ms: int | None = None if former is None else former._ends_ms
        self._coming: asyncio.TimerHandle | None = None
        self._reseat: Callable[[], None] = lambda: None
        self._refused: Callable[[str], None] = lambda reason: None

    # `seats.Seating`.

    @property
    def why(self) -> str:
        if self._why and not self._seats.led:
            return f"no coordinator leads; {self._why}"
        return self._why and self._why + expected(self._room_ms, self._seats.now_ms())

    @property
    def given_up(self) -> str:
        cut = Cut.NOTHING if self.grant is None else self.grant.cut
        return cut.name.lower() if cut else ""

    def follow(self, reseat: Callable[[], None], refused: Callable[[str], None]) -> None:
        self._reseat, self._refused = reseat, refused

    def find(self, avoid: str | None) -> Seat | None:
        if self._work is None:
            self._work = self._described()
            self._why = "it waits for the coordinator's word"
            for event in self.wanted:
                self._seats.say(event)
        grant = self.grant
        worker = None if grant is None else self._seats.worker(grant.node)
        if grant is None or worker is None:
            return None
        self._why = ""
        word = {"grant": written(grant), "home": self._seats.home(self.name)}
        return Seat(worker, word, grant.epoch)

    def taken(self, seat: Seat) -> None:
        if self.grant is not None and self.grant.epoch == seat.epoch:
            self._shown = self.grant
        self._seats.say(StreamAttached(self.name, seat.worker.name, seat.epoch))

    def lost(self, seat: Seat, *, silent: bool, home: int = 0) -> None:
        node = seat.worker.name
        if home:
            self._seats.outdone(self.name, home)
        if not silent and not self._seats.led:
            log.info("%s broke stream %s off: asked again, while nobody leads", node, self.name)
            return
        reason = f"{node} is silent" if silent else f"{node} broke it off"
        if self._shown is not None and self._shown.epoch == seat.epoch:
            self._shown = None
        if self.grant is not None and self.grant.epoch == seat.epoch:
            self.grant = self._shown  # it goes on there, if it was only to move
        self._lost = seat.epoch
        if self._shown is None:
            self._why, self._room_ms = f"it waits for another worker: {reason}", None
        self._seats.say(StreamLost(self.name, seat.epoch, reason, silent))

    def over(self) -> None:
        self._forget_timer()
        self._decided()
        self._seats.forget(self)

    def ends(self, within_s: float | None) -> None:
        before = self._ends_ms
        self._ends_ms = None
        if within_s is not None:
            self._ends_ms = self._seats.now_ms() + round(within_s * 1000)
        if self._work is not None and self._ends_ms != before:
            self._seats.say(StreamEnds(self.name, self._ends_ms))

    def change(self, *, back: bool = False) -> None:
        if self._work is None:
            return  # nothing was asked for yet
        former, self._work = self._work, self._described()
        asks = self._work != former and self._seats.led
        if asks:
            self._seats.say(StreamChanged(self._work))
        if back:
            self._decided()
            if self.grant is not None:
                self.grant = replace(self.grant, work=self._work)
        elif not asks:
            self._renew()
        else:
            self._former = self._former or former
            self._answer = asyncio.get_running_loop().call_later(ANSWER_S, self._renew)

    def spare(self, worker: WorkerSeen) -> Seat | None:
        grant = self.grant
        if grant is None or worker.name not in self._seats.spares(grant.node):
            return None
        return Seat(worker, {"models": sorted(grant.work.profile.models)})

    # What coordinators say.

    def heard(self, command: Assign | Change | Wait | Refuse) -> None:
        match command:
            case Assign():
                self._granted(command)
            case Change():
                self._changed(command)
            case Wait():
                self._why = f"it waits for room: {command.reason}"
                self._room_ms = command.earliest_ms
                log.warning("stream %s waits for room: %s", self.name, command.reason)
            case Refuse():
                until = expected(command.earliest_ms, self._seats.now_ms())
                self._refuse(command.reason + until)

    def _granted(self, grant: Assign) -> None:
        """Its next worker, which may have to come yet; a word that is said again is no other."""
        newest = 0 if self.grant is None else self.grant.epoch
        if grant.epoch == self._lost:  # that was not heard
            self._seats.say(StreamLost(self.name, grant.epoch, "it broke off"))
        elif grant.epoch > newest:
            self.grant = grant
            if self._work is not None and grant.work.alike(self._work):
                self._decided()
            self._change_over()

    def _changed(self, command: Change) -> None:
        """It goes on where it is, with another pipeline, or with more or less given up."""
        if self.grant is None or self.grant.epoch != command.epoch:
            return
        self.grant = replace(self.grant, work=command.work, cut=command.cut)
        if self._former is None or self._work is None:
            return
        if command.work.alike(self._work):
            self._renew()

    def _renew(self) -> None:
        """By the coordinator's word, or as nobody leads."""
        self._decided()
        grant, work = self.grant, self._work
        if grant is not None and work is not None and not grant.work.alike(work):
            self.grant = replace(grant, work=work)
        self._reseat()

    def _decided(self) -> None:
        self._former = None
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def _change_over(self) -> None:
        """As soon as the worker is here: until then the former one goes on, if it lives."""
        self._forget_timer()
        grant = self.grant
        if grant is None:
            return
        if self._seats.worker(grant.node) is not None:
            self._reseat()
            return
        self._why, self._room_ms = f"{grant.node} is to have it, and is not here yet", None
        later = asyncio.get_running_loop().call_later
        self._coming = later(CONNECTED_S, self._change_over)

    def _refuse(self, reason: str) -> None:
        if self._former is not None:  # it was asked to change, and cannot
            self._work = self._former
            self._decided()
            self._refused(f"no room for it: {reason}")
        elif self._shown:
            log.warning("stream %s goes on as it was: %s", self.name, reason)
        else:
            self.grant = self._work = None
            self._refused(f"no room for the stream: {reason}")

    @property
    def wanted(self) -> tuple[StreamWanted | StreamEnds, ...]:
        """What was asked for, if anything was."""
        if self._work is None:
            return ()
        ends = () if self._ends_ms is None else (StreamEnds(self.name, self._ends_ms),)
        return (self._wanted(self._work), *ends)

    def _wanted(self, work: Work) -> StreamWanted:
        shown = 0 if self._shown is None else self._shown.epoch
        return StreamWanted(work, self._seats.now_ms() + PATIENCE_MS, shown)

    def _forget_timer(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None


def expected(at_ms: int | None, now_ms: int) -> str:
    """To be said after why there is no room; empty: it is not known when there will be any."""
    if at_ms is None:
        return ""
    return f"; room is expected in {wait_s(at_ms, now_ms)} s"


def wait_s(at_ms: int, now_ms: int) -> int:
    """Whole seconds, and one at least."""
    return max(1, -(-(at_ms - now_ms) // 1000))


class ClusterSeats:
    """On the edge's loop. `say`, `led` and `now_ms` are the peer's, once there is one."""

    def __init__(self, link: Link, registered: EdgeRegistered) -> None:
        self.say: Say = lambda event: None
        self.leads: Callable[[], int | None] = lambda: None
        self.now_ms: Callable[[], int] = lambda: 0
        self.home: Callable[[str], int] = lambda name: 0
        """Epoch by which a stream is at this edge; 0: nobody has said."""
        self.outdone: Callable[[str, int], None] = lambda name, epoch: None
        """A worker has seen a home of a stream, by this epoch."""
        self._link = link
        self._registered = registered
        self._claims: dict[str, Claim] = {}

    @property
    def led(self) -> bool:
        return self.leads() is not None

    def of(self, name: str, work: Callable[[], Work]) -> Claim:
        """A stream's seating; `work` is what it takes, asked once a worker is sought."""
        claim = self._claims[name] = Claim(name, work, self, self._claims.get(name))
        return claim

    def forget(self, claim: Claim) -> None:
        if self._claims.get(claim.name) is claim:
            del self._claims[claim.name]
            if claim.wanted:
                self.say(StreamReleased(claim.name))

    def want_again(self, name: str) -> None:
        """Its home is here by a newer word: what was said before that may not have counted."""
        claim = self._claims.get(name)
        for event in () if claim is None else claim.wanted:
            self.say(event)

    def worker(self, node: str) -> WorkerSeen | None:
        return self._link.workers.get(node)

    def spares(self, but: str) -> list[str]:
        return sorted(name for name in self._link.workers if name != but)[:SPARES]

    # `Peer`.

    def hello(self) -> tuple[ToCoordinator, ...]:
        return (self._registered, *(one for claim in self._claims.values() for one in claim.wanted))

    def goodbye(self) -> None:
        self.say(EdgeLeft(self._registered.edge))

    def heard(self, command: FromCoordinator) -> None:
        match command:
            case Move():
                owner = command.work, command.node, command.epoch, command.token, command.cut
                self.heard(Assign(*owner))
            case Assign() | Change():
                self._pass_on(command.work.name, command)
            case Wait() | Refuse():
                self._pass_on(command.stream, command)
            case _:  # to nodes
                pass

    def _pass_on(self, stream: str, command: Assign | Change | Wait | Refuse) -> None:
        claim = self._claims.get(stream)
        if claim is not None:
            claim.heard(command)
