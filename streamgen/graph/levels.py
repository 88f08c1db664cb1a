"""`Level`: how much of its quality a live stream gives up; the ladder that `when_late` means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from streamgen.graph.spec import Answer


class Show(Enum):
    """What a level shows."""

    GRAPH = "graph"
    SOURCE = "source"
    """The picture as it came."""
    SLATE = "slate"


@dataclass(frozen=True, slots=True)
class Level:
    """What is done, and left, while time is this short."""

    name: str
    """`full`, or the answer that was added last."""
    skipped: frozenset[str] = frozenset()
    """Nodes that step aside."""
    show: Show = Show.GRAPH
    top_rung: bool = True
    """The top rung is fed."""


def levels(answers: Sequence[Answer], skippable: frozenset[str]) -> tuple[Level, ...]:
    """What `when_late` means for a graph with these skippable nodes, the full quality first.

    Every level keeps what the one before gave up. A `skip` that leaves nothing is left out.
    """
    found = [Level("full")]
    for answer in answers:
        last = found[-1]
        if answer.kind == "skip":
            skipped = last.skipped | (frozenset(answer.nodes) or skippable)
            if skipped != last.skipped:
                found.append(Level(str(answer), skipped, last.show, last.top_rung))
        elif answer.kind == "drop_rung":
            found.append(Level("drop_rung", last.skipped, last.show, top_rung=False))
        elif answer.kind != "reuse":
            show = Show.SLATE if answer.kind == "slate" else Show.SOURCE
            found.append(Level(answer.kind, last.skipped, show, last.top_rung))
    return tuple(found)
