"""What is restarted when, what is waited for, and where it stops, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("zmq")

from streamgen.control.launch.fleet import Fleet, Launched
from streamgen.control.launch.rolling import BACK_S, STUCK_S, Pace, Rolling, empty
from streamgen.errors import ConfigError, StreamGenError

MOVES_S = 1.0
"""A stream takes so long to move, and a worker to come back."""


@dataclass
class Machine:
    """Workers `w0`, `w1` and so on, a coordinator, and the launcher that keeps them."""

    workers: int
    streams_of: dict[str, str] = field(default_factory=dict)
    """By stream, its node."""
    room: bool = True
    comes_back: bool = True
    demand: tuple[str, ...] = ()
    now_s: float = 0.0
    did: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = [f"w{number}" for number in range(self.workers)]
        self.boots = dict.fromkeys(self.names, 0)
        self.loaded = {name: set(self.demand) for name in self.names}
        self.draining: str | None = None
        self.pids = dict.fromkeys([*self.names, "coordinator"], 100)
        self._due: list[tuple[float, str]] = []
        self.pace = Pace(lambda: self.now_s, self._sleep)
        self.rolling = Rolling(self, self, "c", self.did.append, self.pace)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
        here = [one for one, node in self.streams_of.items() if node == self.draining]
        if here and self.room and self.now_s % MOVES_S < seconds:
            others = [name for name in self.names if name != self.draining]
            self.streams_of[here[0]] = others[0]
        for due_s, name in self._due:
            if self.now_s >= due_s and self.pids[name] == 0:
                self.pids[name] = 101
                if name in self.boots:
                    self.boots[name] += 1
                    self.loaded[name] = set()
            elif self.now_s >= due_s + MOVES_S and name in self.boots:
                self.loaded[name] = set(self.demand)

    # `rolling.Nodes`.

    def nodes(self) -> dict[str, Any]:
        if self.pids["coordinator"] == 0:
            raise StreamGenError("no coordinator leads")
        return {"nodes": [self._row(name) for name in self.names if self.pids[name]]}

    def _row(self, name: str) -> dict[str, Any]:
        empty = name not in self.streams_of.values()
        state = ("drained" if empty else "draining") if name == self.draining else "up"
        cold = sorted(set(self.demand) - self.loaded[name])
        return {"name": name, "boot": str(self.boots[name]), "state": state, "cold": cold}

    def streams(self) -> list[dict[str, Any]]:
        return [
            {
                "name": stream,
                "owner": {"node": node},
                "next": {"node": "another"} if node == self.draining and self.room else None,
            }
            for stream, node in self.streams_of.items()
        ]

    def drain(self, node: str, *, wanted: bool) -> dict[str, Any]:
        self.draining = node if wanted else None
        self.did.append(f"drain {node}" if wanted else f"use {node}")
        return {}

    # `fleet.Launcher`.

    def start(self, fleet: Fleet) -> None: ...

    def list(self, cluster: str) -> Sequence[Launched]:
        return [Launched(name, "here", "runs", pid or None) for name, pid in self.pids.items()]

    def restart(self, cluster: str, name: str) -> bool:
        assert name not in self.streams_of.values()
        self.did.append(f"restart {name}")
        self.draining, self.pids[name] = None, 0
        if self.comes_back:
            self._due.append((self.now_s + MOVES_S, name))
        return True

    def stop(self, cluster: str) -> int:
        return 0


def test_workers_are_emptied_and_restarted_one_after_the_other() -> None:
    one = Machine(2, {"a": "w0", "b": "w0", "c": "w1"}, demand=("starry",))
    one.rolling.restart()
    assert [step for step in one.did if " is " not in step] == [
        *("drain w0", "restart w0"),
        *("drain w1", "restart w1"),
    ]
    told = [step.partition(" after ")[0] for step in one.did if " is " in step]
    assert told == ["w0 is empty", "w0 is back", "w1 is empty", "w1 is back"]
    assert one.loaded["w1"] == {"starry"}, "the last one is waited for until it is warm, too"
    assert one.boots == {"w0": 1, "w1": 1}


def test_where_there_is_no_room_nothing_is_restarted_and_the_node_is_used_again() -> None:
    one = Machine(2, {"a": "w0", "b": "w0"}, room=False)
    with pytest.raises(StreamGenError, match="w0 goes on: no other node has room for a, b"):
        one.rolling.restart()
    assert one.did == ["drain w0", "use w0"] and one.now_s > STUCK_S
    with pytest.raises(StreamGenError, match="no other node has room"):
        empty(one, "w0", one.pace)


def test_one_that_does_not_come_back_stops_it() -> None:
    one = Machine(3, comes_back=False)
    with pytest.raises(StreamGenError, match=r"w0 is not back .* w0 has not come to the coord"):
        one.rolling.restart()
    assert "drain w1" not in one.did and one.now_s > BACK_S


def test_a_coordinator_is_restarted_by_name_and_waited_for_until_all_nodes_are_there() -> None:
    one = Machine(2, {"a": "w0"})
    one.rolling.restart(["coordinator"])
    assert one.did[0] == "restart coordinator" and len(one.did) == 2
    assert one.pids["coordinator"] == 101 and one.boots == {"w0": 0, "w1": 0}


def test_what_is_not_there_is_refused_before_anything_is_touched() -> None:
    one = Machine(1)
    with pytest.raises(ConfigError, match="there is no 'w7' in 'c'"):
        one.rolling.restart(["w0", "w7"])
    one.names.clear()
    with pytest.raises(ConfigError, match="no worker of 'c' is with these coordinators"):
        one.rolling.restart()
    assert one.did == []
