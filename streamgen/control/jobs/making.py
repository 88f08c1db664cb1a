"""The pieces of a job, where they lie: what is to be made, what is made, and their end."""

from __future__ import annotations

import shutil
from pathlib import Path

from streamgen.config import check
from streamgen.control.chunks.child import Order
from streamgen.control.chunks.folder import adopt, owner_name, owner_of
from streamgen.control.chunks.packets import Made, made_already
from streamgen.control.jobs.order import JobOrder
from streamgen.control.store import Job


def order_of(job: Job) -> JobOrder:
    """Raises `ConfigError` for what this version does not understand."""
    return check(JobOrder, job.facts["order"])


def work_of(job: Job, share: tuple[int, ...], yields: bool) -> Order:
    """What a process that makes pieces of a job is told. Raises `ConfigError`, `OutputError`."""
    order = order_of(job)
    folder = Path(order.place)
    adopt(folder, owner_name(job.name))
    return Order(
        order.loaded(),
        order.input,
        folder,
        not order.ladder,
        processors=share,
        identity=order.identity,
        yields=yields,
    )


def made_of(job: Job, number: int, *, check: bool = False) -> Made | None:
    """A piece that is whole; `check` reads all of it."""
    order = order_of(job)
    return made_already(Path(order.place), number, order.identity, check=check)


def give_up_place(job: Job) -> None:
    """Take away the pieces of a job that is over. Its folder may be another job's by now."""
    place = Path(order_of(job).place)
    if owner_of(place) == owner_name(job.name):
        shutil.rmtree(place, ignore_errors=True)
