from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    Drain,
    Held,
    KnownStream,
    LeaseGained,
    NodeRegistered,
    StreamReleased,
    StreamWanted,
    Tick,
    WorkerLost,
)
from streamgen.control.coordinator.homes import KnownHome
from streamgen.control.placement.resources import Cut, Standing, Subject
from tests.control.coordinator.world import NODE, PROFILES, SECRET, work

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from streamgen.control.coordinator.rows import read, written
from streamgen.control.store import Home, Node, Store, Stream

LEADER = 3
SEEN = replace(PROFILES[1], subject=Subject("enhance-1", 1280, 720, 30))
"""What a node has measured."""
PARTS = frozenset({"stage 'tint'"})


def commands() -> list[Persist]:
    """Of a leader that has seen something."""
    coordinator = Coordinator(SECRET)
    events = [
        LeaseGained(LEADER),
        NodeRegistered("one", "boot-1", NODE, ("starry",), (), (SEEN,), PARTS | {"codec 'h264'"}),
        NodeRegistered("two", "boot-1", NODE),
        NodeRegistered("three", "boot-1", NODE),
        *(StreamWanted(work(f"s{number}", kind), None) for number, kind in enumerate(PROFILES)),
        StreamWanted(replace(work("seen", replace(SEEN, needs=(NODE,))), parts=PARTS), None),
        StreamWanted(work("batch", PROFILES[2], Standing.BATCH_FREE), None),
        StreamReleased("s1"),
        WorkerLost("three"),
        NodeRegistered("four", "boot-1", NODE),
        Drain("one"),
        Drain("two"),
    ]
    said = [command for event in events for command in coordinator.handle(event, 0)]
    return [one for one in said if isinstance(one, Persist)]


def test_the_next_leader_reads_what_the_last_one_knew(tmp_path: Path) -> None:
    """However often, and in whatever order, rows are written."""

    async def through_the_store() -> LeaseGained:
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", lambda: 0) as store:
            versions = itertools.count(LEADER << 32)
            groups = [written(one, next(versions)) for one in commands()]
            for rows in [*groups, *groups[::-1]]:
                await store.write(*rows)
            return read(LEADER + 1, await store.all(Node), await store.all(Stream))

    gained = asyncio.run(through_the_store())
    nodes = {one.name: one for said in commands() for one in said.nodes}
    streams = {one.work.name: one for said in commands() for one in said.streams}
    assert gained.epoch == LEADER + 1
    assert {one.name: one for one in gained.nodes} == {n: nodes[n] for n in ("one", "two", "four")}
    assert {one.work.name for one in gained.streams} == {"s0", "s2", "batch", "seen"}
    assert {one.work.name: one.work.parts for one in gained.streams}["seen"] == PARTS
    for one in gained.streams:
        assert one == streams[one.work.name]
    assert any(one.coming is not None for one in gained.streams), "a move is under way"
    # And it is enough to lead, taken up at once or some at a time.
    assert Coordinator(SECRET).handle(gained, 0) == []
    slowly = Coordinator(SECRET)
    for _ in slowly.prepare(gained, 0):
        assert slowly.cluster is None
    assert slowly.handle(gained, 5_000) == [] and slowly.cluster is not None
    assert slowly.handle(Tick(), 6_000) == []  # nobody was silent for as long as that took
    assert {one.name for one in slowly.cluster.nodes} == {"one", "two", "four"}
    assert slowly.cluster.streams.keys() == {"s0", "s2", "batch", "seen"}


def test_homes_are_read_as_they_were_written_but_for_those_that_are_gone(tmp_path: Path) -> None:
    homes = tuple(KnownHome(f"s{n}", "edge-a", LEADER << 32 | n, "ü" * n) for n in range(3))

    async def through_the_store() -> LeaseGained:
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", lambda: 0) as store:
            await store.write(*written(Persist(homes=homes), 1))
            await store.write(*written(Persist(gone_homes=("s1",)), 2))
            return read(LEADER + 1, [], [], await store.all(Home))

    assert asyncio.run(through_the_store()).homes == (homes[0], homes[2])


def test_a_stream_that_becomes_another_by_a_move_is_remembered_as_both() -> None:
    before, after = work("s", PROFILES[0]), work("s", PROFILES[1], Standing.LIVE_FREE)
    known = KnownStream(after, Held("one", 1, was=before), Held("two", 2, Cut.RUNGS))
    [row] = written(Persist(streams=(known,)), 1)
    assert isinstance(row, Stream)
    assert read(2, [], [row]).streams == (known,)
