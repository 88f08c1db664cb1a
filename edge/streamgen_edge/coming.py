"""`Coming`: a stream that changes over opens on its next worker while the present one goes on. So
its networks are loaded and compiled there, and nobody waits for the change itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from streamgen.ingest.link import VIDEO
from streamgen.media.packet import Packet
from streamgen_edge.attachment import Attachment, Owner
from streamgen_edge.changeover import Changeover
from streamgen_edge.link import Link
from streamgen_edge.seats import Seat

OPEN_S = 60.0
"""A worker that has not loaded the stream's networks by then never will."""


class Viewed(Owner, Protocol):
    """The tenure, as what comes sees it."""

    def deliver(self, packet: Packet) -> None:
        """To viewers."""
        ...


class Waiting(Protocol):
    """The replacement, as what comes sees it."""

    def offer(self) -> None:
        """It could be handed the stream."""
        ...

    def failed(self, coming: Coming, error: str) -> None:
        """It could not take the stream, or not go on with it; `error` is empty when it was lost."""
        ...

    def over(self) -> object:
        """The former worker is not waited for any more."""
        ...


class Coming:
    """Implements `attachment.Owner` until the former worker is left. On the loop's thread."""

    def __init__(
        self,
        link: Link,
        number: int,
        term: int,
        seat: Seat,
        waiting: Waiting,
        tenure: Viewed,
        version: int,
    ) -> None:
        """`version` is of the parameters that it is asked to begin with."""
        self.seat = seat
        self.version = version
        self.ready = False
        """It could be handed the stream."""
        self.changeover: Changeover | None = None
        """Once the stream is being handed over."""
        self.stats: Mapping[str, Any] = {}
        self.broken: list[Mapping[str, Any]] = []
        """Rungs that have broken off there."""
        self.ended = False
        """It has given all that there is: the stream is over."""
        self.attachment = Attachment(link, seat.worker, number, term, self)
        self._waiting, self._tenure = waiting, tenure
        self._deadline = asyncio.get_running_loop().call_later(OPEN_S, self._too_late)

    def ask(self, message: Mapping[str, Any], head: bytes) -> bool:
        return self.attachment.ask({**message, **self.seat.word, "beside": True}, head)

    def begin(self, former: Attachment, cut: int, last: Mapping[str, int]) -> None:
        """It has the GOP so far. What comes goes by the `changeover` from now on."""
        self.attachment.live = True
        self.changeover = Changeover(
            former, self.attachment, cut, last, self._tenure.deliver, self._waiting.over
        )

    @property
    def taking(self) -> bool:
        """It has what the former one has not."""
        return self.changeover is not None and self.changeover.taking

    def leave(self) -> None:
        self._stop()
        self.attachment.leave()

    def succeed(self) -> int:
        """The former worker is over. How many pictures it has that viewers have not."""
        assert self.changeover is not None
        self.changeover.complete()
        self.attachment.belongs_to(self._tenure)
        return self.changeover.given - self.changeover.shown

    def _too_late(self) -> None:
        self.leave()
        self._waiting.failed(self, "no worker could open it in time")

    def _stop(self) -> None:
        self._deadline.cancel()
        if self.changeover is not None:
            self.changeover.stop()

    # `attachment.Owner`.

    def attached(self) -> None:
        self._deadline.cancel()
        self.ready = True
        self._waiting.offer()

    def delivered(self, packet: Packet, received_ns: int) -> None:
        if self.changeover is not None:
            self.changeover.follow(packet)

    def told(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "stats":
                self.stats = message["stats"]
            case "broke":
                self.broken.append(message)

    def unsent(self, packet: Packet, reason: str) -> None:
        if self.changeover is not None and packet.track == VIDEO and not packet.discard:
            self.changeover.given -= 1
            self._tenure.unsent(packet, reason)

    def worker_ended(self, error: str) -> None:
        if not error:  # it was told that nothing more comes
            self.ended = True
            return
        self._stop()
        self._waiting.failed(self, error)

    def worker_lost(self) -> None:
        self._stop()
        self._waiting.failed(self, "")
