"""`Coming`: a stream that is to move opens on its next worker while the present one goes on. So its
networks are loaded and compiled there, and the change itself is short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamgen.media.packet import Packet
from streamgen_edge.attachment import Attachment
from streamgen_edge.link import Link
from streamgen_edge.seats import Seat


class Coming:
    """Implements `attachment.Owner`. `ready` is called once the worker could take the stream,
    `failed` when it could not; both with the seat."""

    def __init__(
        self,
        link: Link,
        number: int,
        term: int,
        seat: Seat,
        ready: Callable[[Seat], None],
        failed: Callable[[Seat], None],
    ) -> None:
        self._seat, self._ready, self._failed = seat, ready, failed
        self._attachment = Attachment(link, seat.worker, number, term, self)

    def ask(self, message: Mapping[str, Any], head: bytes) -> bool:
        return self._attachment.ask({**message, **self._seat.word}, head)

    def leave(self) -> None:
        self._attachment.leave()

    # `attachment.Owner`.

    def attached(self) -> None:
        self._attachment.leave()
        self._ready(self._seat)

    def delivered(self, packet: Packet, received_ns: int) -> None: ...

    def told(self, message: Mapping[str, Any]) -> None: ...

    def unsent(self, packet: Packet, reason: str) -> None: ...

    def worker_ended(self, error: str) -> None:
        self._failed(self._seat)

    def worker_lost(self) -> None:
        self._failed(self._seat)
