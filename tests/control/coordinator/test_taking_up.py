"""What a new leader makes of a store that has forgotten what runs."""

from __future__ import annotations

import pytest

from streamgen.control.coordinator.commands import Assign
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    LeaseGained,
    NodeRegistered,
    Running,
    StreamWanted,
    Tick,
)
from tests.control.coordinator.world import NODE, SECRET, work

EPOCH = 4 << 32 | 7
"""Of an owner that a former leader gave."""


@pytest.mark.parametrize("whole", [True, False], ids=["a new store", "a wiped store"])
def test_an_owner_is_waited_for_where_the_store_has_forgotten_the_nodes(whole: bool) -> None:
    """The stream's node says hello last."""
    coordinator = Coordinator(SECRET)
    coordinator.handle(LeaseGained(5, whole=whole), 0)
    coordinator.handle(StreamWanted(work("s"), None, EPOCH), 100)
    said = coordinator.handle(NodeRegistered("two", "boot", NODE), 200)
    assert any(isinstance(one, Assign) for one in said) == whole
    running = (Running(work("s"), EPOCH),)
    coordinator.handle(NodeRegistered("one", "boot", NODE, (), running), 300)
    coordinator.handle(Tick(), 5_000)
    cluster = coordinator.cluster
    assert cluster is not None
    here = cluster.streams["s"].here
    assert here is not None and (here.epoch == EPOCH) == (not whole)


def test_what_nobody_carries_is_placed_after_two_seconds_all_the_same() -> None:
    coordinator = Coordinator(SECRET)
    coordinator.handle(LeaseGained(5, whole=False), 0)
    coordinator.handle(NodeRegistered("one", "boot", NODE), 100)
    assert not any(
        isinstance(one, Assign) for one in coordinator.handle(StreamWanted(work("s"), None), 200)
    )
    said = coordinator.handle(Tick(), 2_100)
    assert [one.work.name for one in said if isinstance(one, Assign)] == ["s"]
