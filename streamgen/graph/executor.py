"""`Executor`: carries the pictures of one session over its graph, node by node.

A node starts when its inputs are there. The thread that made them ready goes on with it: nothing is
handed over along a chain. Where a branch opens, the short calls run first (a network is started and
works on by itself), and a call that has been measured to be long is handed to another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from streamgen.errors import StageError, StageUnavailable, StreamGenError
from streamgen.graph.blame import Blame
from streamgen.graph.breaker import Breaker, BreakerSettings, Outcome, Verdict
from streamgen.graph.entry import Entry, left_out
from streamgen.graph.fallback import (
    Outputs,
    aside,
    checked,
    fallback,
    flushed,
    gathered,
    pending,
    retimed,
    same,
)
from streamgen.graph.graph import Graph, Node
from streamgen.graph.job import Call, Job
from streamgen.graph.trial import Trial
from streamgen.graph.turns import Turns, Work
from streamgen.media.frame import Frame
from streamgen.protocols import Later
from streamgen.telemetry import Telemetry

HAND_OVER_NS = 200_000
"""A call that keeps its thread longer than this is worth another thread's waking up."""
TIMEOUT_NS = 250_000_000
"""A live call that takes longer counts as late for the breaker, whatever it gave."""
RETRY_NS = 20_000_000
TRIES = 250
"""Offline a stage in another process is given five seconds to come back."""


class Place(Protocol):
    """Where an executor runs: a lane, for its session's seat."""

    cancelled: bool

    def wake(self, call: Callable[[], None]) -> None:
        """Run `call` on another thread of the lane."""

    def share(self) -> None:
        """The calling thread is about to be busy for a while."""

    def after(self, delay_ns: int, call: Callable[[], None]) -> None:
        """Run `call` on the lane, this much later."""

    def settle(self, job: Job) -> None:
        """The job's result is there, or it is dropped, or failed."""

    def took(self, node: str, duration_ns: int) -> None:
        """A node has worked this long on a picture."""

    def over(self, job: Job) -> None:
        """No node works on this job any more."""


