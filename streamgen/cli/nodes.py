"""`streamgen nodes`: the machines of a cluster, and emptying one."""

from __future__ import annotations

import json
from typing import Any

import typer

from streamgen.cli.asking import WHERE, Coordinators
from streamgen.cli.listing import show as show_rows
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
    name: str = typer.Argument(..., help="Name of a node."), coordinator: list[str] = WHERE
) -> None:
    """All that is known of a node, as JSON."""
    found = [row for row in Coordinators(coordinator).nodes()["nodes"] if row["name"] == name]
    if not found:
        raise ConfigError(f"there is no node '{name}'")
    typer.echo(json.dumps(found[0], indent=2))


@app.command()
def drain(
    name: str = typer.Argument(..., help="Name of a node."),
    undo: bool = typer.Option(False, "--undo", help="After all, use it again."),
    coordinator: list[str] = WHERE,
) -> None:
    """Empty a node: nothing new comes to it, and its streams move, one at a time."""
    Coordinators(coordinator).drain(name, wanted=not undo)
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
