"""`streamgen doctor`: what this machine can do, each with the reason when it cannot."""

from __future__ import annotations

from dataclasses import asdict

import typer

from streamgen.cli.listing import show
from streamgen.control.machine import survey

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Say what this machine can do: codecs, runtimes, devices, GStreamer, models."""
    findings = survey()
    rows = [asdict(f) | {"can": "yes" if f.works else "no"} for f in findings]
    if as_json:
        rows = [asdict(f) for f in findings]
    show(rows, ["kind", "name", "can", "detail"], as_json=as_json)
