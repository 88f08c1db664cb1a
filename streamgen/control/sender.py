"""`Sender`: what one stream of a worker has to say to its edge."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from streamgen.media.credit import Item, Outflow, time_ms
from streamgen.media.envelope import Kind
from streamgen.media.packet import Packet

Say = Callable[[Mapping[str, Any]], None]
"""Queues one control message; any thread."""
_EMPTY = Packet(b"", None, None, 0, Fraction(1), True, "")


class Sender:
    """`deliver.link.Sending` for the session's threads; `take`, `back` and `credit` for the thread
    that owns the sockets, which `wake` makes look.

    `lost(track, reason)` hears of each packet that the edge did not take in time.
    """

    def __init__(
        self,
        stream: int,
        term: int,
        say: Say,
        wake: Callable[[], None],
        lost: Callable[[int, str], None],
    ) -> None:
        self.tracks: list[Mapping[str, Any]] = []
        self._ids = {"stream": stream, "term": term}
        self._say = say
        self._wake = wake
        self._lost = lost
        self._lock = threading.Lock()
        self._outflow: Outflow | None = None
        self._ended = self._gone = False
        self._last: Callable[[bool], None] | None = None

    def tell(self, kind: str, **fields: Any) -> None:
        """A control message about this stream."""
        self._say({"type": kind, **self._ids, **fields})
        self._wake()

    def announce(self, tracks: Sequence[Mapping[str, Any]]) -> None:
        self.tracks = list(tracks)
        videos = frozenset(n for n, track in enumerate(tracks) if track["kind"] == "video")
        self._outflow = Outflow(lambda item, reason: self._lost(item.track, reason), videos=videos)

    def send(self, track: int, packet: Packet) -> None:
        self._put(Item(track, packet, 0, packet.size_bytes, time_ms(packet)))

    def broke(self, track: int) -> None:
        self.tell("broke", track=track)

    def end(self) -> None:
        self._ended = True
        self._put(Item(0, _EMPTY, 0, 0, 0.0, Kind.END))

    def conclude(self, say: Callable[[bool], None]) -> None:
        """Call `say` once all that was put before is on its way, or the edge wants none of it. It
        is told whether the edge gets everything, up to the mark of its end."""
        with self._lock:
            self._last = say
        self._conclude()
        self._wake()

    def let_go(self) -> None:
        """Nothing more leaves."""
        with self._lock:
            self._gone = True
        self._conclude()

    def _conclude(self) -> None:
        with self._lock:
            waits = not self._gone and self._outflow is not None and len(self._outflow) > 0
            last = None if waits else self._last
            if last is not None:
                self._last = None
        if last is not None:
            last(self._ended and not self._gone)

    def _put(self, item: Item) -> None:
        with self._lock:
            if self._outflow is not None:
                self._outflow.put(item, time.monotonic_ns())
        self._wake()

    def take(self, now_ns: int) -> Item | None:
        """What may leave now."""
        with self._lock:
            idle = self._gone or self._outflow is None
            item = None if idle or self._outflow is None else self._outflow.take(now_ns)
        if item is None:
            self._conclude()
        return item

    def back(self, item: Item) -> None:
        """The socket did not take it after all."""
        with self._lock:
            if self._outflow is not None:
                self._outflow.back(item)

    def credit(self, message: Mapping[str, Any]) -> None:
        """The edge has come this far."""
        with self._lock:
            if self._outflow is not None:
                self._outflow.credit(int(message["bytes"]), message["ms"])
