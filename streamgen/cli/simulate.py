"""`streamgen simulate`: what a cluster would do, from a file that says what happens to it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from streamgen.cli.chart import Line, Panel, Picture, chart
from streamgen.cli.contact import write_png
from streamgen.config import load
from streamgen.control.simulate.figures import Figures, summary
from streamgen.control.simulate.simulation import simulate as simulated
from streamgen.control.simulate.trace import Trace
from streamgen.errors import ConfigError, OutputError

app = typer.Typer(add_completion=False, rich_markup_mode=None)
HOUR_MS = 3_600_000


@app.command()
def simulate(
    trace: Path = typer.Argument(..., help="A YAML file: nodes, profiles, streams, failures."),
    plot: Path | None = typer.Option(None, help="Draw the course of it as a PNG."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing picture."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Run the coordinator on a virtual clock, with nodes that fail and streams that come and go."""
    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError(f"a plot is a .png file, got {plot.name!r}")
    if plot is not None and plot.exists() and not overwrite:
        raise OutputError(f"{plot} exists; --overwrite replaces it")
    settings = load(Trace, trace)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=1.0)
        figures = simulated(
            settings, time.thread_time_ns, lambda share: progress.update(task, completed=share)
        )
    answer = summary(figures)
    if as_json:
        typer.echo(json.dumps({"name": trace.stem} | answer))
    else:
        for name, value in answer.items():
            typer.echo(f"{name:<34}{value:>14,.10g}".rstrip())
    if plot is not None:
        write_png(drawn(trace.stem, figures), plot)


def drawn(title: str, figures: Figures) -> Picture:
    """Nodes, streams, and what went wrong, over time."""
    samples = figures.samples
    return chart(
        title,
        [one.at_ms / HOUR_MS for one in samples],
        (
            Panel(
                (
                    Line("nodes", [one.nodes for one in samples]),
                    Line("used", [one.used for one in samples]),
                    Line("lower bound", [one.lower_bound for one in samples]),
                )
            ),
            Panel(
                (
                    Line("streams running", [one.running for one in samples]),
                    Line("waiting", [one.waiting for one in samples]),
                )
            ),
            Panel(
                (
                    Line("moves", [one.moves for one in samples]),
                    Line("refused", [one.refused for one in samples]),
                )
            ),
            Panel((Line("late pictures percent", [100 * one.late for one in samples]),)),
        ),
    )
