"""`Tenure`: a stream's place on a worker, and on the next one when that dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from streamgen.media.packet import Packet
from streamgen_edge.attachment import Attachment
from streamgen_edge.link import Link, WorkerSeen
from streamgen_edge.replacement import Replaced, Replacement
from streamgen_edge.seats import Idlest, Seat, Seating
from streamgen_edge.stills import Stills

NO_WORKER_S = 0.1
"""Between two looks for a worker."""
MOST_DEATHS = 5
"""Workers that may die one after the other within `SOON_S` of getting a stream, before it is taken
for the cause."""
SOON_S = 2.0
WARM_AFTER_S = 3.0
"""The other workers get ready for a stream once it has found its pace."""
ATTACH_S = 60.0
"""A worker that has not compiled its networks by then never will."""
KEYFRAME_S = 1.0
"""Key frames on request are this far apart at least."""
log = logging.getLogger("streamgen.edge.stream")


class Tenant(Replaced, Protocol):
    """The stream, as its tenure sees it."""

    stills: Stills

    def vacated(self, error: str) -> None:
        """The worker has ended the stream; `error` is empty when it was told to."""
        ...


class Tenure:
    """On the loop's thread. Implements `attachment.Owner`."""

    def __init__(
        self, link: Link, number: int, tenant: Tenant, seating: Seating | None = None
    ) -> None:
        """`seating` says which worker it is; default: the idlest one."""
        self.seating: Seating = seating or Idlest(link)
        self.replacement = Replacement(link, number, tenant, self)
        self.seating.follow(self.replacement.begin, self._refused)
        self.seat: Seat | None = None
        self._taken = False
        """Viewers have something from there."""
        self.attachment: Attachment | None = None
        self.took_over_s: list[float] = []
        """From each loss of a worker to the next one's first picture."""
        self.stuck: list[str] = []
        """What did not come back, for each worker that ended because of this stream."""
        self._blamed = False
        self._home = 0
        """Epoch of the newest home that a worker had seen that refused us."""
        self.deaths = 0
        """Workers that died soon after they got the stream, one after the other."""
        self._link = link
        self._number = number
        self._tenant = tenant
        self.term = 0
        self._seeking: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._lost_at: float | None = None
        self._asked_at = 0.0

    @property
    def live(self) -> Attachment | None:
        """The attachment, when packets may go there."""
        attachment = self.attachment
        return attachment if attachment is not None and attachment.live else None

    def warm(self, worker: WorkerSeen) -> None:
        """Let a worker load and compile what the stream would need there."""
        wanted = self._tenant.wanted()
        attachment = self.live
        elsewhere = attachment is not None and attachment.worker is not worker
        spare = self.seating.spare(worker) if elsewhere else None
        if wanted is not None and spare is not None:
            asked, head = wanted
            self._link.say(worker, {**asked, **spare.word, "type": "warm"}, head)

    # Coming and going.

    def seek(self, avoid: str | None = None, *, anew: bool = False) -> None:
        """Ask a worker to take the stream; again soon while there is none.

        `anew` lets go of the present one: what runs there cannot take what comes.
        """
        if anew:
            self.release()
            self._lost_at = time.monotonic()
        self._forget_timers()
        if self.attachment is not None:
            return
        wanted = self._tenant.wanted()
        if wanted is None:
            return
        seat = self.seat = self.seating.find(avoid)
        loop = asyncio.get_running_loop()
        if seat is not None:
            self.term += 1
            self._taken = False
            asked, head = wanted
            self.attachment = Attachment(self._link, seat.worker, self._number, self.term, self)
            if self.attachment.ask({**asked, **seat.word}, head):
                self._deadline = loop.call_later(ATTACH_S, self._too_late)
                return
            self.release()
        self._seeking = loop.call_later(NO_WORKER_S, self.seek)

    def _too_late(self) -> None:
        self.release()
        self._tenant.vacated("no worker could open the stream in time")

    def _forget_timers(self) -> None:
        for timer in (self._seeking, self._deadline):
            if timer is not None:
                timer.cancel()
        self._seeking = self._deadline = None

    def _refused(self, reason: str) -> None:
        if self.attachment is None:
            self._tenant.vacated(reason)
        else:
            self.replacement.unchanged(reason)

    def release(self, *, over: bool = False) -> None:
        """Let go of the worker; `over`: and want none any more."""
        self.replacement.forget()
        if over:
            self.seating.over()
        self._forget_timers()
        self.replacement.asking.forget()
        attachment, self.attachment = self.attachment, None
        if attachment is not None:
            attachment.leave()

    # `attachment.Owner`.

    def attached(self) -> None:
        assert self.attachment is not None
        self._forget_timers()
        if self.attachment.live and self.seat is not None:  # by replacement: it gives pictures
            self._taken = True
            self.seating.taken(self.seat)
        else:
            self.replacement.renewing = False
            self._tenant.seated(self.attachment)
        loop = asyncio.get_running_loop()
        for worker in self._link.workers.values():
            loop.call_later(WARM_AFTER_S, self.warm, worker)
        log.info(
            "%s has the stream",
            self.attachment.worker.name,
            extra=self._tenant.ids | {"worker": self.attachment.worker.name},
        )

    def delivered(self, packet: Packet, received_ns: int) -> None:
        if not self.replacement.lets(packet):
            return
        if not self._taken and self.seat is not None:
            self._taken = True
            self.seating.taken(self.seat)
        self.deliver(packet)
        self.replacement.heard(packet)

    def deliver(self, packet: Packet) -> None:
        """To viewers."""
        viewing = self._tenant.viewing
        before = viewing.frames
        if viewing.put(packet) and packet.track.startswith("video/"):
            self._tenant.stills.shown(packet.pts or 0, time.monotonic_ns())
        if viewing.frames != before:
            self._tenant.ledger.frames_out += 1
            if self._lost_at is not None:
                self.took_over_s.append(time.monotonic() - self._lost_at)
                self._lost_at = None

    def told(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "stats":
                self._tenant.ledger.reported(message["stats"])
                self._tenant.viewing.measure()
            case "params" | "refused_params":
                self.replacement.asking.answered(message)
            case "stuck":
                self.stuck.append(str(message["reason"]))
                self._blamed = True
                extra = self._tenant.ids
                log.error("the stream's worker ends: %s", self.stuck[-1], extra=extra)
            case "home":
                self._home = int(message["home"])
            case "broke" if self.attachment is not None:
                self._tenant.viewing.drop(self.attachment.tracks[message["track"]].name)

    def unsent(self, packet: Packet, reason: str) -> None:
        if packet.track.startswith("video") and not packet.discard:
            self._tenant.ledger.drop(f"link_{reason}")

    def worker_ended(self, error: str) -> None:
        if self.replacement.over():
            return
        self.release()
        self._tenant.vacated(error)

    def worker_lost(self) -> None:
        """The worker died: another one takes the stream, unless the stream kills them all."""
        if self.replacement.over():
            return
        former, seat = self.attachment, self.seat
        self._tenant.telemetry.count("takeovers", "worker_lost")
        self.release()
        if seat is not None:
            silent, home = not self._link.here(seat.worker), self._home
            self.seating.lost(seat, silent=silent, home=home)
        now = self._lost_at = time.monotonic()
        soon = former is None or self._blamed or now - former.began < SOON_S
        self._blamed = False
        self.deaths = self.deaths + 1 if soon else 0
        if self.deaths > MOST_DEATHS:
            self._tenant.vacated("too many workers died of this stream")
            return
        self.seek(None if former is None else former.worker.name)

    # What viewers and operators ask of the worker.

    def request_keyframe(self, reason: str) -> None:
        """A key frame on all rungs, at most one per second."""
        now = time.monotonic()
        if self.live is not None and now - self._asked_at > KEYFRAME_S:
            self._asked_at = now
            self.live.say({"type": "keyframe", "reason": reason})
