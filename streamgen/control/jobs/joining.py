"""A process that joins the pieces of jobs: `python -m streamgen.control.jobs.joining`.

It hears orders on its standard input, one at a time, and says on its standard output, each in one
line of JSON, what became of them. The end of its input is the death of its parent: it ends at once.
With `--yield` it takes only what the rest of the machine leaves, as those do that make the pieces;
who started it does not wait in that line, and holds the job meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO

from streamgen.control.chunks.crew import MOST_ORDERS, TRIES, error_of
from streamgen.control.chunks.join import Assembly
from streamgen.control.chunks.packets import Made, made_already
from streamgen.control.chunks.summing import Sum, summed
from streamgen.control.jobs.order import JobOrder
from streamgen.control.offline import Job, Sound, carry
from streamgen.control.yielding import yield_to_others
from streamgen.deliver.atomic import sweep
from streamgen.deliver.manifest import Manifest, matches
from streamgen.errors import OutputError, StreamGenError
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.report import Report
from streamgen.session import Session
from streamgen.telemetry import Telemetry

MODULE = "streamgen.control.jobs.joining"
YIELD = "--yield"
LONGEST_REPORT = 16 << 20


class Joiners:
    """Processes that join. One that is idle is kept, as it takes a second of work to start.
    Close it."""

    def __init__(self, yields: bool) -> None:
        self._line = [sys.executable, "-m", MODULE, *([YIELD] if yields else [])]
        self._kept: list[tuple[Process, int]] = []

    async def join(self, order: JobOrder) -> dict[str, Any] | None:
        """Have the pieces of a job joined by a process; its report. None where the output was
        there already, made by somebody who died before he could say so.

        Cancelled, it ends the process. Raises what outlets raise.
        """
        for _ in range(TRIES):
            line = await self._said(order)
            if line.endswith(b"\n"):
                break
        else:
            raise OutputError(f"{order.output}: joining it ended its process {TRIES} times")
        words = json.loads(line)
        if "error" in words:
            raise error_of(words["error"], words["text"])
        report: dict[str, Any] | None = words["report"]
        return report

    async def close(self) -> None:
        while self._kept:
            await _end(self._kept.pop()[0])

    async def _said(self, order: JobOrder) -> bytes:
        """A line of a process that joins; less than a line of one that dies."""
        process, orders = self._kept.pop() if self._kept else (await self._started(), 0)
        assert process.stdin is not None and process.stdout is not None
        well = False
        try:
            with suppress(ConnectionError):  # it has died: the end of its output says so
                process.stdin.write(order.model_dump_json().encode() + b"\n")
                await process.stdin.drain()
            line = await process.stdout.readline()
            well = line.endswith(b"\n")
            return line
        finally:
            if well and not self._kept and orders + 1 < MOST_ORDERS:
                self._kept.append((process, orders + 1))
            else:
                await _end(process)

    async def _started(self) -> Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._line, stdin=pipe, stdout=pipe, start_new_session=True, limit=LONGEST_REPORT
        )


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def ended(joining: asyncio.Future[Any]) -> None:
    """Call a joining off that is not over, and wait until it is."""
    joining.cancel()
    await asyncio.wait([joining])
    if not joining.cancelled():
        joining.exception()  # it is said elsewhere


def main() -> None:
    """Join jobs until standard input ends."""
    if YIELD in sys.argv[1:]:
        yield_to_others()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    lines: Queue[bytes] = Queue(maxsize=1)
    listening = threading.Thread(target=_listen, args=(sys.stdin.buffer, lines), daemon=True)
    listening.start()
    while True:
        try:
            report = joined(JobOrder.model_validate_json(lines.get()))
        except StreamGenError as error:
            words: dict[str, Any] = {"error": type(error).__name__, "text": str(error)}
        else:
            words = {"report": None if report is None else report.model_dump(mode="json")}
        out.write(json.dumps(words).encode() + b"\n")
        out.flush()


def _listen(heard: BinaryIO, lines: Queue[bytes]) -> None:
    for line in heard:
        lines.put(line)
    os._exit(0)


def joined(order: JobOrder) -> Report | None:
    """Put the pieces of a job together, in this process; None where the output was there already,
    or is there now: who was taken for dead may have finished it. Raises what outlets raise."""
    output, manifest = Path(order.output), order.manifest()
    try:
        if matches(output, manifest):
            return None
        return _whole(order) if order.uncut else _assembled(order, manifest)
    except OutputError:
        if not matches(output, manifest):
            raise
        return None
    finally:
        with suppress(OSError):
            sweep(output)


class _Nobody:
    """Follows what is made whole."""

    @contextmanager
    def watching(self, job: Job, session: Session, telemetry: Telemetry) -> Iterator[None]:
        yield


def _whole(order: JobOrder) -> Report | None:
    """Make what cannot be cut."""
    notes = [f"made by one process: {order.uncut}"]
    with Lane() as lane:
        done = carry(order.loaded(), order.job, order.choices, _Nobody(), lane, notes=notes)
    return done.report


def _assembled(order: JobOrder, manifest: Manifest) -> Report:
    planned = order.planned()
    pieces = _pieces(order, [chunk.number for chunk in planned.chunks])
    telemetry, notes = Telemetry(), list[str]()
    began_ns = telemetry.clock.now_ns()
    pipeline, every = order.loaded(), order.sound is Sound.ALL
    whole = Assembly(pipeline, Path(order.place), pieces, every, telemetry)
    with closing(open_source(order.input)) as source:
        outlet = order.outlet(source.info, manifest)
        try:
            sound = whole.into(source, outlet, notes)
        finally:
            outlet.abort()  # does nothing to one that has finished
    wall_s = (telemetry.clock.now_ns() - began_ns) / 1e9 + sum(p.report.wall_s for p in pieces)
    return summed(Sum(wall_s, 0.0, 1, order.frames, planned, sound), pieces, notes)


def _pieces(order: JobOrder, numbers: Sequence[int]) -> Sequence[Made]:
    place = Path(order.place)
    found = [made_already(place, number, order.identity) for number in numbers]
    if lost := [number + 1 for number, made in zip(numbers, found, strict=True) if made is None]:
        raise OutputError(f"pieces of {order.output} are lost: {lost[0]}")
    return [made for made in found if made is not None]


if __name__ == "__main__":
    main()
