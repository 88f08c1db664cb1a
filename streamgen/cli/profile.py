"""`streamgen profile`: what a live pipeline takes of this machine."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from fractions import Fraction

import typer
from rich.console import Console

from streamgen.config import cache_dir, cores
from streamgen.control.measured import MeasuredProfiles
from streamgen.control.placement.resources import Profile
from streamgen.control.placement.scheduler import HEAD_ROOM
from streamgen.control.profiling import Taken, moving_clip, profiled
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline

app = typer.Typer(add_completion=False, rich_markup_mode=None)
NAMES = ("whole", "without enhancement", "without the top rungs")
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")


@app.command()
def profile(
    name: str = typer.Argument(..., metavar="PIPELINE", help="A built-in name or a file."),
    size: str = typer.Option("1280x720", help="Of the publisher's pictures."),
    rate: str = typer.Option("30", help="Pictures a second: 25, 30000/1001."),
    seconds: float = typer.Option(10.0, min=1, max=600, help="Of each measurement."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Run a pipeline live, whole and with what it may give up left out, and say what each takes.

    Workers of a cluster that start on this machine tell their coordinators. What is printed can
    stand below 'profiles' in a file of 'streamgen simulate', or of an edge.
    """
    pipeline = load_pipeline(name)
    clip = moving_clip(*_size(size), _rate(rate))
    said = Console(stderr=True)
    notes: list[str] = []

    def heard(taken: Taken) -> None:
        said.print(f"{_figures(taken)}", highlight=False)
        if not _steady(taken):
            notes.append("this machine could not keep up: less was done than the pipeline asks for")

    found = profiled(pipeline, clip, seconds, heard)
    if notes:
        notes.append("it is not kept for the workers of this machine")
    else:
        _keep(found, notes)
    for note in dict.fromkeys(notes):
        said.print(f"note: {note}", highlight=False)
    fits = int(1000 * cores() * (1 - HEAD_ROOM) / max(1, found.needs[0].cpu_ms))
    if as_json:
        typer.echo(json.dumps(_listed(found) | {"fits_here": fits, "notes": notes}))
        return
    typer.echo(f"- name: {found.name}\n  needs:")
    for what, need in zip(NAMES, found.needs, strict=False):
        typer.echo(f"    - {{cpu_ms: {need.cpu_ms}, memory_mb: {need.memory_mb}}}  # {what}")
    typer.echo(f"# streams that this machine carries by its processor alone: {fits}")


def _keep(found: Profile, notes: list[str]) -> None:
    try:
        MeasuredProfiles(cache_dir()).write(found)
    except OSError as error:
        notes.append(f"it is not kept for the workers of this machine: {error}")


def _listed(found: Profile) -> dict[str, object]:
    return {"name": found.name, "needs": [asdict(need) for need in found.needs]}


def _figures(taken: Taken) -> str:
    report = taken.report
    return (
        f"{taken.cpu_ms:.2f} ms of processor a picture, {taken.memory_mb:.0f} MB, "
        f"{report.frames_out} of {report.frames_in} pictures, p95 {report.latency_ms.p95:.0f} ms"
    )


def _steady(taken: Taken) -> bool:
    governor = taken.report.governor
    return not taken.report.dropped and (governor is None or not governor.changes)


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise ConfigError(f"--size: write it as 1280x720, in even numbers, not '{text}'")
    return int(match[1]), int(match[2])


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--rate: not a number: '{text}'") from error
    if not 1 <= rate <= 240:
        raise ConfigError(f"--rate: 1 to 240 pictures a second, not {text}")
    return rate
