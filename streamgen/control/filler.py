"""`Filler`: has pieces of jobs made in what the streams of a node leave of it.

The coordinator does not count jobs: it places streams as if there were none, and nobody is asked
when one comes. The pieces are made by processes that take only what all else leaves of the
processors, from the moment that something else has to do; as streams take more of the node, fewer
pieces begin, and where memory would be short, those that began last go back at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import Process
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any

from streamgen.control.coordinator.events import Running
from streamgen.control.placement.resources import Resources

MODULE = "streamgen.control.jobs.filling"
CORES_EACH = 2
"""One piece keeps so many busy."""
PIECE_MB = 600
"""Memory that one piece is taken to need."""
IDLE = 0.1
"""A node that has less than this share of its processors left begins with nothing."""
AGAIN_S = (1.0, 5.0, 30.0)
"""Before a process that died is started again; the last one for every further time."""
HEALTHY_S = 60.0
LAST_WORDS_S = 5.0
"""What has been begun goes back in this time when the node ends."""
LONGEST_LINE = 1 << 16
log = logging.getLogger("streamgen.filler")


@dataclass(frozen=True, slots=True)
class Room:
    """For pieces, beside what streams take."""

    begins: int
    """None begins while so many are at work."""
    keeps: int
    """More than these go back at once."""


def taken(running: Iterable[Running]) -> Resources:
    """What streams take of a node, as it was promised to them."""
    found = Resources()
    for one in running:
        found += one.work.profile.need(one.cut)
    return found


def most(capacity: Resources) -> int:
    """Pieces at once on a node that has nothing else to do."""
    return max(1, capacity.cpu_ms // (1000 * CORES_EACH))


def room(capacity: Resources, streams: Resources) -> Room:
    """For as much as `streams` leave. Processor time is yielded by itself, so what is at work may
    end; memory is not."""
    left = 1 - streams.cpu_ms / capacity.cpu_ms if capacity.cpu_ms else 0.0
    by_time = ceil(most(capacity) * left) if left >= IDLE else 0
    by_memory = max(0, capacity.memory_mb - streams.memory_mb) // PIECE_MB
    if not streams.memory_mb:
        by_memory = max(1, by_memory)  # a small machine may try
    return Room(min(by_time, by_memory), by_memory)


class Filler:
    """On the event loop of a node."""

    def __init__(self, store: str, owner: str, capacity: Resources) -> None:
        """`store`: where the jobs are, by its URL. It may have a password, so it is in nobody's
        command line."""
        self.at_work = 0
        """Pieces that are being made now."""
        self._store, self._owner, self._capacity = store, owner, capacity
        self.room = room(capacity, Resources())
        """For pieces, as streams are now."""
        self._process: Process | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._under_way = False
        """There is a process, or will be."""

    @property
    def left(self) -> bool:
        """Nothing is under way any more, nor will it be."""
        return not self._wanted.is_set() and not self._under_way

    def beside(self, streams: Resources) -> None:
        """Streams take so much now; what was left goes on."""
        self._wanted.set()
        wanted = room(self._capacity, streams)
        if wanted != self.room:
            self.room = wanted
            self._tell()

    def leave(self) -> None:
        """Give back all that is begun, and begin with nothing: no process is there for it."""
        self._wanted.clear()
        process, self._process = self._process, None
        if process is not None:
            self._end(process)

    def _tell(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            self._write(process, {"begins": self.room.begins, "keeps": self.room.keeps})

    async def run(self) -> None:
        """Until cancelled. The process is started again when it dies, or could not be started: no
        stream of the node ends for want of pieces."""
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            await self._wanted.wait()
            began, self._under_way = loop.time(), True
            try:
                if await self._follow():
                    continue
            except (OSError, ValueError) as error:  # no memory for it; or a line that is none
                log.warning("what makes pieces of jobs: %s", error)
            finally:
                self._under_way = False
            deaths = 0 if loop.time() - began > HEALTHY_S else deaths + 1
            await asyncio.sleep(AGAIN_S[min(deaths, len(AGAIN_S) - 1)])

    async def _follow(self) -> bool:
        """Until the process ends; whether it was told to."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        words = {"store": self._store, "owner": self._owner, "processes": most(self._capacity)}
        self._write(process, words)
        self._tell()
        if not self._wanted.is_set():
            self.leave()
        try:
            while line := await process.stdout.readline():
                self._hear(json.loads(line))
            told = self._process is None
            if not told:
                log.warning("what makes pieces of jobs ended: %s", await process.wait())
            return told
        finally:
            self._process, self.at_work = None, 0
            self._end(process)
            try:
                await asyncio.wait_for(process.wait(), LAST_WORDS_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _hear(self, words: dict[str, Any]) -> None:
        if "error" in words:
            log.warning("jobs: %s", words["error"])
        else:
            self.at_work = int(words["at_work"])

    @staticmethod
    def _end(process: Process) -> None:
        """It gives back what it has, and ends."""
        assert process.stdin is not None
        process.stdin.close()

    @staticmethod
    def _write(process: Process, words: dict[str, Any]) -> None:
        assert process.stdin is not None
        with suppress(ConnectionError, RuntimeError):  # it died: the end of its output says so
            process.stdin.write(json.dumps(words).encode() + b"\n")
