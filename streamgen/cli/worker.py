"""`streamgen worker`: decodes, paints and encodes the streams of an edge."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType

import typer

from streamgen.control.keys import new_key, public_key, read_key
from streamgen.control.line import Proof
from streamgen.control.logs import log_as_json
from streamgen.control.wire import Place
from streamgen.control.worker import Worker
from streamgen.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    link: Path | None = typer.Option(None, help="Folder of the edge's sockets, on its machine."),
    connect: str | None = typer.Option(
        None, help="Address of an edge on another machine: tcp://host:port."
    ),
    key: Path | None = typer.Option(None, help="Our key; with --connect."),
    edge_key: str | None = typer.Option(None, help="The edge's public key; with --connect."),
    new_key_: Path | None = typer.Option(
        None, "--new-key", help="Make a key in this file, print its public key, and leave."
    ),
    name: str | None = typer.Option(
        None, help="Its name; no other worker of this edge has it. Default: host and process."
    ),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Work on the live streams of an edge; part of 'streamgen serve'."""
    if new_key_ is not None:
        typer.echo(new_key(new_key_).public.hex())
        return
    edge = _edge(link, connect, key, edge_key)
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", f"{socket.gethostname()[:50]}-{os.getpid()}")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"not a name for a worker: '{name}'")
    log_as_json()
    lifeline = sys.stdin.fileno() if supervised else None
    one = Worker(name, {edge[0].control: edge}, now=datetime.now, lifeline=lifeline)

    def stop(number: int, frame: FrameType | None) -> None:
        one.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    one.serve()


def _edge(
    link: Path | None, connect: str | None, key: Path | None, edge_key: str | None
) -> tuple[Place, Proof | None]:
    """Where the edge is, and what opens its door."""
    if (link is None) == (connect is None):
        raise ConfigError("a worker needs either --link FOLDER or --connect tcp://host:port")
    if link is not None:
        if key is not None or edge_key is not None:
            raise ConfigError("--key and --edge-key go with --connect")
        return Place.in_folder(link), None
    if connect is None or key is None or edge_key is None:
        raise ConfigError("--connect needs --key and --edge-key: nobody works without keys")
    return Place.at(connect), Proof(read_key(key), public_key(edge_key))
