"""Files become jobs in the store, cut and ready to be claimed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from pathlib import Path

from streamgen.control.chunks.chunked import identity_of, plan_pieces
from streamgen.control.chunks.cuts import Cuts
from streamgen.control.chunks.folder import Workplace, owner_of, place_of
from streamgen.control.jobs.order import JobOrder
from streamgen.control.store import Chunk, Job, Store
from streamgen.errors import ConfigError
from streamgen.ingest.address import is_url, local_path
from streamgen.ingest.container import open_source

FINAL = frozenset({"done", "failed", "cancelled"})
ABOUT = 4
"""Processes that a file is cut for, where nobody says how many there will be."""


async def submit(store: Store, order: JobOrder, *, priority: int = 0, now_ms: int) -> Job:
    """A job for this file; the one there is, where the same was asked for before and is not over
    without an output. Raises `ConfigError`, `SourceError`, `OutputError`, `StoreError`.
    """
    if is_url(order.input) or not local_path(order.input).is_file():
        raise ConfigError(f"{order.job.name}: jobs are made of files")
    identity = identity_of(order.manifest())
    key = hashlib.sha256(f"{identity} {order.output}".encode()).hexdigest()
    before = [job for job in await store.all(Job) if job.key.partition("-")[0] == key]
    for job in before:
        if job.state not in FINAL or (job.state == "done" and _there(order)):
            return job
    name = secrets.token_hex(6)
    full = _planned(order, name, identity)
    job = Job(
        name=name,
        key=key if not before else f"{key}-{len(before)}",
        state="waiting",
        created_ms=now_ms,
        priority=priority,
        facts={"order": full.model_dump(mode="json")},
    )
    chunks = [Chunk(name, number, priority) for number in range(full.pieces)]
    made = await store.work.submit(job, chunks)
    return made


def _there(order: JobOrder) -> bool:
    return Path(order.output).exists()


def _planned(order: JobOrder, name: str, identity: str) -> JobOrder:
    """The order with its plan, which lies beside the output."""
    source = open_source(order.input)
    try:
        order.outlet(source.info)
        place = place_of(Path(order.output))
        if owner_of(place):
            raise ConfigError(f"{order.output} is being made by {owner_of(place)}")
        with Workplace(Path(order.output)) as workplace:
            planned = plan_pieces(order.how(ABOUT), identity, source)
            if isinstance(planned, Cuts):
                raise ConfigError(
                    f"{order.job.name}: cannot be made by pieces ({planned.uncut}); "
                    "use 'streamgen run'"
                )
            workplace.clear()
            workplace.save(planned)
            workplace.give_to(f"job {name}")
    finally:
        source.close()
    frames = sum(chunk.frames for chunk in planned.chunks)
    return order.model_copy(
        update={
            "place": str(place),
            "identity": identity,
            "pieces": len(planned.chunks),
            "frames": frames,
        }
    )


async def cancel(store: Store, job: Job) -> Job:
    """End a job: nobody begins with its pieces, who has one is told. Raises `StoreError`."""
    if job.state in FINAL:
        return job
    ended = replace(job, state="cancelled", version=job.version + 1)
    await store.write(ended)
    await store.work.withdraw(job.name)
    return ended
