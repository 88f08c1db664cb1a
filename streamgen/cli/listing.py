"""Listings: a table for people, or JSON for programs (an array of objects, each with `name`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

Row = Mapping[str, Any]


def show(
    rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, header: bool = True
) -> None:
    """Print `rows`: all keys as JSON, or the named columns as text under their names."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2, ensure_ascii=False, default=str))
        return
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    if header:
        cells.insert(0, [column.upper().replace("_", " ") for column in columns])
    widths = [max((len(line[i]) for line in cells), default=0) for i in range(len(columns))]
    for line in cells:
        typer.echo("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
        case _:
            return str(value)
