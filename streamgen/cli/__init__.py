"""The command line: one module per command, loaded when it is called.

Exit status: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted (Ctrl-C, SIGTERM,
or the terminal closed).
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from types import FrameType, TracebackType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from streamgen import __version__
from streamgen.cli.lines import one_line, without_secrets
from streamgen.errors import ConfigError, StreamGenError

SUMMARIES = {
    "run": "Run a pipeline over files, folders or URLs.",
    "demo": "Publish a clip live, watch it, and say how fast it was.",
    "jobs": "Files as jobs, made by pieces wherever there is time.",
    "serve": "The live server: streams in by RTMP, out redrawn by HLS.",
    "config": "Check configuration files of the server.",
    "pipelines": "List, show and check pipeline files.",
    "plugins": "List the stages that are installed, and check those of a package.",
    "models": "List, show, import and tune networks.",
    "contact": "Draw a before/after contact sheet of two videos.",
    "doctor": "Say what this machine can do, and why not.",
    "edge": "The part of 'serve' that listens.",
    "worker": "The part of 'serve' that decodes, paints and encodes.",
    "coordinator": "Decide which node of a cluster carries which stream.",
    "cluster": "Start and end the processes of a cluster, here or by Ray.",
    "nodes": "List and empty the nodes of a cluster.",
    "top": "Show a cluster as it is now, in the terminal.",
    "profile": "Measure what a live pipeline takes of this machine.",
    "simulate": "Run a cluster on a virtual clock, as a file tells.",
    "bench": "Run the benchmarks of a source checkout.",
}
"""Our own commands. Their help is here so that `--help` need not load codecs and runtimes."""


class Commands(TyperGroup):
    """Commands by entry point, so that other packages bring theirs through the same door.

    `[project.entry-points."streamgen.commands"] name = "package.module:app"`, where `app` is a
    `typer.Typer`. A command's module is loaded when it is called and never before.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        installed = {point.name for point in entry_points(group="streamgen.commands")}
        ours = [name for name in SUMMARIES if name in installed]
        return ours + sorted(installed - set(ours))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for point in entry_points(group="streamgen.commands"):
            if point.name == cmd_name:
                return get_command(_loaded(point))
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        if not rows:
            return
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StreamGenError as error:
            if ctx.find_root().obj:
                typer.echo(_trace(error), err=True, nl=False)
            typer.echo(f"streamgen: {_text(error)}", err=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
        except KeyboardInterrupt as interrupt:
            typer.echo("streamgen: interrupted", err=True)
            raise typer.Exit(130) from interrupt


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise StreamGenError(
            f"'{point.name}' needs {error.name}, which comes with an extra: "
            "pip install 'streamgen[cluster]'"
        ) from error


def _text(error: BaseException) -> str:
    return one_line(without_secrets(str(error))) or type(error).__name__


def _trace(error: BaseException) -> str:
    return without_secrets("".join(traceback.format_exception(error)))


app = typer.Typer(
    name="streamgen",
    cls=Commands,
    help="Redraw every frame of a video with a neural network, and write a ladder of renditions.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamgen {__version__}")
        raise typer.Exit


@app.callback()
def top(
    ctx: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show tracebacks of errors."),
) -> None:
    ctx.obj = verbose


def main() -> NoReturn:
    """Entry point of the `streamgen` command."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has SIGHUP ignored, so that the run outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminated)
    # SVT-AV1 writes its banner to stderr, where we promise one line and only for an error.
    os.environ.setdefault("SVT_LOG", "1")
    sys.excepthook = _bug
    get_command(app)(prog_name="streamgen")
    sys.exit(0)


def _terminated(number: int, frame: FrameType | None) -> None:
    # The same way out as Ctrl-C: every `with` block on the way cleans up.
    raise KeyboardInterrupt


def _bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if {"-v", "--verbose"} & set(sys.argv):
        print(_trace(error), file=sys.stderr, end="")
    print(
        f"streamgen: internal error: {kind.__name__}: {_text(error)} (-v shows where)",
        file=sys.stderr,
    )
