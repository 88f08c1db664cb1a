"""`streamgen top`, of what the API says."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from streamgen.cli.top import MOST_ROWS, picture


def load(used: int) -> dict[str, int]:
    return {"used": used, "limit": 1_000, "capacity": 1_100}


def node(name: str, used: int) -> dict[str, Any]:
    row = {"name": name, "state": "up", "load": {"cpu_ms": load(used)}}
    return row | {"streams": ["s"], "pieces": 2}


def stream(name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    owner = {"node": "n1", "given_up": "rungs"} if state != "waiting" else None
    row = {"name": name, "state": state, "edge": "e1", "owner": owner, "next": None}
    return row | {"reason": None, "earliest_in_ms": None} | more


def shown(nodes: list[dict[str, Any]], streams: list[dict[str, Any]]) -> str:
    console = Console(width=120)
    with console.capture() as text:
        console.print(picture({"nodes": nodes, "edges": [], "leader_epoch": 4}, streams))
    return text.get()


def test_nodes_have_bars_and_streams_their_owners() -> None:
    text = shown([node("n1", 500), node("n2", 990)], [stream("s")])
    assert "2 nodes, 0 edges; streams: 0 waiting, 0 starting, 0 moving, 1 running" in text
    assert "█████░░░░░  50 %" in text and "██████████  99 %" in text
    assert "rungs" in text


def test_who_waits_comes_first_with_the_reason() -> None:
    waits = stream("z", "waiting", reason="all nodes are full", earliest_in_ms=4_200)
    lines = shown([], [stream("a"), waits]).splitlines()
    [line] = [line for line in lines if line.startswith("z")]
    assert "all nodes are full; in 4 s" in line
    assert lines.index(line) < next(i for i, one in enumerate(lines) if one.startswith("a "))


def test_names_are_no_markup_and_long_lists_are_cut() -> None:
    text = shown([node("[bold]n", 0)], [stream(f"s{n}") for n in range(MOST_ROWS + 3)])
    assert "[bold]n" in text
    assert "and 3 more" in text
