"""A worker as a node: where edges are, and what it offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.keys import new_key
from streamgen.control.line import Proof
from streamgen.control.node import capacity, where
from streamgen.control.wire import Place
from streamgen.errors import ConfigError


def test_an_edge_of_this_machine_is_a_folder_and_one_of_another_has_a_key(tmp_path: Path) -> None:
    ours, theirs = new_key(tmp_path / "ours"), new_key(tmp_path / "theirs")
    folder = EdgeRegistered("edge-a", "/run/streamgen")
    assert where(folder, None) == (Place.in_folder(Path("/run/streamgen")), None)
    port = EdgeRegistered("edge-b", "tcp://10.0.0.5:7000", theirs.public.hex())
    assert where(port, ours) == (Place.at("10.0.0.5:7000"), Proof(ours, theirs.public))
    with pytest.raises(ConfigError, match="edge-b is on another machine"):
        where(port, None)


def test_workers_that_share_a_machine_offer_their_part_of_it() -> None:
    whole, half = capacity(), capacity(2)
    assert half.cpu_ms == whole.cpu_ms // 2 > 0
    assert half.memory_mb == whole.memory_mb // 2 > 0
