"""`Agenda`: what will happen at which time of the virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Step = Callable[[], None]


class Agenda:
    """Things of the same time happen in the order in which they were put in."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._heap: list[tuple[int, int, Step]] = []
        self._number = 0

    def at(self, at_ms: float, step: Step) -> None:
        self._number += 1
        heappush(self._heap, (max(int(at_ms), self.now_ms), self._number, step))

    def after(self, delay_ms: float, step: Step) -> None:
        self.at(self.now_ms + delay_ms, step)

    def every(self, period_ms: int, step: Step) -> None:
        """From now on, without end."""

        def once() -> None:
            step()
            self.after(period_ms, once)

        self.at(self.now_ms, once)

    def run(self, until_ms: int) -> None:
        """All that happens before; the clock jumps from one to the next."""
        while self._heap and self._heap[0][0] < until_ms:
            self.now_ms, _, step = heappop(self._heap)
            step()
        self.now_ms = until_ms
