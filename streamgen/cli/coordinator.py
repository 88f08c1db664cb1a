"""`streamgen coordinator`: decides which node carries which stream."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import typer

from streamgen.config import parse_duration
from streamgen.control.api.cluster import cluster_api, edges_api
from streamgen.control.api.inquiries import Inquiries
from streamgen.control.api.server import served
from streamgen.control.coordinator.known import Known
from streamgen.control.coordinator.office import Office
from streamgen.control.coordinator.places import keyed
from streamgen.control.jobs.board import JobBoard
from streamgen.control.keys import LinkKey, new_key, read_key
from streamgen.control.logs import log_as_json
from streamgen.control.origin import is_loopback
from streamgen.control.store import Store
from streamgen.control.store.late import LateStore
from streamgen.errors import ConfigError
from streamgen.telemetry import MonotonicClock, Telemetry

TOKEN = "STREAMGEN_COORDINATOR_TOKEN"
SHORTEST_TOKEN = 16
SHORTEST_LEASE_MS, LONGEST_LEASE_MS = 1_000, 60_000
_HTTP = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|[^:\[\]/\s]+):)?(\d{1,5})")
log = logging.getLogger("streamgen.coordinator")
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def coordinator(
    store: str = typer.Option(..., envvar="STREAMGEN_STORE", help="URL of the database."),
    listen: str | None = typer.Option(None, help="host:port where nodes and edges come in."),
    folder: Path | None = typer.Option(
        None, help="Instead, on one machine: a folder of this coordinator's own."
    ),
    key: Path | None = typer.Option(
        None, help="The coordinators' key, the same for all of a cluster; with --listen."
    ),
    peers: Path | None = typer.Option(
        None, help="File of the public keys that may come in, one a line; with --listen."
    ),
    http: str | None = typer.Option(None, help="[host:]port of the API; default: none."),
    token_file: Path | None = typer.Option(
        None, help=f"File of the token that the API asks for; or {TOKEN}."
    ),
    lease: str = typer.Option("5s", help="How long a leader leads without being heard."),
    name: str | None = typer.Option(None, help="In the store; default: host and process."),
    supervised: bool = typer.Option(False, help="End when standard input ends."),
) -> None:
    """Decide which node carries which stream. Started twice, the second one stands by."""
    place, secret = _place(listen, folder, key, peers)
    telemetry = Telemetry()
    office = Office(
        name or f"{socket.gethostname()[:60]}-{os.getpid()}",
        partial(Store, store, _wall(datetime.now)),
        place,
        key=secret,
        known=None if peers is None else Known(peers, telemetry),
        ttl_ms=_lease_ms(lease),
        clock=MonotonicClock(),
        telemetry=telemetry,
    )
    at = None if http is None else _http(http)
    token = _token(token_file)
    if at is not None and token is None and not is_loopback(at[0]):
        raise ConfigError(f"nobody listens at {http} without a token: set {TOKEN} or --token-file")
    log_as_json()
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    jobs = LateStore(store, _wall(datetime.now))
    asyncio.run(_run(office, jobs, telemetry, at, token, supervised))


async def _run(
    office: Office,
    store: LateStore,
    telemetry: Telemetry,
    at: tuple[str, int] | None,
    token: str | None,
    supervised: bool,
) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as opened:
        jobs = JobBoard(await opened.enter_async_context(store))
        await opened.enter_async_context(Inquiries(office, edges_api(office, jobs)))
        if at is not None:
            api = cluster_api(office, jobs, telemetry, token, at[0])
            port = await opened.enter_async_context(served(api, *at))
            log.info("http at %s, port %d", at[0], port)
        work = asyncio.create_task(office.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        if supervised:
            loop.add_reader(sys.stdin.fileno(), _read, work)
        with suppress(asyncio.CancelledError):
            await work


def _read(work: asyncio.Task[None]) -> None:
    """Whoever started us is gone."""
    if not os.read(sys.stdin.fileno(), 64):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        work.cancel()


def _place(
    listen: str | None, folder: Path | None, key: Path | None, peers: Path | None
) -> tuple[str, LinkKey]:
    """Where to listen, and the key from which owners' tokens are made."""
    if (listen is None) == (folder is None):
        raise ConfigError("a coordinator needs either --listen HOST:PORT or --folder FOLDER")
    if folder is not None:
        if peers is not None:
            raise ConfigError("--peers goes with --listen")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = folder / "key"
        if key is None and not own.exists():
            return str(folder.absolute()), new_key(own)
        return str(folder.absolute()), read_key(key or own)
    assert listen is not None
    if not keyed(listen) or key is None or peers is None:
        raise ConfigError("--listen HOST:PORT needs --key and --peers: nobody comes in without")
    return listen, read_key(key)


def _lease_ms(text: str) -> int:
    try:
        found = int(parse_duration(text)) // 1_000_000
    except ValueError as error:
        raise ConfigError(f"--lease: {error}") from error
    if not SHORTEST_LEASE_MS <= found <= LONGEST_LEASE_MS:
        raise ConfigError(f"--lease is 1s to 60s, got {text}")
    return found


def _http(text: str) -> tuple[str, int]:
    match = _HTTP.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ConfigError(f"not where an API can be: '{text}' (write 7180, or 10.0.0.5:7180)")
    return (match[1] or "127.0.0.1").strip("[]"), int(match[2])


def _token(path: Path | None) -> str | None:
    text = os.environ.get(TOKEN, "")
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the token {path}: {error}") from error
    token = text.strip()
    if path is None and not token:
        return None
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"a token has {SHORTEST_TOKEN} characters or more")
    return token


def _wall(now: Callable[[], datetime]) -> Callable[[], int]:
    """Milliseconds since 1970 by a clock on the wall."""
    return lambda: round(now().timestamp() * 1000)
