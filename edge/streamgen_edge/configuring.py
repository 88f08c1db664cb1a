"""`streamgen config check FILE`: is this configuration all right?"""

from __future__ import annotations

import time
from pathlib import Path

import typer

from streamgen.control.keys import read_key
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline
from streamgen_edge.auth.opening import refuse_unusable_keys
from streamgen_edge.certificate import read_certificate
from streamgen_edge.outbound.settings import refuse_inside
from streamgen_edge.recording.settings import refuse_unwritable
from streamgen_edge.settings import Server, load_server
from streamgen_edge.store import store_of
from streamgen_edge.webrtc.network import Network

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Check configuration files of the server."""


@app.command()
def check(file: Path = typer.Argument(..., help="Such as streamgen.yaml.")) -> None:
    """Say what is wrong with a configuration file, with its line; or nothing but 'ok'."""
    server = load_server(file, {})
    try:
        refuse_unusable(server)
    except ConfigError as error:
        raise ConfigError(str(error), path=str(file)) from error
    typer.echo(f"{file}: ok")


def refuse_unusable(server: Server) -> None:
    """Look at everything that a configuration names: pipelines, certificates, keys, folders,
    addresses.

    Raises `ConfigError`.
    """
    for name in {server.pipeline, *(s.pipeline for s in server.streams.values() if s.pipeline)}:
        load_pipeline(name)
    for tls in (server.http.tls, server.rtmp.tls):
        if tls is not None:
            read_certificate(tls.cert, tls.key)
    refuse_unusable_keys(server.auth)
    for key, url in server.asked:
        refuse_inside(key, url, server.outbound)
    if server.link is not None:
        read_key(server.link.key)
    store_of(server, lambda: 0)
    if any(stream.record for stream in server.streams.values()):
        refuse_unwritable(server.recording)
    web = server.webrtc
    Network(web.listen, web.udp_ports, web.advertise, web.ice_servers, web.turn, wall_s=time.time)
