"""`Crew`: processes that make the pieces of one file, and the threads that each follow one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from streamgen import errors
from streamgen.control.chunks.child import MODULE, Order
from streamgen.control.chunks.cuts import Chunk
from streamgen.errors import StreamGenError
from streamgen.media.queue import Cancelled
from streamgen.media.steps import StepGroup

TRIES = 3
"""Deaths of a process over one piece, after which the piece is at fault."""
MOST_ORDERS = 50
"""That one process sees; what libraries never give back is not taken for ever."""
_LAST_WORDS = 2000


@dataclass(slots=True)
class Hand:
    """A process that makes pieces. Idle, it may be kept for another crew: to start one costs a
    second of work."""

    process: subprocess.Popen[bytes]
    orders: int = 0

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                try:
                    end.close()
                except OSError:
                    continue  # what it was still to be told


class Crew:
    """Makes all of `chunks`, each exactly once as far as anybody can see.

    A process that dies is replaced, and its piece made again. An error that streamgen raises on
    purpose ends the run: it would come again.
    """

    def __init__(
        self,
        order: Order,
        chunks: Sequence[Chunk],
        jobs: int,
        *,
        place: int = 0,
        kept: list[Hand] | None = None,
    ) -> None:
        """`place` tells the logs of several crews in one folder apart. From `kept` it takes
        processes, and leaves there those that did well; the caller ends them."""
        self._first = place
        self._kept = kept
        self._order = order
        self._waiting = deque(chunks)
        processors = order.processors or sorted(usable())
        self._shares = shares(processors, min(jobs, len(chunks)))
        self._lock = threading.Lock()
        self._cancelled = False
        self._hands: dict[int, Hand] = {}
        self._frames: dict[int, int] = {}
        self._loads: dict[int, Mapping[str, float]] = {}
        self.deaths = 0

    def run(self) -> None:
        """Until all are made. Raises the first error, and `Cancelled` after `cancel`; no process
        is left."""
        with StepGroup(self) as group:
            for place in range(len(self._shares)):
                group.start(f"pieces-{place}", self._work, place)
        if self._cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """End every process, from any thread; `run` then raises."""
        with self._lock:
            self._cancelled = True
            for hand in self._hands.values():
                hand.process.kill()

    @property
    def pids(self) -> list[int]:
        with self._lock:
            return [hand.process.pid for hand in self._hands.values()]

    @property
    def frames(self) -> int:
        """Pictures encoded so far."""
        return sum(self._frames.values())

    @property
    def load(self) -> dict[str, float]:
        """Share of its time that each step is at work, the mean of all processes."""
        loads = list(self._loads.values())
        steps = dict.fromkeys(step for load in loads for step in load)
        return {step: sum(load.get(step, 0.0) for load in loads) / len(loads) for step in steps}

    def _work(self, place: int) -> None:
        hand: Hand | None = None
        well = False
        try:
            while (chunk := self._next()) is not None:
                for death in range(1, TRIES + 1):
                    hand = hand or self._started(place)
                    if self._made(hand.process, place, chunk):
                        break
                    status = hand.process.wait()
                    self._ended(place, hand)
                    hand = None
                    if self._cancelled:
                        raise Cancelled
                    self.deaths += 1
                    if death == TRIES:
                        raise StreamGenError(self._verdict(place, chunk, status))
            well = True
        finally:
            if hand is not None:
                self._ended(place, hand, keep=well)

    def _next(self) -> Chunk | None:
        with self._lock:
            if self._cancelled:
                raise Cancelled
            return self._waiting.popleft() if self._waiting else None

    def _started(self, place: int) -> Hand:
        words = self._words(place)
        order = replace(self._order, processors=self._shares[place], words=words)
        with self._lock:
            if self._cancelled:
                raise Cancelled
            hand = self._hands[place] = self._idle() or self._new(words)
        hand.orders += 1
        _tell(hand.process.stdin, order.line())
        return hand

    def _idle(self) -> Hand | None:
        while self._kept:
            hand = self._kept.pop()
            if hand.process.poll() is None:
                return hand
            hand.end()
        return None

    @staticmethod
    def _new(path: Path) -> Hand:
        with path.open("wb") as words:
            # A session of its own: Ctrl-C in a terminal is for us, and we end it; and the kernel
            # weighs it by itself.
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,
            )
        return Hand(process)

    def _ended(self, place: int, hand: Hand, *, keep: bool = False) -> None:
        with self._lock:
            self._hands.pop(place, None)
            keep = keep and not self._cancelled and hand.orders < MOST_ORDERS
            if keep and self._kept is not None:
                self._kept.append(hand)
                return
        hand.end()

    def _made(self, process: subprocess.Popen[bytes], place: int, chunk: Chunk) -> bool:
        """Have one piece made. False: the process has died over it."""
        assert process.stdout is not None
        _tell(process.stdin, b"%d\n" % chunk.number)
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # it died over this word
            words = json.loads(line)
            if words["number"] != chunk.number:
                continue
            if "error" in words:
                raise error_of(words["error"], words["text"])
            if "made" in words:
                self._frames[chunk.number] = words["made"]
                return True
            self._frames[chunk.number] = words["frames"]
            self._loads[place] = words["load"]
        self._frames[chunk.number] = 0
        return False

    def _words(self, place: int) -> Path:
        return self._order.folder / f"process-{self._first + place}.log"

    def _verdict(self, place: int, chunk: Chunk, status: int) -> str:
        said = self._words(place).read_bytes()[-_LAST_WORDS:].decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return (
            f"{self._order.input}: piece {chunk.number + 1} ended its process {TRIES} times "
            f"({how}{': ' if last else ''}{last})"
        )


def shares(processors: Sequence[int], jobs: int) -> list[tuple[int, ...]]:
    """The processors of each process: all of them, shared out; one each where there are fewer."""
    if not processors:
        return [()] * jobs
    if jobs >= len(processors):
        return [(processors[place % len(processors)],) for place in range(jobs)]
    return [tuple(processors[place::jobs]) for place in range(jobs)]


def usable() -> set[int]:
    """Processors that this process may use; empty where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _tell(pipe: IO[bytes] | None, line: bytes) -> None:
    assert pipe is not None
    try:
        pipe.write(line)
        pipe.flush()
    except OSError:
        pass  # it has died: the end of its output says so


def error_of(kind: str, text: str) -> StreamGenError:
    """An error of a child, as one of ours, where its kind takes a text alone."""
    known: dict[str, type[StreamGenError]] = {
        "ConfigError": errors.ConfigError,
        "SourceError": errors.SourceError,
        "ModelError": errors.ModelError,
        "OutputError": errors.OutputError,
        "StoreError": errors.StoreError,
    }
    return known.get(kind, StreamGenError)(text)
