"""`wait_for`: until jobs are over, with how far all of them are."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import typer

from streamgen.cli.progress import Screen
from streamgen.control.store.jobs import OVER
from streamgen.errors import ConfigError
from streamgen.report import Progress

POLL_S = 0.5
MOST_ASKED = 8
"""Jobs that are asked for one by one; of more than these all are asked for at once."""
GONE = ("failed", "cancelled")
Row = dict[str, Any]


class Watched(Protocol):
    """Jobs of a store, or of a server."""

    async def rows(self) -> list[Row]: ...
    async def row(self, name: str) -> Row | None: ...


class Together:
    """How far several jobs are, as if they were one."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self._began_s = time.monotonic()
        self._before = self._frames()

    def progress(self) -> Progress:
        """Any thread."""
        frames, elapsed_s = self._frames(), time.monotonic() - self._began_s
        total = sum(row["frames"] for row in self._rows.values() if row["state"] not in GONE)
        fps = max(0, frames - self._before) / elapsed_s if elapsed_s else 0.0
        left_s = max(0, total - frames) / fps if fps else None
        return Progress(
            frames=frames,
            total_frames=total,
            fps=fps,
            elapsed_s=elapsed_s,
            left_s=left_s,
            load={},
        )

    def _frames(self) -> int:
        rows = list(self._rows.values())
        return sum(row["frames_done"] for row in rows if row["state"] not in GONE)


async def wait_for(board: Watched, names: Sequence[str]) -> list[Row]:
    """The rows of these jobs once all are over, or of all that are under way now. Raises
    `ConfigError` for a name that is none."""
    wanted = names or [row["name"] for row in await board.rows() if row["state"] not in OVER]
    rows = dict.fromkeys(wanted, Row())
    rows.update(await _asked(board, wanted))
    said: set[str] = set()
    out = sys.stdout if sys.stdout.isatty() else sys.stderr
    screen = Screen(out)
    title = wanted[0] if len(wanted) == 1 else f"{len(wanted)} jobs"
    with screen.following(title, Together(rows).progress):
        while True:
            over = [row for row in rows.values() if row["state"] in OVER]
            for row in over:
                if row["name"] not in said:
                    said.add(row["name"])
                    _say(screen, f"{row['name']} {row['state']}")
            if len(over) == len(rows):
                break
            await asyncio.sleep(POLL_S)
            rows.update(await _asked(board, [n for n in wanted if n not in said]))
    for name, row in rows.items():
        if row["state"] == "failed":
            rows[name] = found(await board.row(name), name)
    return list(rows.values())


async def _asked(board: Watched, names: Sequence[str]) -> dict[str, Row]:
    if len(names) <= MOST_ASKED:
        return {name: found(await board.row(name), name) for name in names}
    every = {row["name"]: row for row in await board.rows()}
    return {name: every.get(name) or found(await board.row(name), name) for name in names}


def found(row: Row | None, name: str) -> Row:
    if row is None:
        raise ConfigError(f"there is no job '{name}'")
    return row


def summary(rows: Sequence[Row]) -> str:
    """`1000 jobs: 12 done, 2 running, 986 waiting; 480 of 40000 pictures`."""
    states = Counter(row["state"] for row in rows)
    counted = ", ".join(f"{number} {state}" for state, number in states.most_common())
    jobs = f"{len(rows)} job{'' if len(rows) == 1 else 's'}"
    if not rows:
        return "no jobs"
    made, all_ = (sum(row[key] for row in rows) for key in ("frames_done", "frames"))
    return f"{jobs}: {counted}; {made} of {all_} pictures"


def _say(screen: Screen, line: str) -> None:
    """For people above the progress, for programs alone."""
    if sys.stdout.isatty():
        screen.say(line)
    else:
        typer.echo(line)
