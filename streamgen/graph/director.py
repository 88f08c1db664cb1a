"""`Director`: what viewers of a live stream see: the governor's decisions made into pictures."""

from __future__ import annotations

from collections.abc import Callable

from streamgen.graph.fallback import retimed
from streamgen.graph.governor import Action, Governor
from streamgen.graph.job import Job
from streamgen.graph.levels import Level, Show
from streamgen.media.frame import Frame
from streamgen.telemetry import Telemetry

Dissolve = Callable[[Frame, Frame, float], Frame]
"""`(before, after, weight)`: a picture between two of one size; 1.0 is `after`."""
Slate = Callable[[Frame], Frame]
"""The picture that stands in for one that must not be shown, of its size and with its times."""


class Director:
    """One live stream's. `judge` on the lane, in frame order; `show` on the consumer's thread."""

    def __init__(
        self,
        governor: Governor,
        telemetry: Telemetry,
        dissolve: Dissolve,
        slate: Slate,
        *,
        rungs: int = 1,
        slate_in_gaps: bool = False,
    ) -> None:
        """`rungs` is how many there are. `slate_in_gaps`: where nothing comes from the publisher
        the slate is shown, else its last picture."""
        self.governor = governor
        self.rests = 0
        """So many rungs, from the top, do not get the picture that `show` gave last."""
        self._rungs = rungs
        self._spares = self._lowest_only = False
        self._telemetry = telemetry
        self._now_ns = telemetry.clock.now_ns
        self._dissolve = dissolve
        self._slate = slate
        self._slate_in_gaps = slate_in_gaps
        self._was_slate = False
        self._every_node = frozenset(governor.nodes)
        self._spared = [one for one in governor.levels if one.show is not Show.SLATE][-1]
        self._last: Frame | None = None
        self._before: Frame | None = None
        self._level = 0
        self._epoch: tuple[int, int, int] | None = None
        self.latest: Job | None = None
        """The newest job that was run; trials use its picture."""

    def give_up(self, *, stages: bool, rungs: bool) -> None:
        """From the next picture on, as others need the room: the `stages`, as far as lateness may
        take them (`live.when_late`) but for a slate; all `rungs` but the lowest. Any thread."""
        self._spares, self._lowest_only = stages, rungs

    def judge(self, job: Job, waiting: int) -> bool:
        """Decide about a picture before work is started on it; True: its nodes are to run."""
        frame = job.frame
        present = (frame.epoch, frame.width, frame.height)
        if present != self._epoch:
            self._epoch = present
            self.governor.forget()
        job.slate = frame.still and self._slate_in_gaps
        if job.slate:
            self._was_slate = True
            return False
        if self._was_slate:
            self._was_slate = False
            self.governor.forget()  # the slate is nothing to show again in place of a picture
        now_ns = self._now_ns()
        if job.owed:  # its latency begins now, and those behind it wait as it did
            frame = job.frame = frame.retimed(received_ns=now_ns)
            waiting = 0
        decision = self.governor.decide(frame.received_ns, now_ns, waiting, owed=job.owed)
        level = self.governor.levels[decision.level]
        job.level, job.fade = decision.level, decision.fade
        job.action = decision.action
        if decision.action is not Action.RUN:
            job.reason = decision.reason
            return False
        spared = self._spared if self._spares else level
        job.skipped = level.skipped | spared.skipped
        job.raw = Show.SOURCE in (level.show, spared.show)
        if level.show is Show.SLATE:
            return False
        self.latest = job
        return True

    def trial(self) -> Job | None:
        """A job that runs the nodes which are left out, to be measured; None: not now."""
        last = self.latest
        if last is None or self._spares or not self.governor.probe(self._now_ns()):
            return None
        job = Job(last.frame, last.number)
        job.shadow = True
        left_out = self._every_node if last.raw else last.skipped
        job.skipped = self._every_node - left_out
        job.params = last.params
        return job

    def show(self, job: Job) -> Frame | None:
        """The picture that leaves for this job; None: it is dropped, for `job.reason`."""
        if job.slate:
            self._last = self._slate(self._resized(job.frame))
            return self._last
        level = self.governor.levels[job.level]
        result = job.result
        if job.action is Action.REUSE:
            if self._last is None:
                return None
            again = retimed(self._last, job.frame)
            assert isinstance(again, Frame)
            self._telemetry.count("reused", "frame")
            return again
        if job.action is Action.DROP:
            return None
        if level.show is Show.SLATE:
            result = self._slate(self._resized(job.frame))
        if result is None:
            return None
        if job.level != self._level:
            self._before, self._level = self._last, job.level
            self._telemetry.count("level", level.name)
        if job.fade < 1.0 and self._before is not None and _alike(self._before, result):
            result = self._dissolve(self._before, result, job.fade)
        elif job.fade >= 1.0:
            self._before = None
        self.rests = self._rungs - 1 if self._lowest_only else self._rests_by(level)
        self._last = result
        return result

    def _rests_by(self, level: Level) -> int:
        return int(not level.top_rung and self._rungs > 1)

    def _resized(self, frame: Frame) -> Frame:
        """The frame's times with the size of what is shown."""
        if self._last is None:
            return frame
        resized = retimed(self._last, frame)
        assert isinstance(resized, Frame)
        return resized


def _alike(one: Frame, other: Frame) -> bool:
    return (one.width, one.height, one.layout) == (other.width, other.height, other.layout)
