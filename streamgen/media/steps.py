"""`StepGroup`: the threads of one run. Nothing outlives the group; the first failure stops all."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from streamgen.errors import Stuck
from streamgen.media.queue import Cancelled
from streamgen.media.vigil import LOOK_S

LEAVE_S = 2.0
"""For each step to end beside one that is stuck."""


class Cancellable(Protocol):
    """What the group stops when a step fails: queues, sources, lanes."""

    def cancel(self) -> None: ...


class StepGroup:
    """Start steps as threads; leaving the `with` block waits for all of them.

    A step that raises cancels everything in `cancels`, so that the others end with `Cancelled`;
    the first real error is raised from the block.

    `niceness` is added to that of each thread but those that lead: where one step sets the pace,
    the others run ahead of it, and must not take its processor.

    `look` is asked once a second. The error that it gives is raised from the block, and the steps
    that do not end then are left behind.
    """

    def __init__(
        self,
        *cancels: Cancellable,
        niceness: int = 0,
        look: Callable[[], Stuck | None] = lambda: None,
    ) -> None:
        self._cancels = cancels
        self._look = look
        self._stuck: Stuck | None = None
        self._niceness = niceness
        self._steps: list[tuple[threading.Thread, threading.Event]] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.cancelled = False

    def start(
        self, name: str, step: Callable[..., None], *arguments: Any, leads: bool = False
    ) -> None:
        """Run `step(*arguments)` on a thread of its own named `name`."""

        ended = threading.Event()
        niceness = 0 if leads else self._niceness

        def guarded() -> None:
            try:
                _give_way(niceness)
                step(*arguments)
            except Cancelled:
                pass
            except BaseException as error:  # the thread's root: carried to the parent and raised
                self.fail(error)
            finally:
                ended.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._steps.append((thread, ended))
        thread.start()

    def fail(self, error: BaseException) -> None:
        """Remember the first error and stop every step."""
        with self._lock:
            if self._error is None:
                self._error = error
        self.cancel()

    def cancel(self) -> None:
        """Make every step end soon; leaving the block then raises nothing by itself."""
        self.cancelled = True
        for one in self._cancels:
            one.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.fail(error)
        try:
            self._wait()
        except BaseException as interrupt:  # Ctrl-C while waiting: stop the steps, then leave
            self.fail(interrupt)
            self._wait()
            if self._stuck is None:
                raise
        if self._stuck is not None:
            raise self._stuck
        if error is None and self._error is not None:
            raise self._error

    def _wait(self) -> None:
        # Not by join() alone: one that is interrupted takes its thread for ended (Python 3.11),
        # and what a step still reads would be closed under it.
        for _, ended in self._steps:
            while not ended.wait(LOOK_S):
                self._stuck = self._stuck or self._look()
                if self._stuck is not None:
                    self._leave(self._stuck)
                    return
        for thread, _ in self._steps:
            thread.join()

    def _leave(self, stuck: Stuck) -> None:
        """Without whatever does not come back."""
        self.fail(stuck)
        for _, ended in self._steps:
            ended.wait(LEAVE_S)


def _give_way(niceness: int) -> None:
    """Of the calling thread alone, where the system knows such a thing."""
    if niceness and sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + niceness)
