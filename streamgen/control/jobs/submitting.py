"""Files become jobs in the store, cut and ready to be claimed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from pathlib import Path

from streamgen.control.chunks.chunked import identity_of, plan_pieces
from streamgen.control.chunks.cuts import Cuts
from streamgen.control.chunks.folder import (
    Planned,
    Workplace,
    disown,
    owner_name,
    owner_of,
    place_of,
)
from streamgen.control.jobs.order import JobOrder
from streamgen.control.store import Chunk, Job, Store
from streamgen.control.store.jobs import OVER
from streamgen.deliver.manifest import Manifest
from streamgen.errors import ConfigError
from streamgen.ingest.address import is_url, local_path
from streamgen.ingest.container import open_source

FINAL = frozenset(OVER)
ABOUT = 4
"""Processes that a file is cut for, where nobody says how many there will be."""


async def submit(store: Store, order: JobOrder, *, priority: int = 0, now_ms: int) -> Job:
    """A job for this file; the one there is, where the same was asked for before and is not over
    without an output. Raises `ConfigError`, `SourceError`, `OutputError`, `StoreError`.
    """
    if is_url(order.input) or not local_path(order.input).is_file():
        raise ConfigError(f"{order.job.name}: jobs are made of files")
    manifest = order.manifest()
    identity = identity_of(manifest)
    key = hashlib.sha256(f"{identity} {order.output}".encode()).hexdigest()
    before = await store.jobs.under(key)
    for job in before:
        if job.state not in FINAL or (job.state == "done" and _there(order)):
            return job
    place = place_of(Path(order.output))
    await _take(store, order, place)
    with Workplace(Path(order.output)) as workplace:
        planned = _planned(order, manifest, workplace)
        full = _full(order, place, identity, planned)
        name = f"{now_ms:011x}{secrets.token_hex(2)}"  # in the order of time: older ones go first
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
        # Behind the rows: whoever dies before has left a folder that nobody owns.
        workplace.give_to(owner_name(made.name))
    return made


def _there(order: JobOrder) -> bool:
    return Path(order.output).exists()


async def _take(store: Store, order: JobOrder, place: Path) -> None:
    """A folder whose job is over is free, whoever died before it was taken away. Raises
    `ConfigError` where it is not, `StoreError`."""
    owner = owner_of(place)
    job = await store.one(Job, owner.removeprefix(owner_name(""))) if owner else None
    if job is not None and job.state in FINAL:
        disown(place)
    elif owner:
        raise ConfigError(f"{order.output} is being made by {owner}")


def _planned(order: JobOrder, manifest: Manifest, workplace: Workplace) -> Planned | str:
    """How the input is cut, which stands in the folder then; or why it is not. Pieces of a job that
    failed stay, if they are of the same."""
    identity = identity_of(manifest)
    source = open_source(order.input)
    try:
        order.outlet(source.info, manifest)
        before = workplace.load()
        if before is not None and before.identity == identity:
            return before
        planned = plan_pieces(order.how(ABOUT), identity, source)
    finally:
        source.close()
    workplace.clear()
    if isinstance(planned, Cuts):
        return planned.uncut
    workplace.save(planned)
    return planned


def _full(order: JobOrder, place: Path, identity: str, planned: Planned | str) -> JobOrder:
    facts: dict[str, object] = {"place": str(place), "identity": identity}
    if isinstance(planned, str):
        return order.model_copy(update=facts | {"pieces": 1, "uncut": planned})
    frames = sum(chunk.frames for chunk in planned.chunks)
    return order.model_copy(update=facts | {"pieces": len(planned.chunks), "frames": frames})


async def cancel(store: Store, job: Job) -> Job:
    """End a job: nobody begins with its pieces, who has one is told. Raises `StoreError`."""
    if job.state in FINAL:
        return job
    ended = replace(job, state="cancelled", version=job.version + 1)
    await store.write(ended)
    await store.work.withdraw(job.name)
    return ended
