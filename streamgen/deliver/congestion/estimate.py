"""`Estimate`: what one viewer's way carries, from transport-wide feedback.

Nothing is known at first. A queue that grows, or losses, say how much comes out at the other end,
and that is what the way carries (draft-ietf-rmcat-gcc-02, 5.5 and 6); what is less than it says
nothing against more, and only a probe shows whether there is room.
"""

from __future__ import annotations

from streamgen.deliver.congestion.feedback import REFERENCE_BITS, REFERENCE_TICKS, Feedback
from streamgen.deliver.congestion.losing import Losing
from streamgen.deliver.congestion.queueing import Queueing
from streamgen.deliver.congestion.sent import Sent

BACK_OFF = 0.9
QUEUE_MS = 40.0
"""A queue that stands so long is one."""
SHARP = 0.7
"""Less than this part of what is sent comes out: seen at once. What is nearer must be seen for
longer, for a key frame fills a queue for a moment, too."""
SHARP_US, DULL_US = 60_000, 400_000
LATELY_US = 200_000
DEEP_MS, DEEP_US = 250.0, 2_000_000
"""A queue that does not grow, but stays so long, is one too many: delay counts."""
LOSS, HEAVY_LOSS = 0.10, 0.30
"""Up to the first, losses are mended and say nothing (gcc-02, 6)."""
GROWTH_PER_S = 1.08
TRIP_GROWTH_US = 100
"""With each message: the shortest trip of some time ago need not be so for ever."""
_TICK_US = 250


class Estimate:
    """Times in microseconds: ours of one clock, the viewer's of another."""

    def __init__(self, sent: Sent) -> None:
        self.bps: int | None = None
        """None: no limit is known."""
        self.received_bps = 0
        self.queueing = Queueing()
        self.losing = Losing(sent)
        self.highest = 0
        """Highest number that is known to have come."""
        self.congested_us: int | None = None
        """When the way was last known to be full."""
        self.heard_us: int | None = None
        self._sent = sent
        self._reference: int | None = None
        self._grown_ms = 0.0
        self._told = sent.next
        """Up to here the viewer has spoken of packets."""

    @property
    def loss(self) -> float:
        return self.losing.share()

    @property
    def queue_ms(self) -> float:
        return self.queueing.standing_ms

    def heard(self, feedback: Feedback, now_us: int) -> None:
        """One message, in whatever order they come."""
        sent = self._sent
        first = sent.number(feedback.base)
        if first is None:
            return
        begin_us = self._unwrap(feedback.reference) * REFERENCE_TICKS * _TICK_US
        before_ms = self.queue_ms
        if first > self._told:
            self.queueing.forget()  # a message was lost: it knew of more that came
        self._told = max(self._told, first + len(feedback.arrivals))
        for number, ticks in enumerate(feedback.arrivals, first):
            if number >= sent.next:
                break  # never sent
            if ticks is None:
                sent.miss(number)
                continue
            came_us = begin_us + ticks * _TICK_US
            if sent.arrive(number, came_us):
                self.queueing.add(sent.time_us(number), came_us, sent.size(number))
                self.highest = max(self.highest, number)
        self._grown_ms = self.queue_ms - before_ms
        if self.highest:
            self.losing.judge(self.highest)
            sent.late_us = self.queueing.late_us
            trip_us = now_us - sent.time_us(self.highest)
            sent.trip_us = min(trip_us, sent.trip_us + TRIP_GROWTH_US) if sent.trip_us else trip_us
        self._conclude(now_us)
        self.heard_us = now_us

    def proved(self, bps: int) -> None:
        """A probe has shown that so much gets through."""
        if self.bps is not None:
            self.bps = max(self.bps, bps)

    def backlog_ms(self, paused_us: int, now_us: int) -> float:
        """How long what is on the way takes to come out when nothing was sent since `paused_us`."""
        sent = self._sent
        if not self.bps or not self.highest:
            return 0.0
        first = max(self.highest + 1, sent.oldest)
        octets = sum(sent.size(number) for number in range(first, sent.next))
        left_ms = octets * 8000 * BACK_OFF / self.bps
        if self._grown_ms > self.queue_ms / 10:
            return left_ms
        # A queue that stands and grows no more is full: what came after was dropped.
        return min(left_ms, self.queue_ms - (now_us - paused_us) / 1000)

    def changed(self) -> None:
        """Something else is sent from now on."""
        self.losing.forget()

    def _unwrap(self, reference: int) -> int:
        """The viewer's time in 64 ms without its wraps, every 12 days; above 0 for ever."""
        size = 1 << REFERENCE_BITS
        if self._reference is None or not size // 2 < self._reference < size << 16:
            self._reference = reference + size
        else:
            step = (reference - self._reference) % size
            self._reference += step if step < size // 2 else step - size
        return self._reference

    def _conclude(self, now_us: int) -> None:
        flow = self.queueing.flow()
        if flow is not None:
            self.received_bps = flow.bps
        found = self._queued()
        lost = self._lost()
        limits = [one for one in (found, lost) if one is not None]
        if limits:
            self.congested_us = now_us
            limit = min(limits)
            self.bps = limit if self.bps is None else min(self.bps, limit)
        elif self.bps is not None and self.heard_us is not None and self.queue_ms < QUEUE_MS:
            by = GROWTH_PER_S ** min(1.0, (now_us - self.heard_us) / 1e6)
            self.bps = max(self.bps, min(int(self.bps * by), self.received_bps * 3 // 2))

    def _queued(self) -> int | None:
        """What a queue lets out, where one stands and grows."""
        queueing = self.queueing
        if queueing.standing_ms < QUEUE_MS:
            return None
        busy = queueing.busy_us
        lately = queueing.flow(LATELY_US)
        if lately is not None and lately.stretch > 1 / SHARP and busy >= SHARP_US:
            return int(lately.bps * BACK_OFF)
        flow = queueing.flow()
        if flow is None:
            return None
        dull = flow.stretch > 1.05 and busy >= DULL_US
        deep = queueing.standing_ms > DEEP_MS and busy >= DEEP_US
        return int(flow.bps * BACK_OFF) if dull or deep else None

    def _lost(self) -> int | None:
        """What comes through where more is lost than can be mended."""
        losing = self.losing
        if losing.share(300_000) > HEAVY_LOSS or losing.share(least_us=DULL_US) > LOSS:
            return int(self.received_bps * BACK_OFF) or None
        return None
