"""`streamgen worker`: decodes, paints and encodes the streams of an edge."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType

import typer

from streamgen.config import cache_dir
from streamgen.control.filler import Filler
from streamgen.control.gpu import probe
from streamgen.control.holdings import Holdings
from streamgen.control.keys import new_key, public_key, read_key
from streamgen.control.line import Proof
from streamgen.control.logs import log_as_json
from streamgen.control.measured import MeasuredProfiles
from streamgen.control.memory import keep_what_is_loaded
from streamgen.control.node import Membership, Node, capacity
from streamgen.control.outfit import Outfit
from streamgen.control.placement.resources import Resources
from streamgen.control.pulse import keep_pulse
from streamgen.control.supervisor import STUCK
from streamgen.control.wire import Place
from streamgen.control.worker import Worker
from streamgen.errors import ConfigError, Stuck

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
COORDINATOR_KEY = typer.Option(None, help="The coordinators' public key; with --cluster host:port.")
log = logging.getLogger("streamgen.worker")
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    link: Path | None = typer.Option(None, help="Folder of the edge's sockets, on its machine."),
    connect: str | None = typer.Option(
        None, help="Address of an edge on another machine: tcp://host:port."
    ),
    cluster: list[str] | None = typer.Option(
        None,
        help="A coordinator, host:port or its folder on this machine; once for each of them. "
        "They say which edges there are.",
    ),
    key: Path | None = typer.Option(None, help="Our key; with --connect or --cluster."),
    edge_key: str | None = typer.Option(None, help="The edge's public key; with --connect."),
    coordinator_key: str | None = COORDINATOR_KEY,
    new_key_: Path | None = typer.Option(
        None, "--new-key", help="Make a key in this file, print its public key, and leave."
    ),
    name: str | None = typer.Option(
        None, help="Its name; no other worker has it. Default: host and process."
    ),
    share: int = typer.Option(
        1, min=1, max=64, help="So many workers share this machine; with --cluster."
    ),
    own_gpu: bool = typer.Option(
        False, help="No other worker has the GPU that this one sees, whatever --share says."
    ),
    drain: float = typer.Option(
        10.0, min=0, help="Seconds for others to take over on SIGTERM; with --cluster."
    ),
    jobs_store: str | None = typer.Option(
        None,
        envvar="STREAMGEN_JOBS_STORE",
        help="URL of a database: what streams leave makes pieces of its jobs; with --cluster.",
    ),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Work on the live streams of an edge, or of a cluster; part of 'streamgen serve'."""
    if new_key_ is not None:
        typer.echo(new_key(new_key_).public.hex())
        return
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", f"{socket.gethostname()[:50]}-{os.getpid()}")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"not a name for a worker: '{name}'")
    lifeline = sys.stdin.fileno() if supervised else None
    if cluster:
        if link is not None or connect is not None or edge_key is not None:
            raise ConfigError("with --cluster, coordinators say which edges there are")
        membership = _membership(cluster, key, coordinator_key)
        log_as_json()
        room = _offered(share, own_gpu)
        filler = Filler(jobs_store, name, room) if jobs_store else None
        _join(name, membership, room, filler, drain_s=drain, lifeline=lifeline)
        return
    edge = _edge(link, connect, key, edge_key)
    log_as_json()
    one = Worker(name, {edge[0].control: edge}, now=datetime.now, lifeline=lifeline)
    _on_signals(one.stop)
    _serve(one)


def _join(
    name: str,
    membership: Membership,
    room: Resources,
    filler: Filler | None,
    *,
    drain_s: float,
    lifeline: int | None,
) -> None:
    holdings, profiles = Holdings(name), MeasuredProfiles(cache_dir()).read()
    one = Worker(name, {}, now=datetime.now, lifeline=lifeline, holdings=holdings)
    node = Node(
        one,
        holdings,
        membership,
        room,
        drain_s=drain_s,
        filler=filler,
        profiles=profiles,
        outfit=Outfit.tried(),
    )
    _on_signals(node.drain)
    with node:
        _serve(one)


def _offered(share: int, own_gpu: bool) -> Resources:
    gpu = probe()
    if isinstance(gpu, str):
        log.log(logging.WARNING if own_gpu else logging.INFO, "offers no GPU: %s", gpu)
        return capacity(share)
    if gpu.visible > 1:
        log.warning("offers the first of the %d GPUs that it sees", gpu.visible)
    return capacity(share, gpu, gpu_share=1 if own_gpu else share)


def _serve(one: Worker) -> None:
    keep_what_is_loaded()
    keep_pulse()
    try:
        one.serve()
    except Stuck as stuck:
        log.critical("%s: this worker ends, and its streams move", stuck)
        os._exit(STUCK)  # nothing can be waited for


def _on_signals(act: Callable[[], None]) -> None:
    def heard(number: int, frame: FrameType | None) -> None:
        act()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)


def _membership(cluster: list[str], key: Path | None, coordinator_key: str | None) -> Membership:
    ours = None if key is None else read_key(key)
    theirs = None if coordinator_key is None else public_key(coordinator_key)
    return Membership(cluster, ours, theirs)


def _edge(
    link: Path | None, connect: str | None, key: Path | None, edge_key: str | None
) -> tuple[Place, Proof | None]:
    """Where the edge is, and what opens its door."""
    if (link is None) == (connect is None):
        raise ConfigError(
            "a worker needs --link FOLDER, --connect tcp://host:port or --cluster host:port"
        )
    if link is not None:
        if key is not None or edge_key is not None:
            raise ConfigError("--key and --edge-key go with --connect")
        return Place.in_folder(link), None
    if connect is None or key is None or edge_key is None:
        raise ConfigError("--connect needs --key and --edge-key: nobody works without keys")
    return Place.at(connect), Proof(read_key(key), public_key(edge_key))
