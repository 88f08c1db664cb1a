"""A process that writes rows from many tasks at once and says which were acknowledged, until it is
killed. Run with the store's URL and a job's name. Who runs it again writes all of it again, as one
does who does not know what has arrived."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from itertools import count

from streamgen.control.store import Chunk, Store, Stream

WRITERS = 16


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def written(job: str, number: int) -> tuple[Stream, Chunk]:
    """What one write has: both or none."""
    return Stream(f"{job}-{number:06}", "live", facts={"number": number}), Chunk(job, number)


async def main(url: str, job: str) -> None:
    numbers = count()
    async with Store(url, wall_ms) as store, asyncio.TaskGroup() as writers:

        async def write() -> None:
            for number in numbers:
                await store.write(*written(job, number))
                os.write(1, b"%d\n" % number)

        for _ in range(WRITERS):
            writers.create_task(write())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
