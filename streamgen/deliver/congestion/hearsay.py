"""`Hearsay`: what a viewer's way carries, from receiver reports alone (RFC 3550, 6.4.2), and from
what it says that it could take (REMB).

They come once a second, and say nothing of room: after a while without complaint it is tried. REMB
counts only beside losses or delay: in a viewer's first seconds, and when rates change, it is far
too low.
"""

from __future__ import annotations

from collections import deque

LOSS = 0.10
LATE_MS = 250.0
"""So much above the shortest round trip of the last reports means a queue."""
REPORTS = 30
CALM_US = 8_000_000
BACK_OFF = 0.85


class Hearsay:
    """A `climb.Limit`."""

    def __init__(self) -> None:
        self.bps: int | None = None
        self.congested_us: int | None = None
        self.remb_bps: int | None = None
        self.loss = 0.0
        self._trips: deque[float] = deque(maxlen=REPORTS)
        self._complaints = 0

    def report(self, loss: float, trip_ms: float | None, sending_bps: int, now_us: int) -> None:
        """One receiver report: the part that was lost of late, and the time that our report took
        there and back. Two bad ones in a row count."""
        self.loss = loss
        late = False
        if trip_ms is not None and trip_ms >= 0:
            self._trips.append(trip_ms)
            late = trip_ms > min(self._trips) + LATE_MS
        if not late and loss <= LOSS:
            self._complaints = 0
            if self.congested_us is not None and now_us - self.congested_us > CALM_US:
                self.bps = None
            return
        self._complaints += 1
        if self._complaints < 2:
            return
        self._complaints = 0
        self.congested_us = now_us
        limit = int(sending_bps * BACK_OFF * (1 - loss))
        if self.remb_bps is not None:
            limit = min(limit, self.remb_bps)
        self.bps = limit
