"""`Lane`: the one thread of a device that starts all work on it, for all sessions.

A session has a `Seat`: a bounded queue whose items are worked on while they wait. Pictures go in
at one end and come out processed, in order, at the other. The lane never blocks: a stage's work is
asynchronous, and its fence wakes the lane for the next stage.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from streamgen.errors import StageError
from streamgen.graph.graph import Chain
from streamgen.media.frame import CPU, Device, Frame
from streamgen.media.queue import Cancelled
from streamgen.telemetry import Telemetry


class Job:
    """One picture on its way through a chain."""

    __slots__ = ("done", "error", "frame", "index", "pts", "seat", "started_ns")

    def __init__(self, seat: Seat, frame: Frame) -> None:
        self.seat = seat
        self.frame = frame
        self.pts = frame.pts
        self.index = 0
        self.started_ns = 0
        self.done = False
        self.error: BaseException | None = None


class Lane:
    """Starts stages on one device. Use as a context manager; sessions have ended before it does."""

    def __init__(self, device: Device = CPU) -> None:
        self.device = device
        # Bounded by the seats: each lets at most `depth` jobs in, and a job is here at most once.
        self._ready: SimpleQueue[Job | None] = SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lane {device}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ready.put(None)
        self._ended.wait()  # an interrupted join() would take the thread for ended
        self._thread.join()

    def seat(self, chain: Chain, telemetry: Telemetry, *, depth: int, parallel: int = 1) -> Seat:
        """A place for one session: at most `depth` of its pictures are inside, and `parallel` of
        them at work at once (what its engine takes without making the lane wait)."""
        return Seat(self, chain, telemetry, depth, parallel)

    def wake(self, job: Job) -> None:
        """The job can go on; called by seats, and by fences from any thread."""
        self._ready.put(job)

    def _run(self) -> None:
        while (job := self._ready.get()) is not None:
            try:
                self._advance(job)
            except BaseException as error:  # the thread's root: a stage may be anybody's code
                job.error = error
                job.seat.settle(job)
            del job  # or its picture would be held until the next one comes
        self._ended.set()

    def _advance(self, job: Job) -> None:
        """Take a finished step in, and start the next that has to wait; or settle the job."""
        seat = job.seat
        nodes = seat.chain.nodes
        now_ns = seat.clock.now_ns
        if job.started_ns:
            if job.frame.ready is not None:
                job.frame.ready.wait()  # passed already: raises what the work raised
            nodes[job.index].times.add(now_ns() - job.started_ns)
            job.index += 1
        else:
            seat.chain.meet(job.frame)
        while job.index < len(nodes) and not seat.cancelled:
            node = nodes[job.index]
            job.started_ns = now_ns()
            job.frame = node.start(job.frame)
            fence = job.frame.ready
            if fence is not None and not fence.done():
                fence.on_done(lambda: self.wake(job))
                return
            if fence is not None:
                fence.wait()
            node.times.add(now_ns() - job.started_ns)
            job.index += 1
        seat.settle(job)


class Seat:
    """One session's queue through the lane: `put` pictures, iterate over processed ones.

    Order out is order in. `put` waits while `depth` pictures are inside. A `StageError` loses its
    picture, counted as dropped{stage}; any other error ends the run at the consumer.
    """

    def __init__(
        self, lane: Lane, chain: Chain, telemetry: Telemetry, depth: int, parallel: int
    ) -> None:
        self.lane = lane
        self.chain = chain
        self.clock = telemetry.clock
        self.depth = depth
        self.cancelled = False
        self.peak = 0
        self._telemetry = telemetry
        self._jobs: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._working = 0
        self._parallel = parallel
        self._closed = False
        lock = threading.Lock()
        self._lock = lock
        self._freed = threading.Condition(lock)
        self._settled = threading.Condition(lock)

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, frame: Frame) -> None:
        """Hand one picture to the lane. Raises `Cancelled`."""
        job = Job(self, frame)
        job.done = not self.chain.nodes  # nothing to do: no way through the lane either
        with self._lock:
            while len(self._jobs) >= self.depth and not self.cancelled:
                self._freed.wait()
            if self.cancelled:
                raise Cancelled
            self._jobs.append(job)
            self.peak = max(self.peak, len(self._jobs))
            if job.done:
                self._settled.notify()
            elif self._working < self._parallel:
                self._working += 1
                self.lane.wake(job)
            else:
                self._waiting.append(job)

    def settle(self, job: Job) -> None:
        """The lane is done with this job; the next that waited may begin."""
        with self._lock:
            job.done = True
            if self._waiting and not self.cancelled:
                self.lane.wake(self._waiting.popleft())
            else:
                self._working -= 1
            self._settled.notify_all()

    def drain(self) -> None:
        """Wait until nothing of this session is on the lane any more; after `close` or `cancel`."""
        with self._lock:
            while self._working:
                self._settled.wait()

    def get(self) -> Frame | None:
        """Next processed picture in order; None when closed and empty."""
        while True:
            with self._lock:
                while not (self._jobs and self._jobs[0].done):
                    if self.cancelled:
                        raise Cancelled
                    if self._closed and not self._jobs:
                        return None
                    self._settled.wait()
                job = self._jobs.popleft()
                self._freed.notify()
            if job.error is None:
                return job.frame
            if not isinstance(job.error, StageError):
                raise job.error
            self._telemetry.count("dropped", "stage")

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.get()) is not None:
            yield frame

    def close(self) -> None:
        """No more pictures come."""
        with self._lock:
            self._closed = True
            self._settled.notify_all()

    def cancel(self) -> None:
        """End every waiting and later `put` and `get` with `Cancelled`."""
        with self._lock:
            self.cancelled = True
            self._freed.notify_all()
            self._settled.notify_all()
