"""`Seat`: one session's queue through a lane. Pictures go in and come out processed, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from streamgen.graph.arrears import Arrears
from streamgen.graph.director import Director
from streamgen.graph.executor import Executor
from streamgen.graph.governor import Action
from streamgen.graph.graph import Graph
from streamgen.graph.job import Job
from streamgen.graph.lane import Lane
from streamgen.media.frame import Frame
from streamgen.media.queue import Cancelled
from streamgen.telemetry import Telemetry

INBOX = 2
"""Live pictures that wait to be begun."""
AHEAD = 2
"""Live pictures that may be done before the consumer takes them."""


class Seat:
    """A bounded queue whose items are worked on while they wait: `put`, then iterate.

    Order out is order in. Offline `put` waits while `depth` pictures are inside. Live it never
    waits: the newest pictures wait in an inbox of `INBOX`, and the oldest there goes when another
    comes; but for those that are owed, as long as `Arrears` has patience. A picture that gave no
    result is counted as dropped with its reason; an error that is not one picture's ends the run
    at the consumer.
    """

    def __init__(
        self,
        lane: Lane,
        graph: Graph,
        telemetry: Telemetry,
        *,
        depth: int,
        parallel: int = 1,
        director: Director | None = None,
    ) -> None:
        """At most `depth` pictures are inside, `parallel` of them at work at once (what the engine
        takes). With a `director` the seat is live: see above."""
        self.graph = graph
        self.depth = depth + graph.plan.latency
        self.cancelled = False
        self.peak = 0
        self._lane = lane
        self._telemetry = telemetry
        self._parallel = parallel + graph.plan.latency
        self.director = director
        self._now_ns = telemetry.clock.now_ns
        self._executor = Executor(graph, telemetry, self, live=director is not None)
        self._jobs: deque[Job] = deque()
        """Everything inside, in order."""
        self._inbox: deque[Job] = deque()
        """What has not been started."""
        self._beginning = 0
        """Of them, those that the lane has been told of."""
        self._working = 0
        """Started, and without a result."""
        self._open = 0
        """Started, and some node still works on it."""
        self._number = 0
        self._arrears = Arrears()
        self._closed = False
        self._error: BaseException | None = None
        lock = threading.Lock()
        self._lock = lock
        self._order = threading.Lock()
        """Held while a picture begins: they begin in order, one at a time."""
        self._freed = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        graph.oldest_job = self._oldest

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, frame: Frame, *, owed: bool = False) -> None:
        """Hand one picture to the lane; `owed`: of those that a worker which died should have
        shown, or right behind them. Raises `Cancelled`."""
        self._number += 1
        job = Job(frame, self._number)
        if not self.graph.nodes:  # nothing to do: offline no way through the lane either
            job.done, job.result = self.director is None, frame
        lost: Job | None = None
        with self._lock:
            owed |= bool(self._inbox) and self._inbox[-1].owed  # it would take that one's place
            while self._is_full(frame, owed) and not self.cancelled:
                self._freed.wait()
            if self.cancelled:
                raise Cancelled
            job.owed = owed and not self._arrears.over
            self._jobs.append(job)
            if job.done:
                self._settled.notify()
            else:
                self._inbox.append(job)
                if self.director is not None and len(self._inbox) > INBOX:
                    lost = self._inbox.popleft()
                    self._jobs.remove(lost)
            self.peak = max(self.peak, len(self._jobs))
            free = self._admits()
        if lost is not None and self.director is not None:
            self._telemetry.count("dropped", "overflow")
            self.director.governor.overflowed(lost.frame.received_ns, self._now_ns())
        if free and self._executor.brief():
            self._guarded(self._begin)  # started sooner here than another thread would wake up
        elif free:
            self.wake(self._begin)

    def _is_full(self, frame: Frame, owed: bool) -> bool:
        """Whether this picture has to wait until there is room. Under the lock."""
        if self.director is None:
            return len(self._jobs) >= self.depth
        waits = owed and self._arrears.patient(frame, self._now_ns())
        return waits and len(self._inbox) >= INBOX

    def _admits(self) -> bool:
        """Whether one more picture may begin; then it counts as begun. Under the lock."""
        waiting = len(self._inbox) > self._beginning
        if not waiting or self._working >= self._parallel or self.cancelled:
            return False
        if self.director is not None:
            begun = len(self._jobs) - len(self._inbox) + self._beginning
            if begun >= self._parallel + AHEAD:
                return False
        self._working += 1
        self._open += 1
        self._beginning += 1
        return True

    def _begin(self) -> None:
        """Start the oldest picture of the inbox; there is one for each call."""
        with self._order:
            with self._lock:
                job = self._inbox.popleft()
                self._beginning -= 1
                waiting = len(self._inbox)
                if self.director is not None:
                    self._freed.notify()
            runs = self.director is None or self.director.judge(job, waiting)
            runs = runs and bool(self.graph.nodes)
            ready = self._executor.begin(job) if runs else []
        if runs:
            self._executor.go(ready)
        else:
            self.settle(job)
            self.over(job)
        with self._lock:
            last = self._closed and not self._inbox
        if last:
            self._executor.end()

    # What the executor asks of its place.

    def wake(self, call: Callable[[], None]) -> None:
        self._lane.wake(partial(self._guarded, call))

    def share(self) -> None:
        self._lane.share()

    def after(self, delay_ns: int, call: Callable[[], None]) -> None:
        self._lane.after(delay_ns, partial(self._guarded, call))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # the thread's root: it ends this session, not the lane
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the run with this error at the consumer."""
        with self._lock:
            self._error = self._error or error
            self._settled.notify_all()

    def settle(self, job: Job) -> None:
        if self.director is not None and job.action is not Action.DROP:
            self.director.governor.handed(job.frame.received_ns, self._now_ns())
        with self._lock:
            job.done = True
            self._working -= 1
            more = self._admits()
            self._settled.notify_all()
        if more:
            self.wake(self._begin)

    def took(self, node: str, duration_ns: int) -> None:
        if self.director is not None:
            self.director.governor.took(node, duration_ns)

    def over(self, job: Job) -> None:
        with self._lock:
            self._open -= 1
            idle = not self._open and not self._inbox and not self.cancelled
            if not self._open:
                self._settled.notify_all()
        if idle and self.director is not None:
            self._try(self.director)

    def _try(self, director: Director) -> None:
        """The lane has nothing to do: measure what is left out."""
        with self._order:
            job = director.trial()
            if job is None:
                return
            with self._lock:
                self._open += 1
            ready = self._executor.begin(job)
        self._executor.go(ready)

    # The consumer's side.

    def get(self) -> Frame | None:
        """Next processed picture in order; None when closed and empty."""
        while True:
            with self._lock:
                while not (self._jobs and self._jobs[0].done):
                    if self._error is not None:
                        raise self._error
                    if self.cancelled:
                        raise Cancelled
                    if self._closed and not self._jobs:
                        self._judge()
                        return None
                    self._settled.wait()
                job = self._jobs.popleft()
                self._freed.notify()
                more = self.director is not None and self._admits()
            if more:
                self.wake(self._begin)
            if job.error is not None:
                raise job.error
            frame = job.result if self.director is None else self.director.show(job)
            if frame is not None:
                return frame
            self._telemetry.count("dropped", job.reason or "stage")

    def _judge(self) -> None:
        """A stage that never worked is an error, not a run that went well."""
        for node in self.graph.nodes:
            if node.error is not None and not node.good:
                raise node.error

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.get()) is not None:
            yield frame

    def close(self) -> None:
        """No more pictures come."""
        with self._lock:
            self._closed = True
            last = not self._inbox
            self._settled.notify_all()
        if last and self.graph.plan.latency:
            self.wake(self._executor.end)

    def cancel(self) -> None:
        """End every waiting and later `put` and `get` with `Cancelled`."""
        with self._lock:
            self.cancelled = True
            self._freed.notify_all()
            self._settled.notify_all()

    def drain(self) -> None:
        """Wait until nothing of this session is on the lane any more; after `close` or `cancel`."""
        with self._lock:
            while self._open and self._error is None:
                self._settled.wait()

    def _oldest(self) -> int:
        with self._lock:
            return self._jobs[0].number if self._jobs else self._number + 1
