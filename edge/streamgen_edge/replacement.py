"""`Replacement`: how a stream gets another worker, or another pipeline, while it runs: what runs
goes on until the next attachment has its networks, and then up to one picture."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from streamgen.ingest.link import Description
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.asking import Asking, params
from streamgen_edge.attachment import Attachment
from streamgen_edge.coming import Coming, Viewed
from streamgen_edge.ledger import Ledger
from streamgen_edge.link import Link
from streamgen_edge.seats import Seat, Seating
from streamgen_edge.viewing import Viewing

AGAIN_S = 0.1
"""After the death of a worker on which it was to open."""
MOST_TRIES = 5
FIXED = ("ladder", "keyframe_interval", "audio")
"""Of a pipeline: what a running session cannot change, as its tracks never do."""
Recipe = tuple[dict[str, Any], dict[str, dict[str, Any]]]
"""A pipeline, and the parameters that were set while it ran."""
log = logging.getLogger("streamgen.edge.stream")


def kept(present: dict[str, Any], pipeline: dict[str, Any]) -> dict[str, Any]:
    """Another pipeline for a session that runs."""
    fixed = {key: value for key, value in present.items() if key in FIXED}
    return {key: value for key, value in pipeline.items() if key not in FIXED} | fixed


class Replaced(Protocol):
    """The stream, as its replacement sees it."""

    viewing: Viewing
    ledger: Ledger
    telemetry: Telemetry
    pipeline: dict[str, Any]
    params: dict[str, dict[str, Any]]
    version: int
    error: str
    changed: Callable[[], None]

    def wanted(self) -> tuple[Mapping[str, Any], bytes] | None:
        """What to ask of a worker, and the head; None: nothing now."""
        ...

    def seated(self, attachment: Attachment, *, beside: bool = False) -> int | None:
        """A worker is ready for packets. `beside` the present one: the time of the first picture
        that is its own; None: not now."""
        ...

    @property
    def ids(self) -> dict[str, str]: ...


class Holder(Viewed, Protocol):
    """The stream's tenure."""

    attachment: Attachment | None
    seat: Seat | None
    seating: Seating
    term: int

    @property
    def live(self) -> Attachment | None: ...

    def seek(self, avoid: str | None = None, *, anew: bool = False) -> None: ...


