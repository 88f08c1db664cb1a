"""`streamgen cluster`: start the processes of a cluster, here or where Ray places them."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import typer

from streamgen.cli.asking import WHERE, Coordinators
from streamgen.cli.listing import show as show_rows
from streamgen.config import parse_duration
from streamgen.control.coordinator.places import keyed
from streamgen.control.launch.fleet import USUAL_NAME, Fleet, Launcher, check_cluster
from streamgen.control.launch.rolling import Rolling
from streamgen.errors import ConfigError
from streamgen.plugins import find_launcher

NAME = typer.Option(USUAL_NAME, help="Of the cluster: its processes are found again by it.")
RAY = typer.Option(False, "--ray", help="Short for --launcher ray.")
LAUNCHER = typer.Option("local", help="Who starts processes: local, ray, or a package's.")
ADDRESS = typer.Option("", help="Where: with --ray, its head; default: as Ray finds it.")
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def cluster() -> None:
    """Start and end the processes of a cluster."""


@app.command()
def up(
    workers: int = typer.Option(1, min=1, max=1000, help="So many."),
    ray: bool = RAY,
    launcher: str = LAUNCHER,
    address: str = ADDRESS,
    name: str = NAME,
    coordinators: list[str] = typer.Option(
        [], "--cluster", help="A coordinator, host:port or a folder; none: one is started here."
    ),
    key: Path | None = typer.Option(
        None, help="File of the workers' key, on their machines; with --cluster host:port."
    ),
    coordinator_key: str | None = typer.Option(None, help="The coordinators' public key."),
    cpus: int | None = typer.Option(
        None, min=1, help="Cores for each worker; default: its share of a machine."
    ),
    gpus: int | None = typer.Option(
        None, min=1, help="Whole GPUs for each worker, of which it offers one."
    ),
    strict: bool = typer.Option(False, help="Each worker on a machine of its own."),
    drain: float = typer.Option(10.0, min=0, help="Seconds for others to take streams over."),
    outlive: str = typer.Option("10min", help="Workers run on so long when nobody holds them."),
    wait: str = typer.Option("1min", help="So long for machines with room; with --ray."),
    store: str | None = typer.Option(
        None,
        envvar="STREAMGEN_STORE",
        help="URL of the database of a coordinator started here, and of jobs.",
    ),
    http: str | None = typer.Option(None, help="[host:]port of its API; default: none."),
    edge: Path | None = typer.Option(None, help="Start an edge here, too: its streamgen.yaml."),
    jobs: bool = typer.Option(
        True, help="Workers of this machine make pieces of jobs in what streams leave."
    ),
) -> None:
    """Start workers; on this machine a coordinator, too, until Ctrl-C."""
    fleet = Fleet(
        name,
        workers,
        tuple(one if keyed(one) else str(Path(one).absolute()) for one in coordinators),
        None if key is None else key.absolute(),
        coordinator_key,
        cpus=cpus,
        gpus=gpus,
        strict=strict,
        drain_s=drain,
        outlive_s=_seconds("--outlive", outlive),
        wait_s=_seconds("--wait", wait),
        store=None if coordinators and (ray or launcher != "local") else store,
        http=http,
        edge=edge,
        jobs=jobs,
    )
    one = _launcher(ray, launcher, address)
    one.start(fleet)
    for row in one.list(name):
        typer.echo(f"{row.name} {row.state} on {row.machine}")


@app.command()
def status(
    ray: bool = RAY,
    launcher: str = LAUNCHER,
    address: str = ADDRESS,
    name: str = NAME,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """What was started, and where it runs. What it carries: streamgen nodes list."""
    check_cluster(name)
    rows = [asdict(row) for row in _launcher(ray, launcher, address).list(name)]
    show_rows(rows, ["name", "machine", "state", "pid"], as_json=as_json)


@app.command()
def restart(
    processes: list[str] = typer.Argument(
        None, metavar="PROCESS", help="As 'status' has them; default: all workers."
    ),
    ray: bool = RAY,
    launcher: str = LAUNCHER,
    address: str = ADDRESS,
    name: str = NAME,
    coordinator: list[str] = WHERE,
) -> None:
    """Restart workers one after the other, each once its streams have moved away."""
    check_cluster(name)
    one = _launcher(ray, launcher, address)
    Rolling(Coordinators(coordinator), one, name, typer.echo).restart(processes or ())


@app.command()
def down(
    ray: bool = RAY,
    launcher: str = LAUNCHER,
    address: str = ADDRESS,
    name: str = NAME,
) -> None:
    """End all that was started; streams that can move elsewhere do."""
    check_cluster(name)
    began = time.monotonic()
    count = _launcher(ray, launcher, address).stop(name)
    typer.echo(f"{count} ended in {time.monotonic() - began:.1f} s")


def _seconds(option: str, text: str) -> float:
    try:
        return float(parse_duration(text)) / 1e9
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _launcher(ray: bool, launcher: str, address: str) -> Launcher:
    if ray and launcher not in ("local", "ray"):
        raise ConfigError(f"either --ray or --launcher {launcher}")
    found: Launcher = find_launcher("ray" if ray else launcher)(address)
    return found
