"""`streamgen run`: the main job, offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from streamgen.cli.lines import one_line
from streamgen.cli.progress import Screen
from streamgen.control.offline import Choices, Job, Outcome, Sound, carry_all, plan
from streamgen.deliver.atomic import Partial, reason
from streamgen.errors import OutputError, StreamGenError
from streamgen.pipeline import load_pipeline
from streamgen.report import Report
from streamgen.session import Session
from streamgen.telemetry import Metrics, Telemetry

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def run(
    ctx: typer.Context,
    pipeline: str = typer.Argument(..., help="A ready-made pipeline, or the path of a YAML file."),
    inputs: list[str] = typer.Argument(..., help="Files, directories, patterns or URLs."),
    output: str = typer.Option(
        ..., "-o", "--output", help="A file (.mp4, .mkv, ...), or a folder ending in '/'."
    ),
    overrides: list[str] = typer.Option(
        [], "--set", metavar="STAGE.PARAM=VALUE", help="Change one value of the pipeline."
    ),
    report: Path | None = typer.Option(None, help="Write what was done, as JSON."),
    metrics: Path | None = typer.Option(None, help="Write Prometheus metrics, as text."),
    resume: bool = typer.Option(False, "--resume", help="Skip outputs that are made already."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace outputs that exist."),
    audio: Sound = typer.Option(Sound.FIRST, help="Which audio tracks to carry along."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show tracebacks of errors."),
) -> None:
    """Run a pipeline over files, folders or URLs.

    A folder gets the HLS ladder of one input, or one file for each of several inputs. For names
    that begin with a dash, write '--' before them.
    """
    ctx.find_root().obj = bool(ctx.find_root().obj) or verbose
    loaded = load_pipeline(pipeline, overrides)
    jobs = plan(inputs, output)
    for path in (report, metrics):
        _check_writable(path)
    board = Board(Screen(sys.stdout), alone=len(jobs) == 1)
    outcomes = []
    for outcome in carry_all(loaded, jobs, Choices(overwrite, resume, audio), board):
        outcomes.append(outcome)
        board.ended(outcome)
    if report is not None:
        _write(report, _as_json(outcomes).encode())
    if metrics is not None:
        _write(metrics, board.metrics.text())
    _conclude(outcomes)


class Board:
    """Shows each job while it runs and says how it ended; collects its metrics."""

    def __init__(self, screen: Screen, *, alone: bool) -> None:
        self.metrics = Metrics()
        self._screen = screen
        self._alone = alone

    @contextmanager
    def watching(self, job: Job, session: Session, telemetry: Telemetry) -> Iterator[None]:
        self.metrics.add(str(job.output), telemetry)
        name = session.source.info.name
        for note in session.notes:
            self._screen.say(f"{name}: {note}")
        said = len(session.notes)
        with self._screen.watching(job, session, telemetry):
            yield
        for note in session.notes[said:]:
            self._screen.say(f"{name}: {note}")

    def ended(self, outcome: Outcome) -> None:
        job = outcome.job
        if outcome.report is not None:
            self._screen.say(f"{_place(job)}: {summary(outcome.report)}")
        elif outcome.skipped:
            self._screen.say(f"{_place(job)}: made already, skipped")
        elif not self._alone:
            text = f"{one_line(job.input)}: {one_line(str(outcome.error))}"
            typer.echo(f"streamgen: {text}", err=True)


def summary(report: Report) -> str:
    """What was made and how fast, in one line."""
    rungs = ", ".join(
        f"{rung.name} {rung.width}x{rung.height} {rung.bitrate_bps / 1e6:.2f} Mbit/s"
        for rung in report.rungs
    )
    dropped = "".join(f", {n} dropped ({why})" for why, n in report.dropped.items() if n)
    sound = f"; {report.audio.codec} sound" if report.audio else "; no sound"
    return (
        f"{report.frames_out} frames in {report.wall_s:.1f} s ({report.fps:.1f} fps)"
        f"{dropped}; {rungs}{sound}"
    )


def _place(job: Job) -> str:
    return f"{job.output}/" if job.ladder else str(job.output)


def _as_json(outcomes: Sequence[Outcome]) -> str:
    """The report of the one input, or an array with one object for each of several."""
    if len(outcomes) == 1 and outcomes[0].report is not None:
        return outcomes[0].report.model_dump_json(indent=2)
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        row: dict[str, Any] = {"name": str(outcome.job.output), "input": outcome.job.input}
        if outcome.report is not None:
            row |= outcome.report.model_dump(mode="json")
        elif outcome.error is not None:
            row["error"] = one_line(str(outcome.error))
        else:
            row["skipped"] = True
        rows.append(row)
    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2)


def _conclude(outcomes: Sequence[Outcome]) -> None:
    """Fail as the only job did; of several, say how many."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors and len(outcomes) == 1:
        raise errors[0]
    if errors:
        raise StreamGenError(f"{len(errors)} of {len(outcomes)} inputs failed")


def _check_writable(path: Path | None) -> None:
    """Better now than after an hour of work."""
    if path is not None and not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: no folder {path.parent}")


def _write(path: Path, data: bytes) -> None:
    partial = Partial(path, overwrite=True)
    try:
        partial.path.write_bytes(data + b"\n")
        partial.commit()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        partial.discard()