class Replacement:
    """Of one stream. Implements `coming.Waiting`. On the loop's thread."""

    def __init__(self, link: Link, number: int, tenant: Replaced, holder: Holder) -> None:
        self.asking = Asking()
        self.renewing = False
        """What runs is of another pipeline than what is wanted."""
        self._link, self._number = link, number
        self._tenant, self._holder = tenant, holder
        self._coming: Coming | None = None
        self._again = False
        """Something else is wanted by now than what comes."""
        self._tries = 0
        self._before: Recipe = ({}, {})
        """What runs, while something else is wanted."""

    def renew(self, before: Recipe) -> None:
        """Another pipeline is wanted: it is opened once there is room for it."""
        if not self.renewing:
            self.renewing, self._before = True, before
        self._tries = 0
        self._holder.seating.change()

    def begin(self) -> None:
        """Open the stream on the next worker. What runs goes on until that is ready."""
        holder = self._holder
        if holder.live is None:
            holder.seek(anew=holder.attachment is not None)
            return
        if self._coming is not None and self._coming.taking:
            self._again = True
            return
        self.forget()
        wanted, seat = self._tenant.wanted(), holder.seating.find(None)
        if wanted is None or seat is None:
            return
        holder.term += 1
        version = self._tenant.version
        link, number, term = self._link, self._number, holder.term
        self._coming = Coming(link, number, term, seat, self, holder, version)
        if not self._coming.ask(*wanted):
            self._coming.leave()
            self.failed(self._coming, "")

    def forget(self) -> None:
        """Nothing comes any more."""
        coming, self._coming = self._coming, None
        self._again = False
        if coming is not None:
            coming.leave()

    def offer(self) -> None:
        """Hand the stream over to the next worker, if that is ready and it can be done now."""
        coming, live = self._coming, self._holder.live
        if coming is None or not coming.ready or coming.changeover is not None or live is None:
            return
        cut = self._tenant.seated(coming.attachment, beside=True)
        if cut is None:
            return
        if coming.version != self._tenant.version:
            for node, values in self._tenant.params.items():
                coming.attachment.say(params(node, values))
        coming.begin(live, cut, self._tenant.viewing.last)

    def send(self, packet: Packet, received_ns: int, sound: Description | None = None) -> None:
        """One packet of the publisher to all that can make use of it."""
        coming, live = self._coming, self._holder.live
        if coming is not None and coming.changeover is not None:
            coming.changeover.send(packet, received_ns, sound)
        elif live is not None:
            live.send(packet, received_ns, sound)
            self.offer()

    def finish(self) -> bool:
        """Nothing more comes: the workers give what is inside. False: there is none."""
        coming, live = self._coming, self._holder.live
        if live is None:
            return False
        if coming is not None and coming.changeover is not None and coming.taking:
            coming.changeover.finish()
            coming.attachment.finish()
        else:
            self.forget()
            live.finish()
        return True

    async def change(
        self, node: str, values: Mapping[str, Any], over: str
    ) -> tuple[int | None, list[int] | None]:
        """As `Asking.change`; nothing is known of a picture while the pipeline changes."""
        coming, live = self._coming, self._holder.live
        if coming is not None and coming.changeover is not None:
            coming.attachment.say(params(node, values, over))
        if self.renewing or live is None:
            return None, None
        return await self.asking.change(live, node, values, over)

    # What the former worker gives, and its end.

    def lets(self, packet: Packet) -> bool:
        """Whether this one of the present worker's is for viewers."""
        changeover = None if self._coming is None else self._coming.changeover
        return changeover is None or changeover.lets(packet)

    def heard(self, packet: Packet) -> None:
        """Viewers have this one of the present worker's."""
        if self._coming is not None and self._coming.changeover is not None:
            self._coming.changeover.heard(packet)

    def over(self) -> bool:
        """The present worker is done, or not waited for. Whether all that was its own had been
        given to it: then the next one has the stream now."""
        coming, holder = self._coming, self._holder
        if coming is None or coming.changeover is None or not coming.changeover.finishing:
            return False
        self._coming = None
        if holder.attachment is not None:
            holder.attachment.leave()
        self.asking.forget()
        holder.attachment, holder.seat = coming.attachment, coming.seat
        self._account(coming.succeed(), coming.stats)
        for message in coming.broken:
            holder.told(message)
        self.renewing = False
        holder.attached()
        if coming.ended:
            holder.worker_ended("")
        elif self._again:
            self._again = False
            self.begin()
        return True

    def _account(self, owed: int, stats: Mapping[str, Any]) -> None:
        self._tenant.telemetry.count("takeovers", "done")
        self._tenant.ledger.close("changed_over", owed)
        if stats:
            self._tenant.ledger.reported(stats)

    # Of what comes.

    def failed(self, coming: Coming, error: str) -> None:
        self._coming = None
        holder, seat = self._holder, coming.seat
        if coming.taking:  # some pictures went there only: it is a takeover as any
            if holder.attachment is not None:
                holder.attachment.leave()
            holder.attachment, holder.seat = None, seat
            holder.worker_lost()
        elif holder.seat is not None and holder.seat.epoch != seat.epoch:
            holder.seating.lost(seat, silent=not self._link.here(seat.worker))
        elif self.renewing and not error and self._tries < MOST_TRIES:
            self._tries += 1
            asyncio.get_running_loop().call_later(AGAIN_S, self._try_again)
        elif self.renewing:
            self.unchanged(error or "the workers on which it was to open died")

    def unchanged(self, reason: str) -> None:
        """The pipeline that was wanted cannot be had."""
        taking = self._coming is not None and self._coming.taking
        if self.renewing and not taking:
            self.forget()
            self.renewing = False
            tenant = self._tenant
            log.error("the stream goes on as it was: %s", reason, extra=tenant.ids)
            tenant.pipeline, tenant.params = self._before
            tenant.version += 1
            tenant.error = reason
            tenant.changed()
            self._holder.seating.change(back=True)

    def _try_again(self) -> None:
        if self.renewing and self._coming is None:
            self.begin()
