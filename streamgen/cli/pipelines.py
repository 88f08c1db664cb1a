"""`streamgen pipelines`: what can be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from streamgen.cli.listing import show as show_rows
from streamgen.errors import ConfigError
from streamgen.pipeline import Pipeline, load_pipeline
from streamgen.plugins import pipeline_files

app = typer.Typer(
    help="List, show and check pipeline files.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
JSON = typer.Option(False, "--json", help="Print JSON.")


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
        "stages": [stage.name for stage in pipeline.stages],
        "ladder": [rung.model_dump(mode="json") for rung in pipeline.ladder],
    }


@app.command()
def show(name: str, as_json: bool = JSON) -> None:
    """One pipeline: its file as written, or as JSON with every default."""
    pipeline = load_pipeline(name)
    if as_json:
        typer.echo(pipeline.model_dump_json(indent=2))
    else:
        path = pipeline_files().get(name) or Path(name)
        typer.echo(path.read_text(encoding="utf-8").rstrip())


@app.command("check")
def check_file(file: str) -> None:
    """Check a pipeline file: keys, units, ladder, stages and models."""
    typer.echo(f"{file}: fine ({_summary(load_pipeline(file))})")


def _summary(pipeline: Pipeline) -> str:
    stages = ", ".join(stage.name for stage in pipeline.stages) or "no stages"
    return f"{stages}; {len(pipeline.ladder)} rungs"
