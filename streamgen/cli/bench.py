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
    more: list[str] | None = typer.Argument(
        None, help="For the benchmark itself, after '--': 'bench live -- identity --seconds 5'."
    ),
    clip: Path | None = typer.Option(None, help="The video that they work on."),
    as_json: bool = typer.Option(False, "--json", help="One JSON line per answer."),
) -> None:
    """Run the benchmarks of a source checkout. `make bench` brings a clip."""
    programs = _programs()
    if not programs:
        raise ConfigError("the benchmarks come with the source checkout, not with the package")
    if name is not None and name not in programs:
        raise ConfigError(f"unknown benchmark '{name}' (there are: {', '.join(programs)})")
    for stem in programs if name is None else [name]:
        path, takes_clip = programs[stem]
        command = [sys.executable, str(path), *(["--json"] if as_json else [])]
        if takes_clip:
            if clip is None:
                raise ConfigError(f"benchmark {stem} needs --clip FILE ('make bench' brings one)")
            command += ["--clip", str(clip)]
        command += more or []
        status = subprocess.run(command, check=False).returncode
        if status:
            raise StreamGenError(f"benchmark {stem} failed with status {status}")


def _programs() -> dict[str, tuple[Path, bool]]:
    """By name: the file, and whether it takes a clip. Beside them lie modules that they share."""
    found: dict[str, tuple[Path, bool]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            found[path.stem] = (path, '"--clip"' in text)
    return found
