"""`streamgen models`: the networks there are, other people's networks, and tuning."""

from __future__ import annotations

from typing import Any

import typer

from streamgen.cli.listing import show as show_rows
from streamgen.plugins import find_model
from streamgen.plugins import models as all_models
from streamgen.protocols import ModelSpec

app = typer.Typer(
    help="List, show, import and tune networks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
JSON = typer.Option(False, "--json", help="Print JSON.")


@app.command("list")
def list_all(as_json: bool = JSON) -> None:
    """Every network: shipped, from plugins, and imported."""
    rows = [_row(spec) for _, spec in sorted(all_models().items())]
    show_rows(rows, ["name", "kind", "parameters", "precisions", "scale"], as_json=as_json)


@app.command()
def show(name: str, as_json: bool = JSON) -> None:
    """One network: what it takes and gives, its files, licence and credit."""
    row = _row(find_model(name))
    if as_json:
        show_rows([row], [], as_json=True)
        return
    show_rows(
        [{"key": key, "value": value} for key, value in row.items() if value not in ("", None, [])],
        ["key", "value"],
        as_json=False,
    )


def _row(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "kind": spec.kind,
        "parameters": spec.parameters,
        "precisions": sorted(spec.files),
        "scale": spec.scale,
        "multiple": spec.multiple,
        "colour": f"{spec.matrix}, {spec.range}",
        "live": list(spec.live),
        "license": spec.license,
        "credit": spec.credit,
        "files": [str(path) for path in spec.files.values()],
    }
