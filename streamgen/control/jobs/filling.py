"""A process that fills the idle time of a node with pieces of jobs:
`python -m streamgen.control.jobs.filling`.

It hears on its standard input, in lines of JSON, where the jobs are, and then again and again how
many pieces may be at work; it says on its standard output, in lines of JSON, how many are. The end
of its input is the death of its parent: it gives back what it has, and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

from streamgen.control.jobs.working import Workshop
from streamgen.control.store import Store
from streamgen.errors import StreamGenError

MODULE = "streamgen.control.jobs.filling"
TELL_S = 0.1
"""Between two looks whether there is news."""
ENDS_WITHIN_S = 10.0
"""What cannot be given back by then is taken by others, once its claim has run out."""


def main() -> None:
    """Fill idle time until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    try:
        asyncio.run(_filled(out))
    except StreamGenError as error:
        _say(out, {"error": str(error)})
    os._exit(0)  # what still reads or writes here has nobody left to tell


async def _filled(out: BinaryIO) -> None:
    heard = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(heard), sys.stdin)
    words = json.loads(await heard.readline())
    async with Store(words["store"], _wall(datetime.now)) as store:
        workshop = Workshop(store, words["owner"], processes=words["processes"])
        workshop.limit(0, 0)
        working = asyncio.create_task(workshop.run())
        hearing = asyncio.create_task(_hear(heard, workshop))
        telling = asyncio.create_task(_tell(out, workshop))
        tasks = [working, hearing, telling]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        workshop.stop()
        await asyncio.wait([working], timeout=ENDS_WITHIN_S)
        if working.done():
            working.result()


def _wall(now: Callable[[], datetime]) -> Callable[[], int]:
    """Milliseconds since 1970 by a clock on the wall."""
    return lambda: round(now().timestamp() * 1000)


async def _hear(heard: asyncio.StreamReader, workshop: Workshop) -> None:
    while line := await heard.readline():
        room = json.loads(line)
        workshop.limit(room["begins"], room["keeps"])


async def _tell(out: BinaryIO, workshop: Workshop) -> None:
    said: dict[str, Any] = {}
    while True:
        words = {"at_work": workshop.at_work, "pieces": workshop.pieces}
        if words != said:
            _say(out, words)
        said = words
        await asyncio.sleep(TELL_S)


def _say(out: BinaryIO, words: dict[str, Any]) -> None:
    with suppress(OSError):
        out.write(json.dumps(words).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
