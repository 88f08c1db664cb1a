"""`Adapting`: one viewer gets the rung that its way carries.

Transport-wide feedback is heard where the client gives it, receiver reports and REMB else. What is
decided is decided in `streamgen.deliver.congestion`; here it is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from streamgen.deliver.congestion.climb import Climb, Limit, Move, Try
from streamgen.deliver.congestion.estimate import Estimate
from streamgen.deliver.congestion.feedback import BadFeedback, read
from streamgen.deliver.congestion.hearsay import Hearsay
from streamgen.deliver.congestion.probe import Probe, Verdict
from streamgen.deliver.congestion.sent import Sent

PAD_S = 0.005
SHORT_MS = 100.0
"""A queue that is no longer takes a key frame; it is not there at once, either."""
LEAST_WAIT_US, MOST_WAIT_S = 100_000, 0.5
"""For a queue to become so short before another rung begins; the estimate becomes better, too."""


class Player(Protocol):
    """The viewer."""

    @property
    def rung(self) -> str: ...

    def change(self, rung: str) -> None:
        """This one is its rung now; `resume` begins with it."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def pad(self, octets: int) -> None: ...


class Adapting:
    """On the loop's thread. `rungs` are those it may have, the largest first."""

    def __init__(
        self,
        player: Player,
        rungs: Sequence[str],
        needs: Callable[[str], int | None],
        switched: Callable[[str], None],
    ) -> None:
        """`needs` tells what a rung takes with the sound, None while it is not there; `switched`
        hears of the reason for each change."""
        self.switches: Counter[str] = Counter()
        self.hearsay = Hearsay()
        self.estimate: Estimate | None = None
        self._player = player
        self._rungs = list(rungs)
        self._needs = needs
        self._switched = switched
        self._climb = Climb(_now_us())
        self._sent: Sent | None = None
        self._probe: Probe | None = None
        self._tried = 0
        self._pad: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._paused_us = 0

    def follow(self, sent: Sent) -> None:
        """Packets are numbered, and feedback on them may come."""
        self._sent, self.estimate = sent, Estimate(sent)

    @property
    def _limit(self) -> Limit:
        estimate = self.estimate
        return self.hearsay if estimate is None or estimate.heard_us is None else estimate

    def told(self, message: bytes) -> None:
        """Transport-wide feedback."""
        if self.estimate is None:
            return
        try:
            feedback = read(message)
        except BadFeedback:
            return
        self.estimate.heard(feedback, _now_us())
        self.judge()
        self._look_for_room()

    def reported(self, loss: float, trip_ms: float | None) -> None:
        """A receiver report on the pictures."""
        sending = self._needs(self._player.rung)
        if sending is not None:
            self.hearsay.report(loss, trip_ms, sending, _now_us())

    def judge(self) -> None:
        """After each message, and twice a second in any case."""
        if len(self._rungs) < 2 or self._player.rung not in self._rungs:
            return
        now = _now_us()
        needs = [self._needs(rung) for rung in self._rungs]
        at = self._rungs.index(self._player.rung)
        self._do(self._climb.judge(at, needs, self._limit, now))
        if self._probe is not None and self.estimate is not None:
            verdict = self._probe.judge(self.estimate, now)
            if verdict is Verdict.OPEN:
                self._fill()
                return
            rate, self._probe = self._probe.rate_bps, None
            if verdict is Verdict.ROOM:
                self.estimate.proved(rate)
                self._do(self._climb.passed(self._tried, needs, now))
            else:
                self._do(self._climb.failed(self._tried, needs, self.estimate.bps, now))

    def _do(self, step: Move | Try | None) -> None:
        if isinstance(step, Move):
            self._probe = None
            self.switches[step.reason] += 1
            self._switched(step.reason)
            self._change(self._rungs[step.to], step.at_once)
        elif isinstance(step, Try) and self._probe is None:
            self._try(step)

    def _change(self, rung: str, at_once: bool) -> None:
        if self.estimate is not None:
            self.estimate.changed()
        self._player.change(rung)
        if at_once:
            self._player.pause()
            loop = asyncio.get_running_loop()
            if self._waiting is None:
                self._paused_us = _now_us()
                self._waiting = loop.call_later(MOST_WAIT_S, self._resume)
        else:
            self._resume()

    def _look_for_room(self) -> None:
        """Begin with a rung as soon as its key frame does not find the queue full."""
        if self._waiting is None or self.estimate is None:
            return
        now = _now_us()
        left_ms = self.estimate.backlog_ms(self._paused_us, now)
        if now - self._paused_us > LEAST_WAIT_US and left_ms <= SHORT_MS:
            self._resume()

    def _resume(self) -> None:
        self._stop_waiting()
        self._player.resume()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _try(self, step: Try) -> None:
        self._tried = step.rung
        if self._sent is None or self._limit is not self.estimate:
            # Nobody would tell what came of a probe: the rung itself is the probe.
            needs = [self._needs(rung) for rung in self._rungs]
            self._do(self._climb.passed(step.rung, needs, _now_us()))
            return
        self._probe = Probe(step.rate_bps, self._sent, _now_us())
        self._fill()

    def _fill(self) -> None:
        """What a probe is due, every few milliseconds while it sends."""
        if self._pad is None and self._probe is not None and self._probe.sending:
            self._pad = asyncio.get_running_loop().call_later(PAD_S, self._filled)

    def _filled(self) -> None:
        self._pad = None
        if self._probe is not None:
            octets = self._probe.due(_now_us())
            if octets:
                self._player.pad(octets)
            self._fill()

    def stop(self) -> None:
        self._probe = None
        self._stop_waiting()
        if self._pad is not None:
            self._pad.cancel()
            self._pad = None

    def facts(self) -> dict[str, Any]:
        """For who looks at the stream."""
        limit, estimate = self._limit, self.estimate
        heard = estimate is not None and limit is estimate
        return {
            "rung": self._player.rung.removeprefix("video/"),
            "adapts": len(self._rungs) > 1,
            "by": "transport-cc" if heard else "reports",
            "estimate_bps": limit.bps,
            "received_bps": estimate.received_bps if heard and estimate is not None else None,
            "queue_ms": round(estimate.queue_ms) if heard and estimate is not None else None,
            "loss": round(
                estimate.loss if heard and estimate is not None else self.hearsay.loss, 3
            ),
            "switches": dict(self.switches),
        }


def _now_us() -> int:
    return time.monotonic_ns() // 1000
