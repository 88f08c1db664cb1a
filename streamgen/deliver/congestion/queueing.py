"""`Queueing`: how long packets stand in a queue on the way, and how fast it lets them out.

The delay of a burst is that of its luckiest packet, and what counts is the luckiest of the last
bursts: jitter raises neither, a queue raises both. As in draft-ietf-rmcat-gcc-02 packets
that left together are one group (5.2), but the standing delay above the smallest of the last
seconds takes the place of a filtered gradient: it says also how long it takes to run dry.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

BURST_US = 5_000
"""Packets that left within so long are one group."""
LEAST_STANDING_US, STANDING_US = 15_000, 200_000
STANDING = 8
"""The last bursts: of so many packets, but of no shorter and no longer time. Where there is jitter,
of some times that."""
RATE_US = 500_000
"""What comes out is measured over so long."""
JITTERS, LATES = 64, 256
BASE_US, BASES = 1_500_000, 7
"""The smallest delay is looked for in so many stretches of so long: clocks drift apart by less than
a millisecond meanwhile."""
BUSY_MS = 15.0
"""A queue that stands longer is filled without a break."""


@dataclass(slots=True)
class Burst:
    """Packets that left together, as far as they have come."""

    sent_us: int
    delay_us: int
    arrived_us: int
    """The last of them."""
    octets: int
    packets: int = 1


@dataclass(frozen=True, slots=True)
class Flow:
    """Some bursts in a row."""

    octets: int
    came_us: int
    """From the first to the last, as they came."""
    left_us: int
    """From the first to the last, as they left."""

    @property
    def bps(self) -> int:
        return self.octets * 8_000_000 // self.came_us

    @property
    def stretch(self) -> float:
        """Above 1 a queue grows."""
        return self.came_us / self.left_us


class Queueing:
    def __init__(self) -> None:
        self.standing_ms = 0.0
        self.busy_us = 0
        """How long there has been a queue all the time."""
        self._open: Burst | None = None
        self._bursts: deque[Burst] = deque()
        self._bases: deque[int] = deque(maxlen=BASES)
        self._base_at = 0
        self._busy_since: int | None = None
        self.late_us = 0.0
        """By how much packets are late on the average while nothing stands in a queue."""
        self._jitter_us = 0.0
        """By how much bursts are late while nothing stands in a queue."""

    def add(self, sent_us: int, arrived_us: int, octets: int) -> None:
        """One packet, in the order of sending; of those that came late only the size counts."""
        burst = self._open
        delay = arrived_us - sent_us
        if self._bases and self._busy_since is None:
            self.late_us += (delay - min(self._bases) - self.late_us) / LATES
        if burst is not None and sent_us - burst.sent_us < BURST_US:
            burst.delay_us = min(burst.delay_us, delay)
            burst.arrived_us = max(burst.arrived_us, arrived_us)
            burst.octets += octets
            burst.packets += 1
            return
        if burst is not None:
            self._close(burst)
        self._open = Burst(sent_us, delay, arrived_us, octets)

    def forget(self) -> None:
        """Something came that nobody tells of: only what comes from now on is a flow."""
        self._bursts.clear()

    def _close(self, burst: Burst) -> None:
        bursts = self._bursts
        bursts.append(burst)
        while burst.sent_us - bursts[0].sent_us > 2 * RATE_US:
            bursts.popleft()
        if not self._bases or burst.sent_us - self._base_at > BASE_US:
            self._bases.append(burst.delay_us)
            self._base_at = burst.sent_us
        elif burst.delay_us < self._bases[-1]:
            self._bases[-1] = burst.delay_us
        lucky, since, packets = burst.delay_us, burst.arrived_us, 0
        least_us = max(LEAST_STANDING_US, int(2 * self._jitter_us))
        for one in reversed(bursts):
            age = burst.sent_us - one.sent_us
            if age > STANDING_US or (age > least_us and packets >= STANDING):
                break
            packets += one.packets
            lucky = min(lucky, one.delay_us)
            since = one.arrived_us
        self.standing_ms = (lucky - min(self._bases)) / 1000
        if self.standing_ms < BUSY_MS:
            self._busy_since, self.busy_us = None, 0
            late = burst.delay_us - min(self._bases)
            self._jitter_us += (late - self._jitter_us) / JITTERS
        else:
            if self._busy_since is None:
                self._busy_since = min(since, burst.arrived_us)
            self.busy_us = max(0, burst.arrived_us - self._busy_since)

    def flow(self, most_us: int = RATE_US) -> Flow | None:
        """What came of late; None before there is enough to say."""
        if not self._bursts:
            return None
        end = max(one.arrived_us for one in self._bursts)
        some = [one for one in self._bursts if end - one.arrived_us <= most_us]
        begin = min(one.arrived_us for one in some)
        if end - begin < most_us // 3:
            return None
        # The first burst is where the time begins: what it brought came before.
        octets = sum(one.octets for one in some if one.arrived_us > begin)
        return Flow(octets, end - begin, max(1, some[-1].sent_us - some[0].sent_us))
