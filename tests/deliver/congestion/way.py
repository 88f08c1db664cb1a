"""A stream over a simulated way to a viewer that gives feedback as Chromium does: no clock, no
sockets."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterable

from streamgen.deliver.congestion.climb import Climb, Move, Try
from streamgen.deliver.congestion.estimate import Estimate
from streamgen.deliver.congestion.feedback import Feedback, read
from streamgen.deliver.congestion.probe import Probe, Verdict
from streamgen.deliver.congestion.sent import Sent
from streamgen.testing.bottleneck import Bottleneck

TICK_US = 250
EVERY_US = 60_000
MTU = 1240


def told(base: int, reference: int, arrivals: list[int | None], number: int = 0) -> bytes:
    """The message that says so; a packet for each status, of two bits."""
    chunks, times, now = [], b"", 0
    symbols = []
    for one in arrivals:
        if one is None:
            symbols.append(0)
            continue
        step, now = one - now, one
        small = 0 <= step < 256
        symbols.append(1 if small else 2)
        times += step.to_bytes(1, "big") if small else step.to_bytes(2, "big", signed=True)
    for at in range(0, len(symbols), 7):
        some = symbols[at : at + 7] + [0] * (7 - len(symbols[at : at + 7]))
        chunks.append(0xC000 | sum(s << 12 - 2 * i for i, s in enumerate(some)))
    body = struct.pack(f">{len(chunks)}H", *chunks) + times
    body += bytes(-len(body) % 4)
    head = struct.pack(">BBHII", 0x8F, 205, 4 + len(body) // 4, 1, 2)
    times24 = (reference % (1 << 24)) << 8 | number & 0xFF
    return head + struct.pack(">HHI", base & 0xFFFF, len(arrivals), times24) + body


class Viewer:
    """Notes what comes, and tells of it every so often; by a clock of its own."""

    def __init__(self, *, start_us: int = 0, drift: float = 0.0) -> None:
        self._start_us, self._drift = start_us, drift
        self._came: dict[int, int] = {}
        self._next: int | None = None

    def take(self, number: int, now_us: int) -> None:
        self._came[number] = self._start_us + round(now_us * (1 + self._drift))
        if self._next is None:
            self._next = number

    def tell(self) -> bytes | None:
        """Of those since the last time, and of older ones that came late."""
        if not self._came or self._next is None:
            return None
        base, last = min(self._came), max(self._came)
        base = min(base, self._next)
        reference = min(self._came.values()) // 64_000
        arrivals = [
            None
            if number not in self._came
            else (self._came[number] - reference * 64_000) // TICK_US
            for number in range(base, last + 1)
        ]
        self._came.clear()
        self._next = last + 1
        return told(base, reference, arrivals)


class Show:
    """A ladder at 30 pictures per second, played by `Climb` over a `Bottleneck`."""

    def __init__(
        self,
        way: Bottleneck,
        rungs: Iterable[int] = (2_500_000, 900_000, 300_000),
        *,
        viewer: Viewer | None = None,
        feedback_lost: Callable[[int], bool] = lambda number: False,
        adapts: bool = True,
        begin_at: int = 1,
    ) -> None:
        self.way, self.rungs = way, list(rungs)
        self.sent = Sent()
        self.sent.next = begin_at
        self.estimate = Estimate(self.sent)
        self.climb = Climb(0)
        self.rung = 0
        self.moves: list[tuple[float, int, str]] = []
        self.probes = 0
        self.now_us = 0
        self._viewer = viewer or Viewer()
        self._adapts = adapts
        self._feedback_lost = feedback_lost
        self._messages = 0
        self._flying: list[tuple[int, int]] = []
        self._probe: Probe | None = None
        self._tried = 0

    def run(self, seconds: float) -> None:
        end = self.now_us + int(seconds * 1e6)
        while self.now_us < end:
            if self.now_us % 35_000 == 0:
                self._picture()
            if self.now_us % 20_000 == 0:
                self._send(120)
            if self._probe is not None:
                due = self._probe.due(self.now_us)
                while due > 0:
                    self._send(MTU)
                    due -= MTU
            while self._flying and self._flying[0][0] <= self.now_us:
                came_us, number = heapq.heappop(self._flying)
                self._viewer.take(number, came_us)
            if self.now_us % EVERY_US == 0:
                self._tell()
            self.now_us += 5_000

    def _picture(self) -> None:
        number = self.now_us // 35_000
        octets = int(self.rungs[self.rung] * 0.035 / 8 * 0.9)
        if number % 28 == 0:
            octets *= 4  # a key frame
        while octets > 0:
            self._send(min(MTU, octets + 40))
            octets -= MTU

    def _send(self, octets: int) -> None:
        number = self.sent.next
        self.sent.add(octets, self.now_us)
        out = self.way.carry(octets, self.now_us / 1e6)
        if out is not None:
            heapq.heappush(self._flying, (int(out * 1e6), number))

    def _tell(self) -> None:
        message = self._viewer.tell()
        if message is None:
            return
        self._messages += 1
        if self._feedback_lost(self._messages):
            return
        self.hear(read(message))

    def hear(self, feedback: Feedback) -> None:
        self.estimate.heard(feedback, self.now_us)
        if not self._adapts:
            return
        self._do(self.climb.judge(self.rung, self.rungs, self.estimate, self.now_us))
        if self._probe is None:
            return
        verdict = self._probe.judge(self.estimate, self.now_us)
        if verdict is not Verdict.OPEN:
            rate, self._probe = self._probe.rate_bps, None
            if verdict is Verdict.ROOM:
                self.estimate.proved(rate)
                self._do(self.climb.passed(self._tried, self.rungs, self.now_us))
            else:
                bps = self.estimate.bps
                self._do(self.climb.failed(self._tried, self.rungs, bps, self.now_us))

    def _do(self, step: Move | Try | None) -> None:
        if isinstance(step, Move):
            self._probe = None
            self.rung = step.to
            self.estimate.changed()
            self.moves.append((self.now_us / 1e6, step.to, step.reason))
        elif isinstance(step, Try):
            self.probes += 1
            self._tried = step.rung
            self._probe = Probe(step.rate_bps, self.sent, self.now_us)
