"""A worker as a node: where edges are, and what it offers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest

from streamgen.control.coordinator.commands import Assign
from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.cost import Done
from streamgen.control.filler import Filler, Room
from streamgen.control.holdings import Holdings
from streamgen.control.keys import new_key
from streamgen.control.line import Proof
from streamgen.control.node import Membership, Node, capacity, where
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.control.wire import Place
from streamgen.control.worker import Worker
from streamgen.errors import ConfigError
from tests.control.launch.waiting import until


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


class Carried:
    """A stream on a worker."""

    def done(self) -> Done | None: ...
    def stop(self) -> None: ...
    def give_up(self, cut: Cut) -> None: ...


def test_pieces_of_jobs_make_room_for_a_stream_as_soon_as_it_begins(tmp_path: Path) -> None:
    has = Resources(cpu_ms=4000, memory_mb=1500)
    needs = Resources(cpu_ms=3800, memory_mb=1000)
    work = Work("cam", Profile("p", (needs,)), Standing.LIVE_FREE)
    holdings, stream = Holdings("one"), Carried()
    filler = Filler(f"sqlite:///{tmp_path / 'state.db'}", "one", has)
    worker = Worker("one", {}, now=datetime.now, holdings=holdings)
    at = tmp_path / "c"
    serving = Thread(target=worker.serve)
    with Node(worker, holdings, Membership([str(at)]), has, drain_s=0, filler=filler):
        serving.start()
        assert filler.room == Room(2, 2)
        holdings.begin(Assign(work, "one", 1, "token", Cut.NOTHING), stream)
        until(lambda: filler.room == Room(0, 0), "room is made")
        holdings.ended(stream)
        until(lambda: filler.room == Room(2, 2), "it is there again")
        worker.stop()
        serving.join()
