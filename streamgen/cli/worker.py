"""`streamgen worker`: decodes, paints and encodes the streams of an edge."""

from __future__ import annotations

import signal
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType

import typer

from streamgen.control.logs import log_as_json
from streamgen.control.worker import Worker

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    link: Path = typer.Option(..., help="Folder of the edge's sockets."),
    name: str = typer.Option("worker", help="Its name; no other worker of this edge has it."),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Work on the live streams of an edge; part of 'streamgen serve'."""
    log_as_json()
    one = Worker(name, link, now=datetime.now, lifeline=sys.stdin.fileno() if supervised else None)

    def stop(number: int, frame: FrameType | None) -> None:
        one.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    one.serve()
