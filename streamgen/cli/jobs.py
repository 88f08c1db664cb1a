"""`streamgen jobs`: files as jobs, made by pieces wherever there is time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer

from streamgen.cli.lines import one_line
from streamgen.cli.listing import show as show_rows
from streamgen.cli.served import TOKEN, ServedJobs, Unreachable
from streamgen.cli.waiting import Watched, found, summary, wait_for
from streamgen.config import cores, own_database
from streamgen.control.jobs.board import JobBoard
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.jobs.working import Workshop
from streamgen.control.offline import Job, Sound, check_fragmented, file_name, plan
from streamgen.control.store import Store
from streamgen.control.store.late import LateStore
from streamgen.errors import ConfigError, StoreError, StreamGenError
from streamgen.ingest.address import local_path
from streamgen.pipeline import load_pipeline, pipeline_value
from streamgen.plugins import pipeline_files

MOST_REASONS = 5
STATES = ("waiting", "running", "joining", "done", "failed", "cancelled")
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
T = TypeVar("T")
WHERE = typer.Option(
    "", "--store", envvar="STREAMGEN_STORE", help="URL of the database; default: a file of yours."
)
SERVER = typer.Option(
    "",
    "--server",
    envvar="STREAMGEN_SERVER",
    help=f"URL of a server to ask instead. {TOKEN} has its token.",
)


class Board(Watched, Protocol):
    """Jobs of a store, or of a server."""

    async def cancel(self, name: str) -> dict[str, Any] | None: ...


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
    server: str = SERVER,
) -> None:
    """Order outputs; prints the name of each job. Asking for the same again is the same job."""
    load_pipeline(pipeline, overrides)
    value = pipeline_value(pipeline, overrides)
    if server:
        ours: str | dict[str, Any] = value
        if not overrides and pipeline in pipeline_files():
            ours = pipeline
        served = ServedJobs(server)

        async def ask(pair: tuple[str, str]) -> str:
            row = served.submit(
                pipeline=ours,
                input=pair[0],
                output=pair[1],
                audio=audio.value,
                fragmented=fragmented,
                overwrite=overwrite,
                priority=priority,
            )
            return str(row["name"])

        asyncio.run(_each(_absolute(inputs, output), ask))
        return
    wanted = plan(inputs, output)
    if fragmented:
        check_fragmented(wanted)

    async def work(store: Store) -> None:
        async def order(one: Job) -> str:
            order = JobOrder(
                pipeline=value,
                input=str(local_path(one.input).absolute()),
                output=str(one.output.absolute()),
                ladder=one.ladder,
                sound=audio,
                fragmented=fragmented,
                overwrite=overwrite,
            )
            now_ms = _wall(datetime.now)()
            return (await submit(store, order, priority=priority, now_ms=now_ms)).name

        await _each(wanted, order)

    _with_store(where, work)


async def _each(wanted: Sequence[T], order: Callable[[T], Awaitable[str]]) -> None:
    """Order one after the other, and print the names of the jobs. One that cannot be a job does not
    stop the others. Raises the error of the only one, or how many there were."""
    wrong = 0
    for one in wanted:
        try:
            typer.echo(await order(one))
        except (StoreError, Unreachable):
            raise
        except StreamGenError as error:
            if len(wanted) == 1:
                raise
            typer.echo(f"streamgen: {one_line(str(error))}", err=True)
            wrong += 1
    if wrong:
        raise StreamGenError(f"{wrong} of {len(wanted)} inputs are no jobs")


@app.command(name="list")
def list_(
    state: list[str] = typer.Option(
        [], help="Only those that stand so, as waiting or failed; more than once for several."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print a JSON array."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """Jobs and how they stand, from old to new, and how many stand how."""
    if unknown := set(state) - set(STATES):
        raise ConfigError(f"no state of a job: '{min(unknown)}' (there are: {', '.join(STATES)})")

    async def work(board: Board) -> None:
        every = await board.rows()
        rows = [row for row in every if not state or row["state"] in state]
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        cells = [row | {"made": _made(row), "output": one_line(row["output"])} for row in rows]
        if cells:
            show_rows(cells, ["name", "state", "made", "output"], as_json=False)
        typer.echo(summary(every), err=True)

    _with_board(where, server, work)


def _made(row: dict[str, Any]) -> str:
    share = row["frames_done"] / row["frames"] if row["frames"] else float(row["state"] == "done")
    return f"{int(100 * share):3d} %"


@app.command()
def show(
    name: str = typer.Argument(..., help="Name of a job."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """All that is known of a job, as JSON."""

    async def work(board: Board) -> None:
        typer.echo(json.dumps(found(await board.row(name), name), indent=2))

    _with_board(where, server, work)


@app.command(name="cancel")
def cancel_(
    name: str = typer.Argument(..., help="Name of a job."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """End a job; what was made of it is thrown away."""

    async def work(board: Board) -> None:
        typer.echo(found(await board.cancel(name), name)["state"])

    _with_board(where, server, work)


@app.command()
def wait(
    names: list[str] = typer.Argument(None, help="Names of jobs; none: all that are not over."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """Until jobs are over, with their progress; fails when one has no output."""

    async def work(board: Board) -> None:
        failed = [row for row in await wait_for(board, names or []) if row["state"] != "done"]
        reasons = [f"{row['name']}: {row.get('error', row['state'])}" for row in failed]
        if reasons:
            more = f"; and {len(reasons) - MOST_REASONS} more" * (len(reasons) > MOST_REASONS)
            raise StreamGenError("; ".join(reasons[:MOST_REASONS]) + more)

    _with_board(where, server, work)


@app.command(name="work")
def work_(
    processes: int = typer.Option(0, min=0, help="Pieces at once; default: one for two cores."),
    until_idle: bool = typer.Option(False, "--until-idle", help="End when there is no work left."),
    yields: bool = typer.Option(
        True, "--yield/--no-yield", help="Take only what everything else on the machine leaves."
    ),
    where: str = WHERE,
) -> None:
    """Make pieces of jobs until told to end. Any number of these may run, on any machine that
    has the files under the same names."""

    async def work(store: Store) -> None:
        owner = f"{socket.gethostname()[:60]}-{os.getpid()}"
        many = processes or max(1, cores() // 2)
        workshop = Workshop(store, owner, processes=many, wait=not until_idle, yields=yields)
        workshop.follow(lambda line: typer.echo(one_line(line)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, workshop.stop)
        await workshop.run()

    _with_store(where, work)


def _absolute(inputs: list[str], output: str) -> list[tuple[str, str]]:
    """Whole paths of each file and its output. Only the server need have the files."""
    if len(inputs) > 1 and not output.endswith("/"):
        raise ConfigError(f"{len(inputs)} inputs cannot become the one file '{output}'")
    target = str(Path(output).absolute())
    if len(inputs) == 1:
        return [(str(Path(inputs[0]).absolute()), target + "/" * output.endswith("/"))]
    return [(str(Path(one).absolute()), f"{target}/{file_name(one)}") for one in inputs]


def _with_board(where: str, server: str, work: Callable[[Board], Awaitable[T]]) -> T:
    async def opened() -> T:
        if server:
            return await work(ServedJobs(server))
        async with LateStore(where or own_database("state"), _wall(datetime.now)) as store:
            return await work(JobBoard(store))

    return asyncio.run(opened())


def _with_store(where: str, work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with Store(where or own_database("state"), _wall(datetime.now)) as store:
            return await work(store)

    return asyncio.run(opened())


def _wall(now: Callable[[], datetime]) -> Callable[[], int]:
    """Milliseconds since 1970 by a clock on the wall."""
    return lambda: round(now().timestamp() * 1000)
