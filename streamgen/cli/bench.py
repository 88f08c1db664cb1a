"""`streamgen bench`: the benchmarks of a source checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from streamgen.errors import ConfigError, StreamGenError

app = typer.Typer(add_completion=False, rich_markup_mode=None)
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@app.command()
def bench(
    name: str | None = typer.Argument(None, help="One benchmark; without it, all in turn."),
    as_json: bool = typer.Option(False, "--json", help="One JSON line per answer."),
) -> None:
    """Run the benchmarks of a source checkout."""
    files = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
    if not files:
        raise ConfigError("the benchmarks come with the source checkout, not with the package")
    if name is not None and name not in files:
        raise ConfigError(f"unknown benchmark '{name}' (there are: {', '.join(files)})")
    for stem in files if name is None else [name]:
        command = [sys.executable, str(files[stem]), *(["--json"] if as_json else [])]
        status = subprocess.run(command, check=False).returncode
        if status:
            raise StreamGenError(f"benchmark {stem} failed with status {status}")
