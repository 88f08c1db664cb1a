"""`Supervisor`: the parent of a server's processes. It starts them, starts them again, ends them.

It touches no media and holds no state worth keeping. Its children read the end of their standard
input as its death, so nothing is left behind even when it is killed.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from streamgen.errors import ConfigError

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before a child that died is started again; the last one for every further time."""
HEALTHY_S = 4.0
"""A child that lived so long begins anew with its back-off."""
KILL_AFTER_S = 12.0
STARTS_S = 60.0
"""On a busy machine a child may take so long to find that it cannot start."""
UNUSABLE = 2
"""Exit status of a child that cannot start with this configuration: trying again is no use."""
STUCK = 3
"""Exit status of a worker that ends itself because of a call that does not come back."""
TICK_S = 0.25
log = logging.getLogger("streamgen.supervisor")


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    hears_deaths: bool = False
    """It is told, on its standard input, when another child has died."""
    reloads: bool = False
    """SIGHUP is passed on to it: it reads its configuration again."""
    last: bool = False
    """Ended after the others: the workers outlive the edge that drains their streams."""
    leaves: bool = False
    """Where it is to be restarted it gets SIGUSR1, not SIGTERM: what it does goes on elsewhere."""
    pause_s: float = 0.0
    """Before it is started again: children that have a pause take each other's work over, and that
    comes first. Where none of them is left, nobody waits."""


class _Running:
    """A child and what became of it."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.began = 0.0
        self.due = 0.0
        self.rested = 0.0
        """When it would be due without its pause."""
        self.anew = False
        """It is told to end, and started again at once."""
        self.proven = False
        """It ran until it was told to, so it could start once: the others do not end with it."""


class Supervisor:
    """`serve` blocks the main thread until told to end; then it ends every child by its own pid."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._all = [_Running(child) for child in children]
        self._signal: int | None = None
        self._unusable: str | None = None
        self._hang_ups = 0
        self._anew: deque[str] = deque()
        self._woken, self._waking = os.pipe()
        for end in (self._woken, self._waking):
            os.set_blocking(end, False)

    def serve(self) -> int:
        """Run until SIGTERM or SIGINT, which is returned. Main thread only.

        Raises `ConfigError` when a child cannot start at all; it has said why.
        """
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
        former = {number: signal.signal(number, self._heard) for number in numbers}
        former_wake = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        try:
            while self._signal is None and self._unusable is None:
                self._turn()
                ready, _, _ = select.select([self._woken], [], [], self._wait_s())
                if ready:
                    os.read(self._woken, 4096)
        finally:
            try:
                self._end_all()
            finally:
                signal.set_wakeup_fd(former_wake)
                for number, handler in former.items():
                    signal.signal(number, handler)
        if self._unusable is not None:
            raise ConfigError(f"the {self._unusable} cannot start with this configuration")
        return self._signal or signal.SIGTERM

    def running(self) -> dict[str, int]:
        """Process ids of the children that run, by name. Any thread."""
        pairs = [(one.child.name, one.process) for one in self._all]
        return {name: process.pid for name, process in pairs if process is not None}

    def restart(self, name: str) -> None:
        """End a child and start it again, soon. Any thread."""
        self._anew.append(name)
        with suppress(OSError):  # all end, or it is awake already
            os.write(self._waking, b"\0")

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._hang_ups += 1
        elif number != signal.SIGCHLD:
            self._signal = number

    def _wait_s(self) -> float:
        now = time.monotonic()
        dues = [one.due - now for one in self._all if one.process is None]
        return max(0.0, min([TICK_S, *dues]))

    def _turn(self) -> None:
        """Look who has died, start who is due."""
        now = time.monotonic()
        reload, self._hang_ups = self._hang_ups > 0, 0
        anew = {self._anew.popleft() for _ in range(len(self._anew))}
        for one in self._all:
            process = one.process
            if process is not None and one.child.name in anew:
                one.anew = True
                process.send_signal(signal.SIGUSR1 if one.child.leaves else signal.SIGTERM)
            if reload and process is not None and one.child.reloads:
                process.send_signal(signal.SIGHUP)
            if process is not None and process.poll() is not None:
                self._mourn(one, process, now)
            if one.process is None and now >= one.due and self._unusable is None:
                self._start(one, now)

    def _start(self, one: _Running, now: float) -> None:
        # A group of its own: Ctrl-C in a terminal is for the supervisor, which ends all in order.
        one.process = subprocess.Popen(one.child.command, stdin=subprocess.PIPE, process_group=0)
        one.began = now
        if one.process.stdin is not None:
            os.set_blocking(one.process.stdin.fileno(), False)
        log.info("%s runs as %d", one.child.name, one.process.pid)

    def _mourn(self, one: _Running, process: subprocess.Popen[bytes], now: float) -> None:
        if process.stdin is not None:
            process.stdin.close()
        one.process = None
        self._tell(one, process)
        if one.anew:
            one.anew, one.proven, one.deaths, one.due = False, True, 0, now
            log.info("%s (%d) ended, and is started again", one.child.name, process.pid)
            return
        lived_s = now - one.began
        first = one.deaths == 0 and not one.proven
        if process.returncode == UNUSABLE and first and lived_s < STARTS_S:
            self._unusable = one.child.name
        if lived_s > HEALTHY_S:
            one.deaths = 0
        one.rested = now + BACKOFF_S[min(one.deaths, len(BACKOFF_S) - 1)]
        one.due = max(one.rested, now + one.child.pause_s)
        one.deaths += 1
        peers = [other for other in self._all if other.child.pause_s]
        if all(other.process is None for other in peers):
            for other in peers:
                other.due = other.rested
        status = "stuck" if process.returncode == STUCK else process.returncode
        log.warning("%s (%d) died: %s", one.child.name, process.pid, status)

    def _tell(self, one: _Running, process: subprocess.Popen[bytes]) -> None:
        """Those who hear of deaths."""
        told = json.dumps({"worker_lost": one.child.name, "pid": process.pid}).encode() + b"\n"
        for other in self._all:
            if other.child.hears_deaths and other.process is not None and other is not one:
                assert other.process.stdin is not None
                with suppress(BlockingIOError, BrokenPipeError):
                    os.write(other.process.stdin.fileno(), told)

    def _end_all(self) -> None:
        for last in (False, True):
            some = [one for one in self._all if one.child.last is last and one.process is not None]
            for one in some:
                assert one.process is not None
                one.process.terminate()
            until = time.monotonic() + KILL_AFTER_S
            for one in some:
                assert one.process is not None
                _wait(one.process, until)
                if one.process.stdin is not None:
                    one.process.stdin.close()
        os.close(self._woken)


def _wait(process: subprocess.Popen[bytes], until: float) -> None:
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.warning("%d does not end: it is killed", process.pid)
        process.kill()
        process.wait()
