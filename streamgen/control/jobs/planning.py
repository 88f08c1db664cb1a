"""A process that submits one job: `python -m streamgen.control.jobs.planning`.

To plan a job its input is read from end to end. That is nothing for a process that has streams to
serve, and whatever a file does to its reader, it does here. It hears the order on its standard
input and says the name of the job, or why there is none, on its standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any

from streamgen.control.chunks.crew import error_of
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.store import Store
from streamgen.errors import StreamGenError

MODULE = "streamgen.control.jobs.planning"
NICENESS = 10


async def submit_apart(url: str, order: JobOrder, priority: int, now_ms: int) -> str:
    """Have a job submitted by a process; its name. Cancelled, it ends the process.

    Raises what `submitting.submit` raises, and `StreamGenError` where the process died.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, stdin=pipe, stdout=pipe, start_new_session=True
    )
    words: dict[str, Any] = {"store": url, "order": order.model_dump(mode="json")}
    words |= {"priority": priority, "now_ms": now_ms}
    try:
        line, _ = await process.communicate(json.dumps(words).encode())
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if not line.endswith(b"\n"):
        raise StreamGenError(f"{order.job.name}: the process that reads it died")
    said = json.loads(line)
    if "error" in said:
        raise error_of(said["error"], said["text"])
    return str(said["name"])


def main() -> None:
    """Submit one job."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    words = json.load(sys.stdin)
    try:
        said = {"name": asyncio.run(_submitted(words))}
    except StreamGenError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    out.write(json.dumps(said).encode() + b"\n")
    out.flush()


async def _submitted(words: dict[str, Any]) -> str:
    order, now_ms = JobOrder.model_validate(words["order"]), words["now_ms"]
    async with Store(words["store"], lambda: now_ms) as store:
        return (await submit(store, order, priority=words["priority"], now_ms=now_ms)).name


if __name__ == "__main__":
    main()
