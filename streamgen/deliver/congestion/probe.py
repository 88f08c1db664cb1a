"""`Probe`: whether there is room for more, found out with packets that nobody needs."""

from __future__ import annotations

from enum import Enum

from streamgen.deliver.congestion.estimate import QUEUE_MS, Estimate
from streamgen.deliver.congestion.sent import Sent

GLANCE_US, LOOK_US = 80_000, 500_000
"""First for a moment, which costs a viewer without room little; then long enough to be sure."""
ANSWER_US = 1_000_000
"""What was not heard of for so long says no."""
REACHED = 0.93
"""Part of the rate that must have been sent, and have come."""
MOST_LOSS = 0.08
OVERTAKEN_US = 100_000
"""The last packet may come before others of the probe, which are waited for so long."""


class Verdict(Enum):
    OPEN = "open"
    ROOM = "room"
    NO_ROOM = "no room"


class Probe:
    """Sends up to a rate what the stream leaves free, and judges by what is told of it."""

    def __init__(self, rate_bps: int, sent: Sent, now_us: int) -> None:
        self.rate_bps = rate_bps
        self.verdict = Verdict.OPEN
        self.sending = True
        self._sent = sent
        self._long = False
        self._begin(now_us)

    def _begin(self, now_us: int) -> None:
        self.sending = True
        self._began_us = now_us
        self._octets = self._sent.octets
        self._first = self._sent.next
        self._last = 0
        self._heard_us: int | None = None

    def due(self, now_us: int) -> int:
        """Octets to send now; 0 also when enough was sent."""
        if not self.sending:
            return 0
        took = now_us - self._began_us
        if took > (LOOK_US if self._long else GLANCE_US):
            self.sending = False
            self._last = self._sent.next - 1
            self._took_us = took
            return 0
        return max(0, self.rate_bps * took // 8_000_000 - (self._sent.octets - self._octets))

    def judge(self, estimate: Estimate, now_us: int) -> Verdict:
        """After each message, and from time to time without any."""
        if self.verdict is not Verdict.OPEN:
            return self.verdict
        limited = estimate.congested_us is not None and estimate.congested_us >= self._began_us
        if limited or estimate.queue_ms >= QUEUE_MS:
            self._end(Verdict.NO_ROOM)
        elif not self.sending and estimate.highest >= self._last:
            if self._heard_us is None:
                self._heard_us = now_us
            if self._came() < REACHED or estimate.losing.share(LOOK_US) > MOST_LOSS:
                if now_us - self._heard_us >= OVERTAKEN_US:
                    self._end(Verdict.NO_ROOM)
            elif self._long:
                self._end(Verdict.ROOM)
            else:
                self._long = True
                self._begin(now_us)
        elif now_us - self._began_us > LOOK_US + ANSWER_US:
            self._end(Verdict.NO_ROOM)
        return self.verdict

    def _came(self) -> float:
        """Which part of the rate was reached at the other end."""
        sent = self._sent
        first = max(self._first, sent.oldest)
        came = sum(sent.size(n) for n in range(first, self._last + 1) if sent.arrived_us(n) > 0)
        return came * 8_000_000 / self._took_us / self.rate_bps

    def _end(self, verdict: Verdict) -> None:
        self.sending = False
        self.verdict = verdict