class Executor:
    """Runs jobs over one graph. `begin` in frame order, by one thread at a time; the rest any."""

    def __init__(self, graph: Graph, telemetry: Telemetry, place: Place, *, live: bool) -> None:
        self.graph = graph
        self.live = live
        self._place = place
        self._telemetry = telemetry
        self._now_ns = telemetry.clock.now_ns
        self._stages = tuple(node.stage for node in graph.nodes)
        self._entry = Entry(graph, telemetry, live=live)
        self._turns = Turns(graph, self._entry, place.after, self._expired, live=live)
        self._ended = False
        if live:
            for node in graph.nodes:
                node.breaker = Breaker(BreakerSettings(), telemetry.clock)

    def begin(self, job: Job) -> list[Work]:
        """Fix the parameters of this picture; says which nodes can start, for `go`."""
        if not job.shadow:
            self._entry.meet(job)
            job.params = self.graph.knobs.at(job.pts, job.frame.time_base, job.frame.epoch)
            swaps = self.graph.knobs.swaps()
            for name, stage in swaps:
                self.graph.swap(name, stage, job.number)
            if swaps:
                self._stages = tuple(node.stage for node in self.graph.nodes)
        job.stages = self._stages
        return self._turns.enter(job)

    def _expired(self, node: Node, work: Work) -> None:
        """An optional input was late: its reader starts without it."""
        self._telemetry.count("late", node.name)
        self.go([work])

    def end(self) -> None:
        """No picture comes any more: stages with a latency give what they hold."""
        self._ended = True
        self.go([])

    def brief(self) -> bool:
        """Whether no stage keeps its thread for long, as far as is known."""
        return all(node.call_ns < HAND_OVER_NS for node in self.graph.nodes)

    def go(self, ready: list[Work]) -> None:
        """Start what is ready, and what becomes ready by it."""
        nodes = self.graph.nodes
        while ready or (self._ended and (ready := self._drained())):
            if len(ready) > 1:
                ready.sort(key=lambda work: nodes[work[1]].call_ns, reverse=True)
                while len(ready) > 1 and nodes[ready[1][1]].call_ns > HAND_OVER_NS:
                    self._place.wake(partial(self.go, [ready.pop(1)]))
            job, index = ready.pop()
            try:
                ready += self._step(job, nodes[index])
            except StreamGenError as error:
                ready += self._broken(job, nodes[index], error)

    def _drained(self) -> list[Work]:
        for node in self.graph.nodes:
            if node.held and self._turns.keep(node):
                return self._flush(node) + self._turns.free(node)
        return []

    # One node, one picture.

    def _step(self, job: Job, node: Node) -> list[Work]:
        call = job.calls[node.index]
        assert call is not None
        if self._place.cancelled:
            return self._finish(job, node, call, None)
        call.params = params = job.params[node.index]
        call.inputs = inputs = gathered(job, node, call, self.graph.nodes, live=self.live)
        if left_out(node, job):
            return self._bypassed(job, node, call, aside(node, job, inputs, params))
        if node.breaker is not None:
            verdict = node.breaker.allows()
            if verdict is not Verdict.RUN:
                return self._opened(job, node, call, verdict)
        if not self._turns.claim(node, job, call):
            return []
        if len(inputs) < len(node.edges) and self._missing(node, inputs):
            return self._bypassed(job, node, call, aside(node, job, inputs, params))
        again = self._again(job, node, call)
        if again is not None:
            self._telemetry.count("reused", node.name)
            return self._finish(job, node, call, again, good=True)
        if node.reset_done < node.reset_at <= job.number:
            return self._reset(job, node, call)
        return self._call(job, node, call)

    @staticmethod
    def _missing(node: Node, inputs: Outputs) -> bool:
        ports = node.contract.inputs
        return any(e.port not in inputs and not ports[e.port].optional for e in node.edges)

    def _again(self, job: Job, node: Node, call: Call) -> Outputs | None:
        """The last outputs with new times, if a stage without memory would make them again."""
        memo = node.memo
        if not node.repeats or node.ordered or memo is None or memo.params is not call.params:
            return None
        if memo.outputs is None or memo.inputs.keys() != call.inputs.keys():
            return None
        if not all(same(value, memo.inputs[port]) for port, value in call.inputs.items()):
            return None
        return {name: retimed(value, job.frame) for name, value in memo.outputs.items()}

    def _opened(self, job: Job, node: Node, call: Call, verdict: Verdict) -> list[Work]:
        """The breaker is open: the fallback is served; at times the stage is tried beside it."""
        held, ready = self._turns.skip(node, job, hold=verdict is Verdict.PROBE)
        if held:
            trial = Trial(node, job, call.inputs, call.params, self._place.wake, self._tried)
            self._place.wake(trial.run)
        elif verdict is Verdict.PROBE:
            self._judged(node, Outcome.LATE, probe=True)  # it still works on an older picture
        return ready + self._bypassed(job, node, call, fallback(node, job, call))

    def _tried(self, node: Node, outcome: Outcome) -> None:
        """A call for the breaker alone has ended."""
        self._judged(node, outcome, probe=True)
        self.go(self._turns.free(node))

    def _judged(self, node: Node, outcome: Outcome, *, probe: bool = False) -> None:
        if node.breaker is not None:
            before = node.breaker.state
            node.breaker.outcome(outcome, probe=probe)
            if node.breaker.state is not before:
                self._telemetry.count("breaker", f"{node.name} {node.breaker.state.value}")

    def _bypassed(self, job: Job, node: Node, call: Call, outputs: Outputs | None) -> list[Work]:
        if outputs is not None:
            self._telemetry.count("bypassed", node.name)
        return self._finish(job, node, call, outputs)

    def _reset(self, job: Job, node: Node, call: Call) -> list[Work]:
        """A break lies before this picture: give what is held, forget, and go on with it."""
        ready = self._flush(node)
        try:
            with Blame(node.name, job.pts):
                job.stages[node.index].reset()
        except StageError as error:  # it may not go on with the past: the next one tries again
            return ready + self._failed(job, node, call, error)
        node.reset_done = node.reset_at
        return ready + self._call(job, node, call)

    def _flush(self, node: Node) -> list[Work]:
        """Outputs of the pictures that a stage with a latency still holds."""
        if not node.held:
            return []
        ready: list[Work] = []
        given: list[Outputs] = []
        try:
            given = flushed(node)
        except StageError as error:  # its pictures are there, and take the fallback
            node.error = error
        while node.held:
            held = node.held.popleft()
            call = held.calls[node.index]
            assert call is not None
            ready += self._taken(held, node, call, given.pop(0) if given else {})
        return ready

    def _call(self, job: Job, node: Node, call: Call) -> list[Work]:
        """The stage's own work on this picture; nobody waits here for what it starts."""
        if node.call_ns > HAND_OVER_NS:
            self._place.share()
        began_ns = call.began_ns = self._now_ns()
        stage = node.calls[call] = job.stages[node.index]
        try:
            with Blame(node.name, job.pts):
                result = stage.process(call.inputs, call.params)
                fence = pending(result)
        except StageError as error:
            node.calls.pop(call, None)
            return self._failed(job, node, call, error)
        node.call_ns += 0.2 * (self._now_ns() - began_ns - node.call_ns)
        if fence is None:
            return self._came(job, node, call, result)
        fence.on_done(partial(self._place.wake, partial(self._resume, job, node, call, result)))
        return [] if node.ordered else self._turns.leave(node, call)

    def _resume(self, job: Job, node: Node, call: Call, result: Outputs | Later) -> None:
        try:
            ready = self._came(job, node, call, result)
        except StreamGenError as error:
            ready = self._broken(job, node, error)
        self.go(ready)

    def _came(self, job: Job, node: Node, call: Call, result: Outputs | Later) -> list[Work]:
        """A call is over: take its outputs, or raise what the work raised."""
        try:
            with Blame(node.name, job.pts):
                outputs = result if isinstance(result, Mapping) else result.outputs()
                for value in outputs.values():
                    if value.ready is not None:
                        value.ready.wait()  # passed already
        except StageError as error:
            node.calls.pop(call, None)
            return self._failed(job, node, call, error)
        node.proven = node.calls.pop(call, node.proven)
        ended_ns = self._now_ns()
        node.times.span(call.began_ns, ended_ns, job.pts)
        self._place.took(node.name, ended_ns - call.began_ns)
        if not node.contract.latency:
            return self._taken(job, node, call, outputs)
        node.held.append(job)
        ready: list[Work] = []
        if outputs:
            first = node.held.popleft()
            made = first.calls[node.index]
            assert made is not None
            ready = self._taken(first, node, made, outputs)
        return ready + self._turns.leave(node, call)

    def _taken(self, job: Job, node: Node, call: Call, outputs: Outputs) -> list[Work]:
        """The stage gave outputs: check them, and go on with them or with the fallback."""
        try:
            with Blame(node.name, job.pts):
                found = checked(node, job, call.inputs, outputs)
        except StageError as error:
            return self._failed(job, node, call, error)
        node.good += 1
        late = self._now_ns() - call.began_ns > (node.planned.spec.timeout or TIMEOUT_NS)
        self._judged(node, Outcome.LATE if late else Outcome.OK)
        return self._finish(job, node, call, found, good=True)

    def _failed(self, job: Job, node: Node, call: Call, error: StageError) -> list[Work]:
        """The stage failed on this picture: its fallback, or offline another try."""
        absent = isinstance(error, StageUnavailable)
        if not self.live and node.planned.spec.isolation == "process" and call.tries < TRIES:
            call.tries += 1 if absent else TRIES // 2  # a crash is tried once more, with patience
            self._place.after(RETRY_NS, partial(self._retry, job, node, call))
            return []
        node.failed += 1
        node.error = error
        self._telemetry.count("failed", node.name)
        self._judged(node, Outcome.ABSENT if absent else Outcome.FAILED)
        return self._bypassed(job, node, call, fallback(node, job, call))

    def _retry(self, job: Job, node: Node, call: Call) -> None:
        try:
            if self._place.cancelled:
                ready = self._finish(job, node, call, None)
            else:
                ready = self._call(job, node, call)
        except StreamGenError as error:
            ready = self._broken(job, node, error)
        self.go(ready)

    def _broken(self, job: Job, node: Node, error: StreamGenError) -> list[Work]:
        """Not this picture only: the run ends with this error."""
        job.error = job.error or error
        call = job.calls[node.index]
        assert call is not None
        return self._finish(job, node, call, None)

    def _finish(
        self, job: Job, node: Node, call: Call, outputs: Outputs | None, *, good: bool = False
    ) -> list[Work]:
        """Give what came of it to the node's readers; says who can start now."""
        call.outputs, call.good = outputs, good
        ready, over = self._turns.done(job, node, call)
        if node.index == self.graph.plan.output.node and not job.shadow:
            value = None if outputs is None else outputs.get(self.graph.plan.output.output)
            if isinstance(value, Frame):
                job.result = value
            self._place.settle(job)
        if over:
            self._place.over(job)
        return ready
