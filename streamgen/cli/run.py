"""`streamgen run`: the main job, offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from streamgen.cli.lines import one_line
from streamgen.cli.progress import Screen
from streamgen.cli.side_files import check_places, write_whole
from streamgen.control.chunks.chunked import Following, carry_in_pieces
from streamgen.control.devices import Wanted
from streamgen.control.offline import (
    Choices,
    Job,
    Outcome,
    Sound,
    carry,
    carry_all,
    check_fragmented,
    plan,
)
from streamgen.errors import ConfigError, StreamGenError
from streamgen.graph.lane import Lane
from streamgen.ingest.address import is_url
from streamgen.pipeline import Pipeline, load_pipeline
from streamgen.report import Report, progress
from streamgen.session import Session
from streamgen.telemetry import Metrics, Telemetry, Trace, chrome_trace

LOSSES = ("decode", "undecodable", "encoder")
"""Why a picture was dropped, where it was not on purpose."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def run(
    ctx: typer.Context,
    pipeline: str = typer.Argument(..., help="A ready-made pipeline, or the path of a YAML file."),
    inputs: list[str] = typer.Argument(..., help="Files, directories, patterns, URLs, 'gst:...'."),
    output: str = typer.Option(
        ...,
        "-o",
        "--output",
        help="A file (.mp4, .mkv, ...), a folder ending in '/', or 'gst:...'.",
    ),
    overrides: list[str] = typer.Option(
        [], "--set", metavar="STAGE.PARAM=VALUE", help="Change one value of the pipeline."
    ),
    report: Path | None = typer.Option(None, help="Write what was done, as JSON."),
    metrics: Path | None = typer.Option(None, help="Write Prometheus metrics, as text."),
    trace: Path | None = typer.Option(
        None, help="Write what each step did with each frame, for Perfetto (Chrome trace JSON)."
    ),
    resume: bool = typer.Option(False, "--resume", help="Skip outputs that are made already."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace outputs that exist."),
    fragmented: bool = typer.Option(
        False, "--fragmented", help="Write MP4 in fragments, playable while it grows."
    ),
    audio: Sound = typer.Option(Sound.FIRST, help="Which audio tracks to carry along."),
    processes: int = typer.Option(
        1, "--jobs", min=1, max=256, help="Cut each file, for this many processes at once."
    ),
    device: Wanted = typer.Option(
        Wanted.AUTO, help="'cuda': transcode on an NVIDIA GPU (a trial); 'auto' is the processor."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show tracebacks of errors."),
) -> None:
    """Run a pipeline over files, folders or URLs.

    A folder gets the HLS ladder of one input, or one file for each of several inputs. 'gst:' and a
    pipeline of GStreamer reads or sends what it can (SRT, RTSP, cameras). For names that begin
    with a dash, write '--' before them.
    """
    ctx.find_root().obj = bool(ctx.find_root().obj) or verbose
    loaded = load_pipeline(pipeline, overrides)
    jobs = plan(inputs, output)
    if fragmented:
        check_fragmented(jobs)
    check_places([report, metrics, trace], jobs, pipeline)
    choices = Choices(
        overwrite, resume, audio, fragmented, pipelines=True, device=device, trace=trace is not None
    )
    board = Board(Screen(sys.stdout), Screen(sys.stderr), alone=len(jobs) == 1)
    outcomes = []
    for outcome in carry_all(jobs, _by(processes, loaded, choices, board)):
        outcomes.append(outcome)
        board.ended(outcome)
    if report is not None:
        write_whole(report, [_as_json(outcomes).encode()])
    if metrics is not None:
        write_whole(metrics, [board.metrics.text()])
    if trace is not None:
        write_whole(trace, chrome_trace(board.traces))
    _conclude(outcomes)


def _by(
    processes: int, loaded: Pipeline, choices: Choices, board: Board
) -> Callable[[Job, Lane], Outcome]:
    """How one job is carried out. Raises `ConfigError` for what several processes cannot do."""
    if processes > 1 and choices.trace:
        raise ConfigError("--trace follows one process: leave out --jobs")
    if processes > 1 and choices.device is Wanted.CUDA:
        raise ConfigError("pieces are made on the processor: leave out --device cuda, or --jobs")

    def carrying(job: Job, lane: Lane) -> Outcome:
        if processes > 1 and not job.sending:  # a live stream is made while it is sent
            return carry_in_pieces(loaded, job, choices, board, lane, jobs=processes)
        return carry(loaded, job, choices, board, lane)

    return carrying


class Board:
    """Shows each job while it runs and says how it ended; collects its metrics and trace."""

    def __init__(self, screen: Screen, errors: Screen, *, alone: bool) -> None:
        self.metrics = Metrics()
        self.traces: list[tuple[str, Trace]] = []
        self._screen = screen
        self._errors = errors
        self._alone = alone

    @contextmanager
    def watching(self, job: Job, session: Session, telemetry: Telemetry) -> Iterator[None]:
        self.metrics.add(one_line(str(job.output)), telemetry)
        if telemetry.trace is not None:
            self.traces.append((one_line(str(job.output)), telemetry.trace))
        name = session.source.info.name
        for note in session.notes:
            self._screen.say(f"{name}: {note}")
        said = len(session.notes)
        with self._screen.following(name, lambda: progress(session)):
            yield
        for note in session.notes[said:]:
            self._screen.say(f"{name}: {note}")

    @contextmanager
    def following(self, job: Job, run: Following) -> Iterator[None]:
        self.metrics.add(one_line(str(job.output)), run.telemetry)
        for note in run.notes:
            self._screen.say(f"{run.name}: {note}")
        said = len(run.notes)
        with self._screen.following(run.name, run.progress):
            yield
        for note in run.notes[said:]:
            self._screen.say(f"{run.name}: {note}")

    def ended(self, outcome: Outcome) -> None:
        job = outcome.job
        if outcome.report is not None:
            self._screen.say(f"{_place(job)}: {summary(outcome.report)}")
        elif outcome.skipped:
            self._screen.say(f"{_place(job)}: made already, skipped")
        elif not self._alone:
            # Most errors begin with the name, but of a file without its folder.
            own = job.name if is_url(job.input) else Path(job.name).name
            self._errors.say(
                f"streamgen: {job.name}: {str(outcome.error).removeprefix(f'{own}: ')}"
            )


def summary(report: Report) -> str:
    """What was made and how fast, in one line."""
    rungs = ", ".join(
        f"{rung.name} {rung.width}x{rung.height} {rung.bitrate_bps / 1e6:.2f} Mbit/s"
        for rung in report.rungs
    )
    sound = report.audio.codec if report.audio and report.audio.samples else "no"
    return (
        f"{report.frames_out} frames in {report.wall_s:.1f} s ({report.fps:.1f} fps)"
        f"{_harm(report)}; {rungs}; {sound} sound"
    )


def _harm(report: Report) -> str:
    """`; 3 pictures lost, 25 damaged, 2 dropped (late)`, of these what there is."""
    lost = sum(report.dropped.get(why, 0) for why in LOSSES)
    told = [(lost, "lost"), (sum(report.corrupt.values()), "damaged")]
    told += [(n, f"dropped ({why})") for why, n in report.dropped.items() if why not in LOSSES]
    words = [f"{number} {what}" for number, what in told if number]
    if not words:
        return ""
    first, _, rest = words[0].partition(" ")
    return "; " + ", ".join([f"{first} picture{'' if first == '1' else 's'} {rest}", *words[1:]])


def _place(job: Job) -> str:
    return f"{job.output}/" if job.ladder else str(job.output)


def _as_json(outcomes: Sequence[Outcome]) -> str:
    """The report of the one input, or an array with one object for each of several."""
    if len(outcomes) == 1 and outcomes[0].report is not None:
        return outcomes[0].report.model_dump_json(indent=2)
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        row: dict[str, Any] = {"name": str(outcome.job.output), "input": outcome.job.name}
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
