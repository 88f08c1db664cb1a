"""`Breaker`: whether a node that keeps failing is called at all. Decisions only, no threads.

Closed, every frame runs. Open, its fallback is served and nobody waits for it. Half open, it runs
on shadow frames, whose results nobody sees, until some in a row were good.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from streamgen.errors import ConfigError
from streamgen.telemetry import Clock


class State(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Verdict(Enum):
    """What to do with a node for one frame."""

    RUN = "run"
    BYPASS = "bypass"
    """Serve the fallback, do not call it."""
    PROBE = "probe"
    """Serve the fallback, and call it on the same inputs; its result is only judged."""


class Outcome(Enum):
    """How a call ended."""

    OK = "ok"
    FAILED = "failed"
    """It raised, crashed, or gave something wrong."""
    LATE = "late"
    """Its result came too late to be of use."""
    ABSENT = "absent"
    """It was not there to be called: it is being started anew. Speaks neither for nor against."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When to open and to close; the defaults suit a live stream."""

    window: int = 20
    """Calls that are looked back on. One failure in every 50 calls never opens."""
    failures: int = 5
    """Bad ones among them that open."""
    within_ns: int = 30_000_000_000
    """Older calls are forgotten."""
    backoff_ns: int = 250_000_000
    """Rest before the first probe; doubles each time a probe fails, or it opens again soon."""
    longest_backoff_ns: int = 8_000_000_000
    good: int = 3
    """Good probes in a row that close."""
    calm_ns: int = 10_000_000_000
    """Closed for this long, the next rest is the first again."""
    probe_ns: int = 5_000_000_000
    """A probe that nobody heard of again for this long is given up."""

    def __post_init__(self) -> None:
        if not 1 <= self.failures <= self.window or self.good < 1:
            raise ConfigError(
                f"a breaker opens on 1 to {self.window} failures of {self.window} calls, "
                f"got {self.failures}, and closes on 1 or more, got {self.good}"
            )


class Breaker:
    """One node's. `allows` once for every frame, `outcome` once for every call that was made.

    The clock may also be the stream's own time, so that a file gives the same output every time.
    """

    def __init__(self, settings: BreakerSettings, clock: Clock) -> None:
        self.state = State.CLOSED
        self.counts: Counter[str] = Counter()
        """`ok`, `failed`, `late`, `absent`, `bypassed`, `probes`, `opened`."""
        self._settings = settings
        self._clock = clock
        self._calls: deque[tuple[int, bool]] = deque(maxlen=settings.window)
        self._rest_ns = 0
        self._since_ns = 0
        """When it opened, or closed."""
        self._probing_ns: int | None = None
        self._good = 0

    def allows(self) -> Verdict:
        """What to do with this frame."""
        if self.state is State.CLOSED:
            return Verdict.RUN
        now_ns = self._clock.now_ns()
        if self.state is State.OPEN and now_ns - self._since_ns >= self._rest_ns:
            self.state, self._good, self._probing_ns = State.HALF_OPEN, 0, None
        self.counts["bypassed"] += 1
        if self.state is State.HALF_OPEN and not self._waits_for_a_probe(now_ns):
            self._probing_ns = now_ns
            self.counts["probes"] += 1
            return Verdict.PROBE
        return Verdict.BYPASS

    def _waits_for_a_probe(self, now_ns: int) -> bool:
        began_ns = self._probing_ns
        return began_ns is not None and now_ns - began_ns < self._settings.probe_ns

    def outcome(self, outcome: Outcome, *, probe: bool = False) -> None:
        """A call has ended; `probe`: `allows` had said so. Calls from before it opened that end
        later are counted and change nothing."""
        self.counts[outcome.value] += 1
        match self.state:
            case State.CLOSED:
                self._judge(outcome)
            case State.HALF_OPEN if probe:
                self._judge_probe(outcome)
            case State.OPEN | State.HALF_OPEN:
                pass
            case _:
                assert_never(self.state)

    def _judge(self, outcome: Outcome) -> None:
        if outcome is Outcome.ABSENT:
            return
        if outcome is Outcome.OK and not self._calls:
            return  # nothing bad to look back on: good calls alone need no memory
        now_ns = self._clock.now_ns()
        calls = self._calls
        calls.append((now_ns, outcome is not Outcome.OK))
        while calls and (now_ns - calls[0][0] > self._settings.within_ns or not calls[0][1]):
            calls.popleft()
        if sum(bad for _, bad in calls) >= self._settings.failures:
            soon = self._rest_ns and now_ns - self._since_ns < self._settings.calm_ns
            self._open(2 * self._rest_ns if soon else self._settings.backoff_ns)

    def _judge_probe(self, outcome: Outcome) -> None:
        self._probing_ns = None
        if outcome in {Outcome.FAILED, Outcome.LATE}:
            self._open(2 * self._rest_ns)
        elif outcome is Outcome.OK:
            self._good += 1
            if self._good >= self._settings.good:
                self.state, self._since_ns = State.CLOSED, self._clock.now_ns()

    def _open(self, rest_ns: int) -> None:
        self.state, self._since_ns = State.OPEN, self._clock.now_ns()
        self._rest_ns = min(rest_ns, self._settings.longest_backoff_ns)
        self._calls.clear()
        self.counts["opened"] += 1
