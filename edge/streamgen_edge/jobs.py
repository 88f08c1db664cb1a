"""Jobs by the API, where a store is configured. For administrators.

Their files lie below `media_roots`, and so do the pieces that are made of them. Who makes them is
`streamgen jobs work`, here or elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from fastapi import Body, FastAPI, HTTPException, Response
from pydantic import Field

from streamgen.config import Settings
from streamgen.control.api.jobs import RETRY_S, Standings, standing_routes, stored
from streamgen.control.api.tallied import Tally
from streamgen.control.jobs.order import JobOrder
from streamgen.control.offline import Sound, check_fragmented, plan
from streamgen.errors import ConfigError, StreamGenError
from streamgen.ingest.address import is_url
from streamgen.plugins import find
from streamgen_edge.roots import refuse_outside, usable_pipeline, within
from streamgen_edge.store import LateStore

AT_ONCE = 2
"""Files that are read to be cut."""


class JobRequest(Settings):
    """One file, and what becomes of it."""

    pipeline: str | dict[str, Any]
    """The name of a built-in one, or one as it stands in a file."""
    input: str
    """A file, by its whole path."""
    output: str
    """A file, or a folder ending in `/` for an HLS ladder."""
    audio: Sound = Sound.FIRST
    fragmented: bool = False
    """Write MP4 in fragments."""
    overwrite: bool = False
    """Replace an output that exists."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Lower goes first."""


class Board(Standings, Protocol):
    """What there must be of `control.jobs.board.JobBoard`, which needs an extra."""

    async def tally(self) -> Tally: ...
    async def submit(self, order: JobOrder, *, priority: int = 0) -> dict[str, Any]: ...


def board(store: LateStore) -> Board:
    """The jobs of a server's store."""
    found: Board = find("board", "jobs")(store)
    return found


def job_routes(
    app: FastAPI, jobs: Board, roots: Callable[[], Sequence[Path]], admin: list[Any]
) -> None:
    standing_routes(app, jobs, admin)
    reading = asyncio.Semaphore(AT_ONCE)

    @app.post("/v1/jobs", dependencies=admin, status_code=201)
    async def submit_job(
        request: Annotated[JobRequest, Body()], response: Response
    ) -> dict[str, Any]:
        """Answers once the file is read and cut. The same again is the same job, while that is
        under way or its output is there."""
        if reading.locked():
            raise HTTPException(503, "other files are being read", {"retry-after": RETRY_S})
        async with reading:
            try:
                order = await asyncio.to_thread(ordered, request, roots())
                with stored():
                    row = await jobs.submit(order, priority=request.priority)
            except StreamGenError as error:
                raise HTTPException(422, str(error)) from error
        response.headers["location"] = f"/v1/jobs/{row['name']}"
        return row


def ordered(request: JobRequest, roots: Sequence[Path]) -> JobOrder:
    """What is asked for, as jobs are stored. Raises `ConfigError`, `SourceError`."""
    pipeline = usable_pipeline(request.pipeline, "job")
    if not isinstance(request.pipeline, str):
        refuse_outside(roots, pipeline, {}, frozenset())
    source, output = _below(roots, request.input), _below(roots, request.output)
    if not source.is_file():
        raise ConfigError(f"{request.input}: no such file")
    ending = "/" if request.output.endswith("/") else ""
    wanted = plan([str(source)], f"{output}{ending}")
    if request.fragmented:
        check_fragmented(wanted)
    return JobOrder(
        pipeline=pipeline,
        input=str(source),
        output=str(output),
        ladder=wanted[0].ladder,
        sound=request.audio,
        fragmented=request.fragmented,
        overwrite=request.overwrite,
    )


def _below(roots: Sequence[Path], name: str) -> Path:
    if is_url(name) or "\0" in name or not Path(name).is_absolute():
        raise ConfigError(f"'{name}' is not the whole path of a file of this machine")
    return within(roots, Path(name))
