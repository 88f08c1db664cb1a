"""`Governor`: what a live stream does about a frame when time is short. Decisions only.

It spends a latency budget, steadily. A single frame may repeat the last result; everything else is
a level, held for at least two seconds: a picture that flashes between painted and raw is worse
than one that stays raw for a while. Where the work is skipped, its cost is probed.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from streamgen.graph.estimate import WINDOW_NS, Estimate, Recent
from streamgen.graph.levels import Level, Show, levels
from streamgen.graph.spec import Answer


class Action(Enum):
    """What to do with one frame."""

    RUN = "run"
    """Do the work that its level asks for."""
    REUSE = "reuse"
    """Show the last result again, at this frame's time."""
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """About one frame."""

    action: Action
    level: int
    """Index in `Governor.levels`."""
    fade: float
    """Weight of this level's picture over the last one shown before it: rises from 0 to 1 within
    250 ms of a change, and then stays 1."""
    reason: str
    """`in time`, `late` (it could not be ready in time), `behind` (newer ones would be lost)."""


@dataclass(frozen=True, slots=True)
class LevelChange:
    """When and why the level changed."""

    at_ns: int
    old: int
    new: int
    reason: str
    """`short of time` or `head-room`."""


@dataclass(slots=True)
class _Begun:
    """A frame whose nodes were started."""

    received_ns: int
    at_ns: int
    spent_ns: int = 0
    """By its nodes so far."""


HOLD_NS = 2_000_000_000
FADE_NS = 250_000_000
PROBE_NS = 200_000_000
"""Distance of probes."""
_PROBED = 0.7
"""Share of the budget that a frame which waits for a probe may need; else probes are rare."""
_RARE_PROBE_NS = 1_000_000_000
_RAREST_PROBE_NS = 5_000_000_000
_LONGEST_PATIENCE_NS = 30_000_000_000
_CALM_NS = 10_000_000_000
_ROOM = 0.8
"""Share of the budget, and of the time between frames, that work may fill to be taken up again."""
_AMPLE = 0.5
_MOST_CALLS = 0.75
"""Share of the calls that must leave this room: one that was held up by chance is forgiven."""
_REUSED = 1 / 3
"""More frames than this repeated or lost, over two seconds: reuse is not enough."""
_LOST = 1 / 10
_FEWEST_PROBES = 5
_SILENT_NS = 200_000_000
"""What runs for every frame was slow, then not called for this long: it may be fast again."""
_MOST_BEGUN = 8
_MOST_HANDED = 256


