"""A process that makes pieces of a file: `python -m streamgen.control.chunks.child`.

It hears orders on its standard input, and behind each the numbers of pieces, one at a time; it says
on its standard output, in lines of JSON, how far it is and when one is whole. The end of its input
is the death of its parent: it ends at once, and what was not whole is made again by somebody else.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO

from streamgen.control.chunks.cuts import Chunk, shown_order
from streamgen.control.chunks.folder import Planned, read_plan
from streamgen.control.chunks.packets import PacketFile
from streamgen.control.chunks.reading import ChunkSource, OwnPictures, capped
from streamgen.control.yielding import yield_to_others
from streamgen.errors import OutputError, StreamGenError
from streamgen.graph.lane import Lane
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.report import measure, progress
from streamgen.session import Session, run
from streamgen.telemetry import Telemetry

MODULE = "streamgen.control.chunks.child"
TELL_S = 0.25
"""Between two words on how far it is."""
DEPTH = 4
"""Lines that were heard and wait; who gives orders waits for each piece."""


@dataclass(frozen=True, slots=True)
class Order:
    """What all pieces have in common."""

    pipeline: Pipeline
    input: str
    folder: Path
    top_only: bool
    processors: tuple[int, ...]
    """Where it may run; empty: anywhere."""
    identity: str
    """Of the plan in that folder."""
    yields: bool = False
    """Take only what everything else on the machine leaves; a process does so to its end."""
    words: Path | None = None
    """Where it says what is for people."""

    def line(self) -> bytes:
        """For the child's standard input. Only its parent writes there."""
        return b"order " + base64.b64encode(pickle.dumps(self)) + b"\n"


class Parent:
    """The other end of the pipes. Lines are written by any thread."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def say(self, **words: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(words).encode() + b"\n")
            self._out.flush()


def main() -> None:
    """Make pieces until standard input ends."""
    heard = sys.stdin.buffer
    order = _ordered(heard.readline())
    # What libraries print goes elsewhere.
    parent = Parent(os.fdopen(os.dup(1), "wb"))
    if order.yields:
        yield_to_others()
    _settle(order)
    lines: Queue[bytes] = Queue(maxsize=DEPTH)
    threading.Thread(target=_listen, args=(heard, lines), daemon=True).start()
    with Lane() as lane:
        while True:
            line = lines.get()
            if line.startswith(b"order "):
                order = _ordered(line)
                _settle(order)
                continue
            number = int(line)
            try:
                made = _made(order, number, parent, lane)
            except StreamGenError as error:
                parent.say(error=type(error).__name__, text=str(error), number=number)
            else:
                parent.say(made=made, number=number)


def _ordered(line: bytes) -> Order:
    found: Order = pickle.loads(base64.b64decode(line.removeprefix(b"order ")))
    return found


def _settle(order: Order) -> None:
    """Become what the order asks for; threads of before stay where they are."""
    if order.words is not None:
        words = os.open(order.words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(words, 2)
        os.close(words)
    os.dup2(2, 1)
    if order.processors and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order.processors)


def _listen(heard: BinaryIO, lines: Queue[bytes]) -> None:
    for line in heard:
        lines.put(line)
    os._exit(0)


def _made(order: Order, number: int, parent: Parent, lane: Lane) -> int:
    planned = read_plan(order.folder)
    if planned is None or planned.identity != order.identity:
        raise OutputError(f"the plan of {order.input} is lost: {order.folder}")
    return _make(order, planned, planned.chunks[number], parent, lane)


def _make(order: Order, planned: Planned, chunk: Chunk, parent: Parent, lane: Lane) -> int:
    """Carry one piece through a session of its own; returns the number of its pictures."""
    source = ChunkSource(order.input, planned.survey, chunk)
    outlet = PacketFile(order.folder, chunk.number, planned.identity)
    session = open_session(
        order.pipeline,
        source,
        [outlet],
        lane=lane,
        telemetry=Telemetry(),
        top_only=order.top_only,
        timeline=source,
        sounds={},
    )
    with session, _telling(parent, session, chunk):
        _catch_up(session, planned, chunk)
        session.share = OwnPictures(chunk)
        run(session)
        report = measure(session)
    if session.telemetry.counts("rungs_lost"):
        raise OutputError("; ".join(session.notes))
    outlet.publish(report)
    return report.frames_out


def _catch_up(session: Session, planned: Planned, chunk: Chunk) -> None:
    """Let what remembers the whole stream meet the times that come before this piece."""
    order = shown_order(planned.survey)
    if session.cap is None or order is None:
        return
    times_ns = planned.survey.times_ns(planned.survey.rows["pts"][order])
    capped(planned.survey, order[times_ns < chunk.warm_ns], session.cap)


@contextmanager
def _telling(parent: Parent, session: Session, chunk: Chunk) -> Iterator[None]:
    left = threading.Event()

    def telling() -> None:
        while not left.wait(TELL_S):
            state = progress(session)
            parent.say(number=chunk.number, frames=state.frames, load=state.load)

    thread = threading.Thread(target=telling, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


if __name__ == "__main__":
    main()
