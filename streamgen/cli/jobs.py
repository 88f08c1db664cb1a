"""`streamgen jobs`: files as jobs, made by pieces wherever there is time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import typer

from streamgen.cli.lines import one_line
from streamgen.config import cores
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import FINAL, cancel, submit
from streamgen.control.jobs.working import Workshop, give_up_place
from streamgen.control.offline import Sound, check_fragmented, plan
from streamgen.control.store import Job, Store
from streamgen.errors import ConfigError, StreamGenError
from streamgen.ingest.address import local_path
from streamgen.pipeline import load_pipeline, pipeline_value

POLL_S = 0.5
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
T = TypeVar("T")
WHERE = typer.Option(
    "", "--store", envvar="STREAMGEN_STORE", help="URL of the database; default: a file of yours."
)


@app.callback()
def jobs() -> None:
    """Files as jobs, made by pieces wherever there is time."""


@app.command(name="submit")
def submit_(
    pipeline: str = typer.Argument(..., help="A ready-made pipeline, or the path of a YAML file."),
    inputs: list[str] = typer.Argument(..., help="Files, directories or patterns."),
    output: str = typer.Option(..., "-o", "--output", help="A file, or a folder ending in '/'."),
    overrides: list[str] = typer.Option([], "--set", metavar="STAGE.PARAM=VALUE"),
    priority: int = typer.Option(0, help="Lower goes first."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace outputs that exist."),
    fragmented: bool = typer.Option(False, "--fragmented", help="Write MP4 in fragments."),
    audio: Sound = typer.Option(Sound.FIRST, help="Which audio tracks to carry along."),
    where: str = WHERE,
) -> None:
    """Order outputs; prints the name of each job. Asking for the same again is the same job."""
    load_pipeline(pipeline, overrides)
    value = pipeline_value(pipeline, overrides)
    wanted = plan(inputs, output)
    if fragmented:
        check_fragmented(wanted)

    async def work(store: Store) -> None:
        for one in wanted:
            order = JobOrder(
                pipeline=value,
                input=str(local_path(one.input).absolute()),
                output=str(one.output.absolute()),
                ladder=one.ladder,
                sound=audio,
                fragmented=fragmented,
                overwrite=overwrite,
            )
            job = await submit(store, order, priority=priority, now_ms=_wall(datetime.now)())
            typer.echo(job.name)

    _with_store(where, work)


@app.command(name="list")
def list_(
    as_json: bool = typer.Option(False, "--json", help="Print a JSON array."), where: str = WHERE
) -> None:
    """Every job and how it stands."""

    async def work(store: Store) -> None:
        rows = [await _row(store, job) for job in await store.all(Job)]
        rows.sort(key=lambda row: row["created_ms"])
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        for row in rows:
            done = f"{row['pieces_done']}/{row['pieces']}"
            typer.echo(one_line(f"{row['name']}  {row['state']:<9}  {done:>9}  {row['output']}"))

    _with_store(where, work)


@app.command()
def show(name: str = typer.Argument(..., help="Name of a job."), where: str = WHERE) -> None:
    """All that is known of a job, as JSON."""

    async def work(store: Store) -> None:
        job = await _found(store, name)
        row = await _row(store, job)
        row |= {key: job.facts[key] for key in ("error", "report") if key in job.facts}
        typer.echo(json.dumps(row, indent=2))

    _with_store(where, work)


@app.command(name="cancel")
def cancel_(name: str = typer.Argument(..., help="Name of a job."), where: str = WHERE) -> None:
    """End a job; what was made of it is thrown away."""

    async def work(store: Store) -> None:
        job = await cancel(store, await _found(store, name))
        if job.state == "cancelled":
            give_up_place(job)
        typer.echo(job.state)

    _with_store(where, work)


@app.command()
def wait(names: list[str] = typer.Argument(..., help="Names of jobs."), where: str = WHERE) -> None:
    """Until jobs are over; fails when one has no output."""

    async def work(store: Store) -> None:
        failed = []
        for name in names:
            job = await _over(store, name)
            typer.echo(f"{name} {job.state}")
            if job.state != "done":
                failed.append(f"{name}: {job.facts.get('error', job.state)}")
        if failed:
            raise StreamGenError("; ".join(failed))

    _with_store(where, work)


@app.command(name="work")
def work_(
    processes: int = typer.Option(0, min=0, help="Pieces at once; default: one for two cores."),
    until_idle: bool = typer.Option(False, "--until-idle", help="End when there is no work left."),
    where: str = WHERE,
) -> None:
    """Make pieces of jobs until told to end. Any number of these may run, on any machine that
    has the files under the same names."""

    async def work(store: Store) -> None:
        owner = f"{socket.gethostname()[:60]}-{os.getpid()}"
        many = processes or max(1, cores() // 2)
        workshop = Workshop(store, owner, processes=many, wait=not until_idle)
        workshop.follow(lambda line: typer.echo(one_line(line)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, workshop.stop)
        await workshop.run()

    _with_store(where, work)


async def _over(store: Store, name: str) -> Job:
    while True:
        job = await _found(store, name)
        if job.state in FINAL:
            return job
        await asyncio.sleep(POLL_S)


async def _found(store: Store, name: str) -> Job:
    job = await store.one(Job, name)
    if job is None:
        raise ConfigError(f"there is no job '{name}'")
    return job


async def _row(store: Store, job: Job) -> dict[str, Any]:
    order = JobOrder.model_validate(job.facts["order"])
    pieces = await store.work.chunks(job.name)
    done = [piece for piece in pieces if piece["state"] == "done"]
    return {
        "name": job.name,
        "state": job.state,
        "created_ms": job.created_ms,
        "priority": job.priority,
        "input": order.input,
        "output": order.output,
        "pieces": order.pieces,
        "pieces_done": len(done),
        "frames": order.frames,
        "frames_done": sum(piece["result"]["frames"] for piece in done),
    }


def _with_store(where: str, work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with Store(where or _own_file(), _wall(datetime.now)) as store:
            return await work(store)

    return asyncio.run(opened())


def _own_file() -> str:
    """The database of this user on this machine."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(state) / "streamgen"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'state.db'}"


def _wall(now: Callable[[], datetime]) -> Callable[[], int]:
    """Milliseconds since 1970 by a clock on the wall."""
    return lambda: round(now().timestamp() * 1000)
