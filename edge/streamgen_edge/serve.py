"""`streamgen serve`: the whole server by one command."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import typer

from streamgen.control.logs import log_as_json
from streamgen.control.supervisor import Child, Supervisor
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.configuring import refuse_unusable
from streamgen_edge.settings import Server, load_server

SEEN = "edge.json"
"""Where the edge says, in the folder of its sockets, what it listens on."""
STARTS_WITHIN_S = 60.0
TAKEOVER_S = 1.5
"""While a worker takes over what another had, that other is not started again: it takes a core."""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    config: Path | None = typer.Option(None, help="Configuration file, such as streamgen.yaml."),
    pipeline: str | None = typer.Option(None, help="Pipeline of streams that name none."),
    http: int | None = typer.Option(None, help="Port of HTTP; 0 is any free one."),
    rtmp: int | None = typer.Option(None, help="Port of RTMP; 0 is any free one."),
    workers: int | None = typer.Option(None, help="Worker processes."),
) -> None:
    """Take live streams in by RTMP, and give them out, redrawn, by HLS."""
    changes: dict[str, Any] = {
        "http__port": http,
        "rtmp__port": rtmp,
        "pipeline": pipeline,
        "workers": workers,
    }
    server = load_server(config, os.environ, **changes)
    refuse_unusable(server)
    log_as_json()
    for key, value in changes.items():  # our children read them where they read all else
        if value is not None:
            os.environ[f"STREAMGEN_{key.upper()}"] = str(value)
    with tempfile.TemporaryDirectory(prefix="streamgen-") as folder:  # 0700 by mkdtemp
        place = Path(folder)
        announcing = threading.Thread(target=_announce, args=(place, server), daemon=True)
        announcing.start()
        number = Supervisor(children(server, place, config)).serve()
    if number == signal.SIGINT:
        raise KeyboardInterrupt


def children(server: Server, folder: Path, config: Path | None) -> list[Child]:
    """The processes of a server: the edge, and the workers."""
    ours = [sys.executable, "-m", "streamgen.cli"]
    link = ["--link", str(folder), "--supervised"]
    configured = [] if config is None else ["--config", str(config.absolute())]
    found = [Child("edge", [*ours, "edge", *link, *configured], hears_deaths=True, reloads=True)]
    pause_s = TAKEOVER_S if server.workers > 1 else 0.0
    for number in range(server.workers):
        name = f"worker-{number}"
        place = link
        if server.cluster is not None:
            name = f"{server.cluster.name}-{name}"
            place = ["--supervised", "--share", str(server.workers), *_joining(server.cluster)]
        command = [*ours, "worker", *place, "--name", name]
        found.append(Child(name, command, last=True, pause_s=pause_s))
    return found


def _joining(cluster: ClusterSettings) -> list[str]:
    """How a worker of this machine gets to the coordinators."""
    found = [part for place in cluster.coordinators for part in ("--cluster", place)]
    if cluster.key is not None:
        found += ["--key", str(cluster.key)]
    if cluster.coordinator_key is not None:
        found += ["--coordinator-key", cluster.coordinator_key]
    return found


def _announce(folder: Path, server: Server) -> None:
    """Tell the user where to publish and watch, once the edge listens."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        try:
            seen = json.loads((folder / SEEN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            time.sleep(0.05)
            continue
        secure = "s" if server.http.tls is not None else ""
        typer.echo(f"publish: rtmp://{server.rtmp.host}:{seen['rtmp']}/live/{{name}}")
        place = f"http{secure}://{server.http.host}:{seen['http']}"
        typer.echo(f"watch:   {place}/hls/{{name}}/index.m3u8")
        typer.echo(f"page:    {place}/")
        sys.stdout.flush()
        return
