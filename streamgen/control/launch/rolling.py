"""`Rolling`: a cluster's processes are restarted one after the other, each worker once it is empty.

The coordinators empty it: nothing new comes to it, and its streams move, one at a time, at a key
frame. Then whoever keeps it ends it and starts it again, and the next one has its turn when it
takes streams and has loaded the networks that are in demand. Where a worker cannot be emptied it is
used again, and nothing else is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from streamgen.control.launch.fleet import Launcher
from streamgen.errors import ConfigError, StreamGenError

POLL_S = 0.2
STUCK_S = 10.0
"""A node whose streams do not move for so long, though no other one of them is moving, is full of
streams that nobody has room for."""
EMPTY_S = 600.0
BACK_S = 120.0
"""A process that was started again is not waited for any longer."""


class Nodes(Protocol):
    """What the coordinators say and are told (`cli.asking.Coordinators`). All raise
    `StreamGenError` where none of them leads."""

    def nodes(self) -> dict[str, Any]: ...

    def streams(self) -> list[dict[str, Any]]: ...

    def drain(self, node: str, *, wanted: bool) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How time goes by."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def empty(nodes: Nodes, name: str, pace: Pace) -> None:
    """Have a node's streams move away; returns when it has none, and none comes to it. Raises
    `StreamGenError` where others have no room for them or it takes too long: it is used again."""
    nodes.drain(name, wanted=True)
    done = False
    try:
        _leave(nodes, name, pace)
        done = True
    finally:
        if not done:
            with suppress(StreamGenError):
                nodes.drain(name, wanted=False)


def _leave(nodes: Nodes, name: str, pace: Pace) -> None:
    began_s = moved_s = pace.now_s()
    while True:
        row = _row(nodes, name)
        if row is None:
            raise StreamGenError(f"{name} is gone")
        if row["state"] == "drained":
            return
        here = [one for one in nodes.streams() if (one["owner"] or {}).get("node") == name]
        now_s = pace.now_s()
        if not here or any(one["next"] for one in here):
            moved_s = now_s
        if now_s - moved_s > STUCK_S:
            names = ", ".join(one["name"] for one in here)
            raise StreamGenError(f"{name} goes on: no other node has room for {names}")
        if now_s - began_s > EMPTY_S:
            raise StreamGenError(f"{name} goes on: it is not empty after {EMPTY_S:g} s")
        pace.sleep(POLL_S)


def _row(nodes: Nodes, name: str) -> dict[str, Any] | None:
    return next((row for row in nodes.nodes()["nodes"] if row["name"] == name), None)


class Rolling:
    """One at a time, as long as all goes well."""

    def __init__(
        self,
        nodes: Nodes,
        launcher: Launcher,
        cluster: str,
        say: Callable[[str], None],
        pace: Pace | None = None,
    ) -> None:
        """`say` hears of each step, for people."""
        self._nodes, self._launcher, self._cluster = nodes, launcher, cluster
        self._say = say
        self._pace = pace or Pace()

    def restart(self, names: Sequence[str] = ()) -> None:
        """These processes; default: all workers. Raises `ConfigError` for one that is not there,
        and `StreamGenError` at the first that cannot be emptied or does not come back."""
        there = {one.name for one in self._launcher.list(self._cluster)}
        for name in names:
            if name not in there:
                raise ConfigError(f"there is no '{name}' in '{self._cluster}'")
        workers = [row["name"] for row in self._nodes.nodes()["nodes"] if row["name"] in there]
        if not names and not workers:
            raise ConfigError(f"no worker of '{self._cluster}' is with these coordinators")
        for name in names or workers:
            self._renew(name)

    def _renew(self, name: str) -> None:
        began_s = self._pace.now_s()
        before = self._nodes.nodes()["nodes"]
        coming = _Coming(name, {row["name"]: row["boot"] for row in before}, self._pid(name))
        worker = name in coming.boots
        if worker:
            empty(self._nodes, name, self._pace)
            self._say(f"{name} is empty after {self._pace.now_s() - began_s:.1f} s")
        if not self._launcher.restart(self._cluster, name):
            if worker:
                self._nodes.drain(name, wanted=False)
            raise StreamGenError(f"{name} runs nowhere any more")
        self._await(coming)
        self._say(f"{name} is back after {self._pace.now_s() - began_s:.1f} s")

    def _await(self, coming: _Coming) -> None:
        ends_s = self._pace.now_s() + BACK_S
        while missing := self._missing(coming):
            if self._pace.now_s() > ends_s:
                raise StreamGenError(
                    f"{coming.name} is not back after {BACK_S:g} s, and no other one was "
                    f"touched: {missing}"
                )
            self._pace.sleep(POLL_S)

    def _missing(self, coming: _Coming) -> str:
        try:
            rows = {row["name"]: row for row in self._nodes.nodes()["nodes"]}
        except StreamGenError as error:  # who led may be what is restarted
            return str(error)
        for name in coming.boots.keys() - rows.keys():
            return f"{name} has not come to the coordinators"
        if coming.name in coming.boots:
            return coming.missing(rows[coming.name])
        return "" if self._pid(coming.name) not in (None, coming.pid) else "it does not run"

    def _pid(self, name: str) -> int | None:
        rows = self._launcher.list(self._cluster)
        return next((row.pid for row in rows if row.name == name), None)


@dataclass(slots=True)
class _Coming:
    """A process that is restarted."""

    name: str
    boots: Mapping[str, str]
    """Of all workers, as they were before."""
    pid: int | None
    """Before."""
    wanted: frozenset[str] | None = None
    """The networks that it was asked to load when it came."""

    def missing(self, row: Mapping[str, Any]) -> str:
        """Of a worker, why it is not back yet, as its row says; empty: it is."""
        if row["boot"] == self.boots[self.name]:
            return "it has not ended"
        if row["state"] != "up":
            return f"it is {row['state']}"
        cold = frozenset(row["cold"])
        if self.wanted is None:
            self.wanted = cold
        left = ", ".join(sorted(cold & self.wanted))
        return f"it has not loaded {left}" if left else ""
