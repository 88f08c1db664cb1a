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
from typing import Any, Protocol, TypeVar

import typer

from streamgen.cli.lines import one_line
from streamgen.cli.served import TOKEN, ServedJobs
from streamgen.config import cores, own_database
from streamgen.control.jobs.board import JobBoard
from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import FINAL, submit
from streamgen.control.jobs.working import Workshop
from streamgen.control.offline import Sound, check_fragmented, file_name, plan
from streamgen.control.store import Store
from streamgen.errors import ConfigError, StreamGenError
from streamgen.ingest.address import local_path
from streamgen.pipeline import load_pipeline, pipeline_value
from streamgen.plugins import pipeline_files

POLL_S = 0.5
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


class Board(Protocol):
    """Jobs of a store, or of a server."""

    async def rows(self) -> list[dict[str, Any]]: ...
    async def row(self, name: str) -> dict[str, Any] | None: ...
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
        for source, target in _absolute(inputs, output):
            row = ServedJobs(server).submit(
                pipeline=ours,
                input=source,
                output=target,
                audio=audio.value,
                fragmented=fragmented,
                overwrite=overwrite,
                priority=priority,
            )
            typer.echo(row["name"])
        return
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
    as_json: bool = typer.Option(False, "--json", help="Print a JSON array."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """Every job and how it stands."""

    async def work(board: Board) -> None:
        rows = await board.rows()
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        for row in rows:
            done = f"{row['pieces_done']}/{row['pieces']}"
            typer.echo(one_line(f"{row['name']}  {row['state']:<9}  {done:>9}  {row['output']}"))

    _with_board(where, server, work)


@app.command()
def show(
    name: str = typer.Argument(..., help="Name of a job."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """All that is known of a job, as JSON."""

    async def work(board: Board) -> None:
        typer.echo(json.dumps(_found(await board.row(name), name), indent=2))

    _with_board(where, server, work)


@app.command(name="cancel")
def cancel_(
    name: str = typer.Argument(..., help="Name of a job."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """End a job; what was made of it is thrown away."""

    async def work(board: Board) -> None:
        typer.echo(_found(await board.cancel(name), name)["state"])

    _with_board(where, server, work)


@app.command()
def wait(
    names: list[str] = typer.Argument(..., help="Names of jobs."),
    where: str = WHERE,
    server: str = SERVER,
) -> None:
    """Until jobs are over; fails when one has no output."""

    async def work(board: Board) -> None:
        failed = []
        for name in names:
            row = await _over(board, name)
            typer.echo(f"{name} {row['state']}")
            if row["state"] != "done":
                failed.append(f"{name}: {row.get('error', row['state'])}")
        if failed:
            raise StreamGenError("; ".join(failed))

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


async def _over(board: Board, name: str) -> dict[str, Any]:
    while True:
        row = _found(await board.row(name), name)
        if row["state"] in FINAL:
            return row
        await asyncio.sleep(POLL_S)


def _found(row: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if row is None:
        raise ConfigError(f"there is no job '{name}'")
    return row


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
        async with JobBoard(where or own_database("state"), _wall(datetime.now)) as board:
            return await work(board)

    return asyncio.run(opened())


def _with_store(where: str, work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with Store(where or own_database("state"), _wall(datetime.now)) as store:
            return await work(store)

    return asyncio.run(opened())


def _wall(now: Callable[[], datetime]) -> Callable[[], int]:
    """Milliseconds since 1970 by a clock on the wall."""
    return lambda: round(now().timestamp() * 1000)
