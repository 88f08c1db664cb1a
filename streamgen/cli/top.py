"""`streamgen top`: a cluster as it is now, in the terminal."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamgen.cli.asking import WHERE, Coordinators
from streamgen.errors import StreamGenError

WIDTH = 10
FULL, HIGH = 0.95, 0.8
MOST_ROWS = 40
"""Of nodes, and of streams; those that wait or change come first."""
_SHORT = {
    "cpu_ms": "cpu",
    "gpu_ms": "gpu",
    "memory_mb": "memory",
    "gpu_memory_mb": "gpu memory",
    "decoder_ms": "decoders",
    "encoder_ms": "encoders",
}
_ORDER = {"waiting": 0, "starting": 1, "moving": 2, "running": 3}
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def top(
    once: bool = typer.Option(False, "--once", help="Print it once and leave."),
    every: float = typer.Option(1.0, min=0.2, max=60.0, help="Seconds between two looks."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, once."),
    coordinator: list[str] = WHERE,
) -> None:
    """A cluster as it is now: nodes, how full they are, streams, and who waits for what."""
    coordinators, console = Coordinators(coordinator), Console()
    if as_json:
        typer.echo(json.dumps(listed(coordinators.nodes(), coordinators.streams()), indent=2))
        return
    if once:
        console.print(picture(coordinators.nodes(), coordinators.streams()))
        return
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                shown = picture(coordinators.nodes(), coordinators.streams())
            except StreamGenError as error:  # the next leader comes soon
                shown = Group(Text(str(error), style="yellow"))
            live.update(shown, refresh=True)
            time.sleep(every)


def listed(nodes: dict[str, Any], streams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All there is, whatever it is, in one listing."""
    return [
        *({"kind": "node"} | one for one in nodes["nodes"]),
        *({"kind": "edge"} | one for one in nodes["edges"]),
        *({"kind": "stream"} | one for one in streams),
    ]


def picture(nodes: dict[str, Any], streams: list[dict[str, Any]]) -> Group:
    """Of what the API says."""
    rows = nodes["nodes"]
    states = Counter(stream["state"] for stream in streams)
    counted = ", ".join(
        f"{states[state]} {state}" for state in sorted(_ORDER, key=_ORDER.__getitem__)
    )
    head = Text(
        f"{len(rows)} nodes, {len(nodes['edges'])} edges; streams: {counted}"
        f" (leader {nodes['leader_epoch']})"
    )
    return Group(head, Text(), _nodes(rows), Text(), _streams(streams))


def _nodes(rows: list[dict[str, Any]]) -> Table:
    dimensions = [one for one in _SHORT if any(one in row["load"] for row in rows)]
    table = _table("node", "state", *(_SHORT[one] for one in dimensions), "streams", "pieces")
    for row in rows[:MOST_ROWS]:
        bars = [_bar(row["load"].get(one)) for one in dimensions]
        numbers = (Text(str(len(row["streams"]))), Text(str(row["pieces"])))
        table.add_row(Text(row["name"]), Text(row["state"]), *bars, *numbers)
    return _more(table, len(rows))


def _streams(streams: list[dict[str, Any]]) -> Table:
    table = _table("stream", "state", "node", "edge", "given up", "")
    first = sorted(streams, key=lambda one: (_ORDER[one["state"]], one["name"]))
    for one in first[:MOST_ROWS]:
        owner, coming = one["owner"], one["next"]
        where = "" if owner is None else owner["node"]
        where += "" if coming is None else f" -> {coming['node']}"
        given = "" if owner is None or owner["given_up"] == "nothing" else owner["given_up"]
        cells = (one["name"], one["state"], where, one["edge"] or "", given, _why(one))
        table.add_row(*map(Text, cells))  # no markup in names
    return _more(table, len(streams))


def _why(stream: dict[str, Any]) -> str:
    reason, earliest_ms = stream["reason"], stream["earliest_in_ms"]
    if reason is None:
        return ""
    return reason if earliest_ms is None else f"{reason}; in {earliest_ms / 1000:.0f} s"


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _more(table: Table, number: int) -> Table:
    if number > MOST_ROWS:
        table.add_row(f"and {number - MOST_ROWS} more", style="dim")
    return table


def _bar(load: dict[str, int] | None) -> Text:
    """What is in use, of what may be."""
    if load is None or not load["limit"]:
        return Text("")
    share = load["used"] / load["limit"]
    filled = min(round(share * WIDTH), WIDTH)
    style = "red" if share > FULL else "yellow" if share > HIGH else "green"
    bar = Text("█" * filled, style=style)
    bar.append("░" * (WIDTH - filled), style="dim")
    return bar.append(f" {100 * share:3.0f} %", style="default")
