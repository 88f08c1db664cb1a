"""`Lane`: the threads of one device that start all work on it, for all sessions.

A session has a `Seat` (graph/seat.py). Networks and GPUs work by themselves once started, so one
thread is enough for them; another is started only while a stage's own Python or numpy keeps the
first ones busy, up to one for each core.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from streamgen.config import cores
from streamgen.errors import Stuck
from streamgen.media.frame import CPU, Device
from streamgen.telemetry import Clock, MonotonicClock

Call = Callable[[], None]


class Lane:
    """Runs short calls in the order they come. Use as a context manager; sessions have ended
    before it does."""

    def __init__(
        self, device: Device = CPU, *, threads: int | None = None, clock: Clock | None = None
    ) -> None:
        self.device = device
        # Bounded by the seats: each lets at most `depth` jobs in, and a node of a job is here once.
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._timers: list[tuple[int, int, Call]] = []
        self._numbers = count()
        self._now_ns = (clock or MonotonicClock()).now_ns
        self._lock = threading.Lock()
        self._most = threads or (cores() if device.type == "cpu" else 1)
        self._threads: list[tuple[threading.Thread, threading.Event]] = []
        self._idle = 0
        self._leaving = False

    def __enter__(self) -> Self:
        self._grow()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._leaving = True
            self._timers.clear()
            threads = list(self._threads)
        for _ in threads:
            self._calls.put(None)
        if isinstance(error, Stuck):
            return  # one of them may never end
        for _, ended in threads:
            ended.wait()  # an interrupted join() would take the thread for ended
        for thread, _ in threads:
            thread.join()

    def wake(self, call: Call) -> None:
        """Run `call` on a thread of the lane; from any thread."""
        self._calls.put(call)

    def share(self) -> None:
        """This thread is about to be busy for a while: see that another one looks to the rest."""
        if not self._idle and len(self._threads) < self._most:
            self._grow()

    def after(self, delay_ns: int, call: Call) -> None:
        """Run `call` on the lane no earlier than in `delay_ns`."""
        with self._lock:
            heapq.heappush(self._timers, (self._now_ns() + delay_ns, next(self._numbers), call))
        self._calls.put(_look)  # somebody waits too long now

    def _grow(self) -> None:
        with self._lock:
            number = len(self._threads)
            if number >= self._most or self._leaving:
                return
            ended = threading.Event()
            name = f"lane {self.device}" + (f" {number}" if number else "")
            thread = threading.Thread(target=self._run, args=(ended,), name=name, daemon=True)
            self._threads.append((thread, ended))
            thread.start()

    def _run(self, ended: threading.Event) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except Empty:
                self._idle += 1
                try:
                    call = self._calls.get(timeout=self._due_s())
                except Empty:
                    call = _look
                finally:
                    self._idle -= 1
            if call is None:
                break
            call()
            del call  # or its picture would be held until the next one comes
            if self._timers:
                self._ring()
        ended.set()

    def _due_s(self) -> float | None:
        """Seconds until the first timer; None without one."""
        with self._lock:
            if not self._timers:
                return None
            return max(0.0, (self._timers[0][0] - self._now_ns()) / 1e9)

    def _ring(self) -> None:
        """Run the timers that are due."""
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > self._now_ns():
                    return
                call = heapq.heappop(self._timers)[2]
            call()


def _look() -> None:
    """Nothing to do but to look at the timers."""
