"""`Losing`: the share of packets that did not come, of those that the viewer spoke of."""

from __future__ import annotations

from collections import deque

from streamgen.deliver.congestion.sent import ABSENT, UNKNOWN, Sent

LATE_US = 100_000
"""One that is overtaken by packets that left so much later is lost."""
WINDOW_US = 1_000_000
STEP_US = 50_000


class Losing:
    """Each packet is judged once, soon after those about it have come."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._judged = sent.next
        self._steps: deque[list[int]] = deque()
        """Time, packets, and lost ones."""

    def judge(self, highest: int) -> None:
        """All that left well before the highest number that has come."""
        sent, steps = self._sent, self._steps
        now = sent.time_us(highest)
        number = max(self._judged, sent.oldest)
        while number < highest:
            left = sent.time_us(number)
            if now - left < LATE_US:
                break
            if not steps or left - steps[-1][0] >= STEP_US:
                steps.append([left, 0, 0])
            steps[-1][1] += sent.arrived_us(number) != UNKNOWN
            steps[-1][2] += sent.arrived_us(number) == ABSENT
            number += 1
        self._judged = number
        while steps and now - steps[0][0] > WINDOW_US + LATE_US:
            steps.popleft()

    def forget(self) -> None:
        """What was lost until now says nothing of what is sent from now on."""
        self._judged = self._sent.next
        self._steps.clear()

    def share(self, most_us: int = WINDOW_US, least: int = 20, least_us: int = 0) -> float:
        """Of those that left within so long; 0 where they are too few to say, or left within less
        than `least_us`."""
        if not self._steps:
            return 0.0
        end = self._steps[-1][0]
        if end - self._steps[0][0] < least_us:
            return 0.0
        some = [step for step in self._steps if end - step[0] <= most_us]
        packets = sum(step[1] for step in some)
        return sum(step[2] for step in some) / packets if packets >= least else 0.0
