"""A live session in virtual time: arrivals, an inbox of two, one lane, one encoder, a governor."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamgen.graph.governor import Action, Decision, Governor
from streamgen.graph.levels import Show

MS = 1_000_000
S = 1_000_000_000

Cost = Callable[[int], float]
"""Milliseconds that a call takes which begins at this time (ns)."""


@dataclass
class Machine:
    """What each step costs, and everything that happened. `fail`: whether a frame's work fails."""

    governor: Governor
    nodes: Mapping[str, Cost]
    encode: Cost
    fps: float = 30.0
    inbox_depth: int = 2
    encoder_depth: int = 2
    below_top: float = 0.5
    """What the next rung costs, over the top rung."""
    jitter: Callable[[], float] = lambda: 0.0
    """Milliseconds that a packet comes later than its time."""
    arrived: int = 0
    latencies_ms: list[tuple[int, float]] = field(default_factory=list)
    """When a frame left the encoder, and how long it had been inside."""
    decisions: list[tuple[int, int, Decision, float]] = field(default_factory=list)
    """Time, received, decision, and the time that the frame would have needed."""
    overflowed: int = 0
    probes: int = 0
    _events: list[tuple[int, int, Callable[[int], None]]] = field(default_factory=list)
    _inbox: deque[int] = field(default_factory=deque)
    _queue: deque[int] = field(default_factory=deque)
    _lane_busy: bool = False
    _held: int | None = None
    """A picture that the lane cannot hand on: the encoder's queue is full."""
    _encoding: bool = False
    _number: int = 0

    def run(self, seconds: float) -> None:
        for number in range(round(seconds * self.fps)):
            self._at(round((number / self.fps) * S + self.jitter() * MS) + S, self._arrive)
        while self._events:
            now_ns, _, call = heapq.heappop(self._events)
            call(now_ns)

    def _at(self, when_ns: int, call: Callable[[int], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (when_ns, self._number, call))

    def _arrive(self, now_ns: int) -> None:
        self.arrived += 1
        if len(self._inbox) == self.inbox_depth:
            self.governor.overflowed(self._inbox.popleft(), now_ns)
            self.overflowed += 1
        self._inbox.append(now_ns)
        self._lane(now_ns)

    def _lane(self, now_ns: int) -> None:
        while not self._lane_busy and self._held is None:
            if not self._inbox:
                self._probe(now_ns)
                return
            received_ns = self._inbox.popleft()
            governor = self.governor
            decision = governor.decide(received_ns, now_ns, len(self._inbox))
            needed_ns = governor._time_ns(governor.levels[decision.level], now_ns)
            self.decisions.append((now_ns, received_ns, decision, needed_ns))
            if decision.action is Action.REUSE:
                self._hand(received_ns, now_ns)
            elif decision.action is Action.RUN:
                self._work(received_ns, now_ns, decision.level)

    def _work(self, received_ns: int, now_ns: int, index: int) -> None:
        level = self.governor.levels[index]
        running = {
            name: round(cost(now_ns) * MS)
            for name, cost in self.nodes.items()
            if level.show is Show.GRAPH and name not in level.skipped
        }
        self._lane_busy = True

        def done(then_ns: int) -> None:
            self._lane_busy = False
            for name, took_ns in running.items():
                self.governor.took(name, took_ns)
            self._hand(received_ns, then_ns)
            self._lane(then_ns)

        self._at(now_ns + sum(running.values()), done)

    def _probe(self, now_ns: int) -> None:
        if not self.governor.probe(now_ns):
            return
        self.probes += 1
        level = self.governor.levels[self.governor.level]
        running = {
            name: round(cost(now_ns) * MS)
            for name, cost in self.nodes.items()
            if level.show is not Show.GRAPH or name in level.skipped
        }
        self._lane_busy = True

        def done(then_ns: int) -> None:
            self._lane_busy = False
            for name, took_ns in running.items():
                self.governor.took(name, took_ns)
            self._lane(then_ns)

        self._at(now_ns + sum(running.values()), done)

    def _hand(self, received_ns: int, now_ns: int) -> None:
        if len(self._queue) == self.encoder_depth:
            self._held = received_ns
            return
        self.governor.handed(received_ns, now_ns)
        self._queue.append(received_ns)
        self._encoder(now_ns)

    def _encoder(self, now_ns: int) -> None:
        if self._encoding or not self._queue:
            return
        received_ns = self._queue.popleft()
        self._encoding = True
        if self._held is not None:
            held, self._held = self._held, None
            self._hand(held, now_ns)
            self._lane(now_ns)

        def done(then_ns: int) -> None:
            self._encoding = False
            self.governor.finished(received_ns, then_ns)
            self.latencies_ms.append((then_ns, (then_ns - received_ns) / MS))
            self._encoder(then_ns)

        top = self.governor.levels[self.governor.level].top_rung
        share = 1.0 if top else self.below_top
        self._at(now_ns + round(self.encode(now_ns) * share * MS), done)

    def p99_ms(self, since_s: float = 0.0, until_s: float = 1e9) -> float:
        """Of the frames that left the encoder in this span; the source starts at 1 s."""
        span = [ms for at, ms in self.latencies_ms if since_s * S <= at - S < until_s * S]
        return sorted(span)[int(0.99 * len(span))]

    def level_changes(self) -> list[tuple[float, int, int]]:
        """Seconds after the start of the source, old and new level."""
        return [((one.at_ns - S) / S, one.old, one.new) for one in self.governor.changes]
