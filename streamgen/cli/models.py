"""`streamgen models`: the networks there are, other people's networks, and tuning."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from streamgen.cli.listing import show as show_rows
from streamgen.errors import ConfigError
from streamgen.plugins import find_model
from streamgen.plugins import models as all_models
from streamgen.protocols import Mode, ModelSpec
from streamgen.runtimes.compose import parse_layout
from streamgen.runtimes.importing import import_model
from streamgen.runtimes.tuning import tune as measure

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
        header=False,
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


@app.command("import")
def import_file(
    file: Path,
    name: str | None = typer.Option(None, help="Its name here; default: the file's."),
    layout: str = typer.Option(
        "",
        help="How it wants its picture: rgb or bgr; 0..1, 0..255 or -1..1 (with '>' where the "
        "output's range differs: '0..255>0..1'); nchw or nhwc. Such as 'bgr,0..255,nhwc'.",
    ),
) -> None:
    """Check another ONNX network in a process of its own and make it usable as a stage.

    Afterwards a pipeline can say '- model: {model: NAME}'.
    """
    spec = import_model(file, name=name, layout=parse_layout(layout))
    typer.echo(f"{spec.name}: imported; in a pipeline: - model: {{model: {spec.name}}}")


@app.command()
def tune(
    name: str | None = typer.Argument(None, help="One network; without it, all in turn."),
    size: str = typer.Option("1280x720", help="Size of the pictures."),
    live: bool = typer.Option(False, "--live", help="For a live stream: latency first."),
    again: bool = typer.Option(False, "--again", help="Measure even what is measured already."),
    as_json: bool = JSON,
) -> None:
    """Measure runtimes and precisions on this machine, and remember the best.

    The answer is kept in the cache and used by every run of this network at this size.
    """
    width, height = _size(size)
    specs = [find_model(name)] if name else [spec for _, spec in sorted(all_models().items())]
    mode = Mode.LIVE if live else Mode.OFFLINE
    rows: list[dict[str, Any]] = []
    for spec in specs:
        columns, lines = -(-width // spec.multiple), -(-height // spec.multiple)
        results = measure(spec, columns * spec.multiple, lines * spec.multiple, mode, again=again)
        rows += [{"name": spec.name} | asdict(result) for result in results]
    shown = ["name", "runtime", "precision", "threads", "requests", "ms_per_frame", "fps", "chosen"]
    show_rows(rows, shown, as_json=as_json)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise ConfigError(f"a size is written 1280x720, got '{text}'")
    return int(match[1]), int(match[2])
