"""`streamgen nodes`: the machines of a cluster, and emptying one."""

from __future__ import annotations

import json
from typing import Any

import typer

from streamgen.cli.asking import WHERE, Coordinators
from streamgen.cli.lines import one_line
from streamgen.cli.listing import show as show_rows
from streamgen.control.launch.rolling import Pace, empty
from streamgen.errors import ConfigError

JSON = typer.Option(False, "--json", help="Print JSON.")
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def nodes() -> None:
    """The machines of a cluster."""


@app.command(name="list")
def list_(as_json: bool = JSON, coordinator: list[str] = WHERE) -> None:
    """Every node, how full it is, and what it carries."""
    rows = Coordinators(coordinator).nodes()["nodes"]
    if not as_json:
        rows = [row | _shares(row) | {"streams": len(row["streams"])} for row in rows]
    show_rows(rows, ["name", "state", "streams", "pieces", "cpu", "gpu", "memory"], as_json=as_json)


@app.command()
def show(
    name: str = typer.Argument(..., help="Name of a node."),
    as_json: bool = JSON,
    coordinator: list[str] = WHERE,
) -> None:
    """All that is known of a node: what it has, what is in use of that, what it carries, and what
    it has measured of streams, for each second."""
    found = [row for row in Coordinators(coordinator).nodes()["nodes"] if row["name"] == name]
    if not found:
        raise ConfigError(f"there is no node '{name}'")
    [row] = found
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    heard = f"heard {row['silent_ms'] / 1000:.1f} s ago"
    typer.echo(one_line(f"{row['name']}: {row['state']}, {heard}"))
    for title, names in (("models", row["models"]), ("streams", row["streams"])):
        if names:
            typer.echo(one_line(f"{title}: {', '.join(names)}"))
    loads = [{"name": key, "share": _share(load), **load} for key, load in row["load"].items()]
    show_rows(loads, ["name", "used", "limit", "capacity", "share"], as_json=False)
    measured = [one | one["needs"] for one in row["profiles"]]
    if measured:
        columns = ["name", "width", "height", "rate", "cpu_ms", "memory_mb"]
        show_rows(measured, columns, as_json=False)


@app.command()
def drain(
    name: str = typer.Argument(..., help="Name of a node."),
    undo: bool = typer.Option(False, "--undo", help="After all, use it again."),
    wait: bool = typer.Option(
        False, "--wait", help="Until it is empty; where others have no room, it is used again."
    ),
    as_json: bool = JSON,
    coordinator: list[str] = WHERE,
) -> None:
    """Empty a node: nothing new comes to it, and its streams move, one at a time."""
    if wait and undo:
        raise ConfigError("nothing is waited for with --undo")
    coordinators = Coordinators(coordinator)
    if wait:
        empty(coordinators, name, Pace())
        if not as_json:
            typer.echo(f"{name} is empty")
            return
    told = coordinators.drain(name, wanted=not undo)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(f"{name} {'is used again' if undo else 'drains'}")


def _shares(row: dict[str, Any]) -> dict[str, str]:
    return {
        short: _share(row["load"].get(dimension))
        for short, dimension in (("cpu", "cpu_ms"), ("gpu", "gpu_ms"), ("memory", "memory_mb"))
    }


def _share(load: dict[str, int] | None) -> str:
    if load is None or not load["limit"]:
        return ""
    return f"{100 * load['used'] / load['limit']:.0f} %"
