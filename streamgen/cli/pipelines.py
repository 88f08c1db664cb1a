"""`streamgen pipelines`: what can be run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from streamgen.cli.listing import show as show_rows
from streamgen.errors import ConfigError, OutputError
from streamgen.graph.draw import listed, svg, text
from streamgen.graph.plan import Plan
from streamgen.pipeline import Pipeline, load_pipeline
from streamgen.plugins import pipeline_files

app = typer.Typer(
    help="List, show and check pipeline files.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
JSON = typer.Option(False, "--json", help="Print JSON.")
HEADING = "# How it runs (as drawn by `streamgen pipelines show`):"


@app.command("list")
def list_all(as_json: bool = JSON) -> None:
    """The ready-made pipelines."""
    rows = [_row(name, path) for name, path in sorted(pipeline_files().items())]
    show_rows(rows, ["name", "description"], as_json=as_json)


def _row(name: str, path: Path) -> dict[str, Any]:
    try:
        pipeline = load_pipeline(name)
    except ConfigError as error:
        return {"name": name, "path": str(path), "description": f"not usable here: {error}"}
    return {
        "name": name,
        "path": str(path),
        "description": pipeline.description,
        "stages": [spec.stage for spec in pipeline.nodes()[0].values()],
        "ladder": [rung.model_dump(mode="json") for rung in pipeline.ladder],
    }


@app.command()
def show(
    name: str,
    as_json: bool = JSON,
    drawing: Path | None = typer.Option(None, "--svg", help="Also draw its graph into this file."),
) -> None:
    """One pipeline: its file and its graph, or as JSON with every default.

    The graph is printed as comments, so that what is shown can be saved as a pipeline file.
    """
    pipeline = load_pipeline(name)
    plan = pipeline.plan()
    if drawing is not None:
        _write(drawing, svg(plan, pipeline.name))
    if as_json:
        shown = pipeline.model_dump(mode="json") | {"nodes": listed(plan)}
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    path = pipeline_files().get(name) or Path(name)
    written = path.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    drawn = "\n".join(f"#   {line}" for line in text(plan).splitlines())
    typer.echo(f"{written}\n\n{HEADING}\n{drawn}")


def _write(path: Path, drawing: str) -> None:
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"a drawing is a .svg file, got '{path.name}'")
    try:
        path.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


@app.command("check")
def check_file(file: str) -> None:
    """Check a pipeline file: keys, units, ladder, stages, models, and the edges of its graph."""
    pipeline = load_pipeline(file)
    typer.echo(f"{file}: fine ({_summary(pipeline, pipeline.plan())})")


def _summary(pipeline: Pipeline, plan: Plan) -> str:
    stages = ", ".join(node.name for node in plan.nodes if not node.conversion) or "no stages"
    conversions = ", ".join(node.name for node in plan.nodes if node.conversion)
    parts = [stages]
    if conversions:
        parts.append(f"converts {conversions}")
    if plan.latency:
        parts.append(f"{plan.latency} frames late")
    count = len(pipeline.ladder)
    return "; ".join([*parts, f"{count} rung{'s' * (count != 1)}"])
