"""`streamgen config check FILE`: is this configuration all right?"""

from __future__ import annotations

from pathlib import Path

import typer

from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline
from streamgen_edge.settings import load_server

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Check configuration files of the server."""


@app.command()
def check(file: Path = typer.Argument(..., help="Such as streamgen.yaml.")) -> None:
    """Say what is wrong with a configuration file, with its line; or nothing but 'ok'."""
    server = load_server(file, {})
    for name in {server.pipeline, *(s.pipeline for s in server.streams.values() if s.pipeline)}:
        load_pipeline(name)
    for tls in (server.http.tls, server.rtmp.tls):
        for path in () if tls is None else (tls.cert, tls.key):
            if not path.is_file():
                raise ConfigError(f"no such file: {path}", path=str(file))
    typer.echo(f"{file}: ok")