class Governor:
    """One stream's.

    For every frame, in order: `decide` when its work would start; `took` for every node that ran;
    `handed` when its picture is there for the encoders; `finished` when the largest rung that is
    fed gives its packet. `overflowed` for one that never got so far. `probe` when the lane has
    nothing to do. `decide`, `probe` and `forget` come one at a time, the others from any thread.
    """

    def __init__(
        self,
        budget_ns: int,
        answers: Sequence[Answer],
        nodes: Sequence[str],
        skippable: frozenset[str] = frozenset(),
        *,
        inbox: int = 2,
        workers: int = 1,
    ) -> None:
        """`nodes` are all that cost time; `workers` of them may be at work at once."""
        self.levels = levels(answers, skippable)
        self.level = 0
        self.counts: Counter[str] = Counter()
        """Of all frames: `run`, `reuse`, `drop late` and `drop overflow`."""
        self.changes: deque[LevelChange] = deque(maxlen=1000)
        self.downstream = Estimate(_SILENT_NS)
        """Of the encoders: from their beginning with a picture to its packet."""
        self.nodes: Mapping[str, Estimate] = {name: Estimate() for name in nodes}
        self._budget_ns = budget_ns
        self._reuses = any(answer.kind == "reuse" for answer in answers)
        self._inbox = inbox
        self._workers = workers
        self._graph = Estimate(_SILENT_NS)
        self._overlap = 1.0
        """Time of a graph from start to end, over the sum of its nodes' times."""
        self._begun = deque([_Begun(-1, 0)], maxlen=_MOST_BEGUN)
        self._handed: dict[int, int] = {}
        self._has_result = self._had_result = False
        self._now_ns = 0
        self._since_ns: int | None = None
        self._raised_ns = 0
        self._fading = False
        self._patience_ns = HOLD_NS
        self._roomy_ns: int | None = None
        self._probed_ns = 0
        self._finished_ns = 0
        self._arrivals, self._runs, self._probes = Recent(), Recent(), Recent()
        self._repeats, self._losses = Recent(), Recent()

    def decide(
        self, received_ns: int, now_ns: int, waiting: int = 0, *, owed: bool = False
    ) -> Decision:
        """What to do with the frame whose work would start now; `waiting` are newer ones.

        Its packet was received at `received_ns`. A frame that could not be ready in time is never
        worked on, unless it is `owed`.
        """
        self._arrived(received_ns, now_ns)
        if self._has_result and not self._had_result:
            self._repeats.clear()  # what was lost while the first was made says nothing
            self._losses.clear()
        self._had_result = self._has_result
        self._adapt(now_ns)
        level = self.levels[self.level]
        left_ns = received_ns + self._budget_ns - now_ns
        works, repeats = level.show is Show.GRAPH, False
        if works and self._reuses and self._has_result and self._waits_for_graph():
            repeats = left_ns >= self._time_ns(None, now_ns)
        action, reason = Action.RUN, "in time"
        if left_ns < self._time_ns(level, now_ns) and not owed:
            action, reason = Action.REUSE if repeats else Action.DROP, "late"
        elif repeats and waiting and self._fills_inbox(waiting, now_ns):
            action, reason = Action.REUSE, "behind"
        self._account(action, reason, received_ns, now_ns)
        return Decision(action, self.level, self._fade(now_ns), reason)

    def overflowed(self, received_ns: int, now_ns: int) -> None:
        """The full inbox has dropped a frame; it was never decided about."""
        self._arrived(received_ns, now_ns)
        self.counts["drop overflow"] += 1
        self._losses.add(now_ns)

    def took(self, node: str, duration_ns: int) -> None:
        """A node has run, for a frame or for a probe."""
        self.nodes[node].add(duration_ns, self._now_ns)
        self._begun[-1].spent_ns += duration_ns

    def handed(self, received_ns: int, now_ns: int) -> None:
        """The frame's picture goes to the encoders, whatever was decided about it."""
        self._now_ns = now_ns
        begun = next((one for one in tuple(self._begun) if one.received_ns == received_ns), None)
        if begun is not None:
            # It may have waited to be taken; and branches are at work side by side.
            gone_ns = now_ns - begun.at_ns
            self._graph.add(min(gone_ns, begun.spent_ns or gone_ns), now_ns)
            self._has_result = True
        if len(self._handed) > _MOST_HANDED:  # the encoder that should finish them has broken
            self._handed.clear()
        self._handed[received_ns] = now_ns

    def finished(self, received_ns: int, now_ns: int) -> None:
        """The largest rung that is fed has given the packet of this frame. Any thread."""
        handed_ns = self._handed.get(received_ns)
        if handed_ns is not None:
            self.downstream.add(now_ns - max(handed_ns, self._finished_ns), now_ns)
            for older in list(self._handed):  # those before it will not come any more
                self._handed.pop(older, None)
                if older == received_ns:
                    break
        self._finished_ns = now_ns

    def probe(self, now_ns: int) -> bool:
        """The lane has nothing to do: whether to run the nodes that were skipped on the last
        frame once more, for nothing but their times.

        About five times a second; rarer where they take long, as the lane is busy meanwhile.
        """
        skipped = self._active(self.levels[0]) - self._active(self.levels[self.level])
        if not skipped or self._since_ns is None:
            return False
        cost_ns = self._overlap * sum(self.nodes[name].last_ns for name in skipped)
        if cost_ns + self._time_ns(None, now_ns) <= _PROBED * self._budget_ns:
            # At an even distance while the load swings, or good times would be seen more often.
            lately_ns = sum(self.nodes[name].quantile_ns(0.9, now_ns) for name in skipped)
            wait_ns = min(max(5 * self._overlap * lately_ns, PROBE_NS), _RARE_PROBE_NS)
        else:
            wait_ns = min(max(8 * cost_ns, 2 * _RARE_PROBE_NS), _RAREST_PROBE_NS)
        if now_ns - self._probed_ns < wait_ns:
            return False
        self._now_ns = self._probed_ns = now_ns
        self._probes.add(now_ns)
        return True

    def forget(self) -> None:
        """The past no longer fits (another epoch or size): there is no result to show again."""
        self._has_result = False

    def _arrived(self, received_ns: int, now_ns: int) -> None:
        self._now_ns = now_ns
        self._arrivals.add(received_ns)
        if self._since_ns is None:
            self._since_ns = now_ns - HOLD_NS

    def _account(self, action: Action, reason: str, received_ns: int, now_ns: int) -> None:
        match action:
            case Action.RUN:
                self.counts["run"] += 1
                self._runs.add(now_ns)
                if self.levels[self.level].show is Show.GRAPH:
                    self._begun.append(_Begun(received_ns, now_ns))
            case Action.REUSE:
                self.counts["reuse"] += 1
                self._repeats.add(now_ns)
            case Action.DROP:
                self.counts[f"drop {reason}"] += 1
                self._losses.add(now_ns)
            case _:
                assert_never(action)

    def _time_ns(self, level: Level | None, now_ns: int) -> float:
        """What a frame should need from now to its last byte: hardly ever more. None: without the
        graph. At the encoders its turn comes after those that are inside already, which go on
        while the graph is at work."""
        inside = len(self._handed)
        encode_ns, encode_spread_ns = self.downstream.next_ns(now_ns)
        work_ns, spread_ns = (0.0, 0.0) if level is None else self._work_ns(level, now_ns)
        mean_ns = max(work_ns, encode_ns * inside) + encode_ns
        return mean_ns + 2 * math.hypot(spread_ns, encode_spread_ns * math.sqrt(inside + 1))

    def _work_ns(self, level: Level, now_ns: int) -> tuple[float, float]:
        """Mean and spread of the graph's time; where it has not run yet, the sum of its nodes."""
        work = self._graph.next_ns(now_ns)
        if level is self.levels[self.level] and work[0]:
            return work
        sum_ns = sum(self.nodes[name].likely_ns(now_ns) for name in self._active(level))
        return self._overlap * sum_ns, 0.0

    def _waits_for_graph(self) -> bool:
        """Whether it is the graph that frames wait for. A picture shown twice costs the encoders
        as much as any: where frames wait for them, it would only take another one's place."""
        return len(self._handed) <= 1 or self._graph.mean_ns > self.downstream.mean_ns

    def _fills_inbox(self, waiting: int, now_ns: int) -> bool:
        """Whether so many come while this frame is worked on that one of them would be lost."""
        period_ns = self._arrivals.distance_ns(now_ns)
        return period_ns > 0 and waiting + self._graph.mean_ns / period_ns > self._inbox

    def _active(self, level: Level) -> frozenset[str]:
        """Nodes that run on this level."""
        return frozenset(self.nodes) - level.skipped if level.show is Show.GRAPH else frozenset()

    def _fade(self, now_ns: int) -> float:
        if self._fading and self._since_ns is not None:
            share = (now_ns - self._since_ns) / FADE_NS
            if share < 1.0:
                return share
            self._fading = False
        return 1.0

    def _adapt(self, now_ns: int) -> None:
        """Change the level, where that is due."""
        held_ns = now_ns - (self._since_ns or 0)
        if held_ns < HOLD_NS:
            return
        if not self.level:
            if held_ns > _CALM_NS:
                self._patience_ns = HOLD_NS
            if len(self.levels) == 1:
                return
        if self._short(now_ns):
            if self.level + 1 < len(self.levels):
                self._change(self._enough(now_ns), now_ns, "short of time")
        elif self.level:
            self._rise(now_ns)

    def _short(self, now_ns: int) -> bool:
        """Whether more frames were repeated or lost, over two seconds, than may be."""
        period_ns = self._arrivals.distance_ns(now_ns)
        if not period_ns:
            return False
        frames = max(self._arrivals.count(now_ns), WINDOW_NS / period_ns)
        lost = self._losses.count(now_ns)
        return lost > _LOST * frames or lost + self._repeats.count(now_ns) > _REUSED * frames

    def _enough(self, now_ns: int) -> int:
        """The first level below that the graph should be fast enough on; else the next."""
        period_ns = self._arrivals.distance_ns(now_ns) * self._workers
        most_ns = period_ns * (1.3 if self._reuses else 1.0)
        for index in range(self.level + 1, len(self.levels)):
            level = self.levels[index]
            in_time = self._time_ns(level, now_ns) <= self._budget_ns
            if in_time and self._work_ns(level, now_ns)[0] <= most_ns:
                return index
        return self.level + 1

    def _rise(self, now_ns: int) -> None:
        """Go back to the best level that there is head-room for, if there was for long enough."""
        for target in range(self.level):
            if self._fits(target, _ROOM, now_ns):
                if self._roomy_ns is None:
                    self._roomy_ns = now_ns
                ample = self._fits(target, _AMPLE, now_ns)
                wanted_ns = HOLD_NS if ample else self._patience_ns
                # What fits now has fitted for most of the two seconds that are looked back on.
                if now_ns - self._roomy_ns >= wanted_ns - _MOST_CALLS * WINDOW_NS:
                    self._change(target, now_ns, "head-room")
                return
        self._roomy_ns = None

    def _fits(self, target: int, room: float, now_ns: int) -> bool:
        """Whether the work of a better level, as measured lately, leaves this much room."""
        level, present = self.levels[target], self.levels[self.level]
        active = self._active(level)
        skipped = active - self._active(present)
        probes = self._probes.count(now_ns)
        if skipped and probes < _FEWEST_PROBES:
            return False
        encode_ns = self.downstream.quantile_ns(0.9, now_ns)
        period_ns = self._arrivals.distance_ns(now_ns)
        if level.top_rung and not present.top_rung and encode_ns > _AMPLE * period_ns:
            return False  # what the top rung costs is not known: it needs ample room
        latency_ns, per_frame_ns = float(encode_ns), 0.0
        for name in active:
            node = self.nodes[name]
            frames = probes if name in skipped else self._runs.count(now_ns)
            called = min(len(node.lately(now_ns)) / max(frames, 1), 1.0)
            latency_ns += node.quantile_ns(0.9, now_ns) * self._overlap
            per_frame_ns += node.quantile_ns(_MOST_CALLS, now_ns) * self._overlap * called
        in_time = latency_ns <= room * self._budget_ns
        return in_time and per_frame_ns <= room * period_ns * self._workers

    def _change(self, new: int, now_ns: int, reason: str) -> None:
        old, self.level, self._since_ns = self.level, new, now_ns
        self.changes.append(LevelChange(now_ns, old, new, reason))
        if new < old:
            self._raised_ns = now_ns
        elif self._raised_ns and now_ns - self._raised_ns < _CALM_NS:
            self._patience_ns = min(2 * self._patience_ns, _LONGEST_PATIENCE_NS)
        was, now = self.levels[old], self.levels[new]
        self._fading = (was.show, was.skipped) != (now.show, now.skipped)
        self._has_result &= was.show is now.show
        nodes_ns = sum(self.nodes[name].mean_ns for name in self._active(was))
        if self._graph.mean_ns and nodes_ns:
            self._overlap = self._graph.mean_ns / nodes_ns
        self._graph = Estimate(_SILENT_NS)
        self._roomy_ns = None
        self._repeats.clear()
        self._losses.clear()


def worst_case(depths: Sequence[int], slowest_ns: int) -> int:
    """Longest time in nanoseconds that a frame can be inside, all queues full before it."""
    return sum(depths) * slowest_ns


def warning(depths: Sequence[int], slowest_ns: int, budget_ns: int) -> str | None:
    """What to tell a user whose queues could hold more than the latency budget; None if not."""
    worst_ns = worst_case(depths, slowest_ns)
    if worst_ns <= budget_ns:
        return None
    return (
        f"the latency budget of {budget_ns / 1e6:.0f} ms can be missed: {sum(depths)} pictures may "
        f"be inside, the slowest step takes {slowest_ns / 1e6:.0f} ms, so at worst it is "
        f"{worst_ns / 1e6:.0f} ms; frames that would be late are answered as `when_late` says"
    )
