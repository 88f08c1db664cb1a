"""Who is told what, and who may say what."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamgen.control.api import views
from streamgen.control.coordinator.commands import Assign, Persist, Refuse, Revoke, Wait
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.desk import EDGE_GONE_MS, LISTEN_MS, Desk
from streamgen.control.coordinator.directory import EdgeLeft, EdgeRegistered, Edges
from streamgen.control.coordinator.events import (
    Drain,
    LeaseGained,
    NodeLeft,
    NodeRegistered,
    NodeReport,
    Running,
    StreamAttached,
    StreamChanged,
    StreamEnds,
    StreamLost,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.messages import (
    FromCoordinator,
    HeardLater,
    Letter,
    ToCoordinator,
)
from streamgen.control.coordinator.places import Kind
from streamgen.control.placement.resources import Profile, Resources
from streamgen.control.placement.scheduler import Work
from tests.control.coordinator.acting import CAPACITY, work


@dataclass
class Told:
    """A desk, its peers, and all that they were told."""

    by: dict[str, list[FromCoordinator]] = field(default_factory=dict)
    persisted: list[Persist] = field(default_factory=list)
    now_ms: int = 1_000

    def __post_init__(self) -> None:
        self.desk = Desk(Coordinator(b"secret"), Figures(), self._say, self.persisted.append)
        self.desk.gained(LeaseGained(3), self.now_ms)

    def _say(self, kind: Kind, name: str | None, message: FromCoordinator) -> None:
        self.by.setdefault(name or f"every {kind}", []).append(message)

    def hear(self, kind: Kind, name: str, message: ToCoordinator, leader: int = 3) -> None:
        self.desk.hear(kind, name, Letter(message, leader), self.now_ms)

    def node(self, name: str = "node-1") -> None:
        self.hear("worker", name, NodeRegistered(name, "boot", CAPACITY))

    def want(self, edge: str, one: Work, epoch: int = 0) -> None:
        self.hear("edge", edge, StreamWanted(one, None, epoch))

    def later(self, ms: int, silent: dict[str, int] | None = None) -> None:
        """Nodes live on."""
        for _ in range(ms // 500):
            self.now_ms += 500
            cluster = self.desk.coordinator.cluster
            alive = [] if cluster is None else [node.name for node in cluster.nodes]
            self.desk.tick(alive, silent or {}, self.now_ms)

    def owner(self, name: str = "s") -> Assign:
        found = [
            one
            for told in self.by.values()
            for one in told
            if isinstance(one, Assign) and one.work.name == name
        ]
        return max(found, key=lambda one: one.epoch)


def test_an_owner_is_told_to_its_node_and_to_the_edge_that_wants_the_stream() -> None:
    told = Told()
    told.node()
    told.want("edge-1", work("s"))
    assert told.by["node-1"] == told.by["edge-1"] == [told.owner()]
    assert told.owner().epoch >> 32 == 3


def test_who_waits_is_told_why_and_a_no_goes_to_who_asked() -> None:
    told = Told()
    told.want("edge-1", work("s"))
    [wait] = told.by["edge-1"]
    assert isinstance(wait, Wait) and told.desk.waits["s"] == wait
    told.hear("edge", "edge-2", StreamWanted(work("t"), told.now_ms))
    assert isinstance(told.by["edge-2"][-1], Refuse)
    assert "t" not in told.desk.edge_of


def test_a_stream_that_is_taken_to_another_edge_keeps_its_owner_which_that_edge_is_told() -> None:
    told = Told()
    told.node()
    told.want("edge-1", work("s"))
    told.want("edge-2", work("s"))
    assert told.by["edge-2"] == [told.owner()]
    told.hear("edge", "edge-1", StreamReleased("s"))  # it is not this edge's any more
    cluster = told.desk.coordinator.cluster
    assert cluster is not None and "s" in cluster.streams


def test_an_edge_that_has_the_owners_pictures_is_not_told_again() -> None:
    told = Told()
    told.node()
    told.want("edge-1", work("s"))
    told.want("edge-1", work("s"), told.owner().epoch)
    assert len(told.by["edge-1"]) == 1


def test_everybody_speaks_for_themselves() -> None:
    told = Told()
    told.node("node-1")
    told.node("node-2")
    told.want("edge-1", work("s"))
    epoch, owner = told.owner().epoch, told.owner().node
    told.hear("edge", "edge-1", StreamAttached("s", owner, epoch))
    told.by.clear()
    other = "node-2" if owner == "node-1" else "node-1"
    for kind, name, message in (
        ("worker", other, NodeLeft(owner)),
        ("worker", other, WorkerLost(owner)),
        ("worker", other, Drain(owner)),
        ("worker", other, NodeReport(owner, ())),
        ("worker", other, StreamLost("s", epoch, "says who does not carry it")),
        ("worker", other, StreamReleased("s")),
        ("worker", other, EdgeRegistered(other, "tcp://10.0.0.1:7000")),
        ("edge", "edge-2", StreamReleased("s")),
        ("edge", "edge-2", StreamEnds("s", 2_000)),
        ("edge", "edge-2", StreamLost("s", epoch, "", silent=True)),
        ("edge", "edge-2", StreamChanged(work("s", Profile("big", (Resources(9_000),))))),
        ("edge", "edge-2", EdgeLeft("edge-1")),
        ("edge", "edge-2", NodeRegistered("node-1", "other boot", CAPACITY)),
        ("edge", "edge-1", LeaseGained(9)),
    ):
        told.hear(kind, name, message)  # type: ignore[arg-type]
    assert told.by == {}
    assert told.desk.figures.ignored.total() == 14


def test_what_is_meant_for_another_leader_is_not_listened_to() -> None:
    told = Told()
    told.node()
    told.hear("edge", "edge-1", StreamWanted(work("s"), None), leader=2)
    told.hear("edge", "edge-1", StreamAttached("s", "node-1", 5), leader=2)
    assert told.by == {}


def test_a_leader_that_sees_the_epoch_of_a_later_one_leads_no_more() -> None:
    told = Told()
    running = (Running(work("s"), 4 << 32 | 1),)
    told.hear("worker", "node-1", NodeRegistered("node-1", "boot", CAPACITY, (), running))
    assert told.desk.epoch == 0 and told.desk.coordinator.cluster is None
    told.node()
    assert told.by == {}


def test_the_latest_leader_that_peers_have_seen_is_remembered_for_the_next_lease() -> None:
    told = Told()
    told.hear("edge", "edge-1", HeardLater(2), leader=0)
    assert told.desk.epoch == 3 and told.desk.outdone == 0
    told.hear("edge", "edge-1", HeardLater(9), leader=0)
    assert told.desk.epoch == 0 and told.desk.outdone == 9
    told = Told()
    running = (Running(work("s"), 4 << 32 | 1), Running(work("t"), 6 << 32 | 1))
    told.hear("worker", "node-1", NodeRegistered("node-1", "boot", CAPACITY, (), running))
    assert told.desk.epoch == 0 and told.desk.outdone == 6
    told = Told()
    told.want("edge-1", work("s"), 5 << 32 | 1)
    assert told.desk.epoch == 0 and told.desk.outdone == 5


def test_nodes_are_told_where_edges_are_once_all_edges_had_time_to_say_so() -> None:
    told = Told()
    told.node()
    first = EdgeRegistered("edge-1", "tcp://10.0.0.1:7000", "ab" * 32)
    told.hear("edge", "edge-1", first)
    assert told.by == {}
    told.later(LISTEN_MS, {"edge-1": 100})
    assert told.by["every worker"] == [Edges((first,))]
    told.node("node-2")
    assert told.by["node-2"] == [Edges((first,))]
    second = EdgeRegistered("edge-2", "tcp://10.0.0.2:7000", "cd" * 32)
    told.hear("edge", "edge-2", second)
    told.hear("edge", "edge-2", second)
    told.hear("edge", "edge-1", EdgeLeft("edge-1"))
    assert told.by["every worker"][1:] == [Edges((first, second)), Edges((second,))]


def test_a_peer_that_is_not_known_is_asked_to_say_hello() -> None:
    told = Told()
    assert told.desk.unknown("worker", "node-1") and told.desk.unknown("edge", "edge-1")
    told.node()
    told.hear("edge", "edge-1", EdgeRegistered("edge-1", "/run/edge"))
    assert not told.desk.unknown("worker", "node-1")
    assert not told.desk.unknown("edge", "edge-1")
    told.hear("worker", "node-1", NodeLeft("node-1"))
    assert told.desk.unknown("worker", "node-1")


def test_what_a_dead_edge_wanted_is_over_unless_it_runs() -> None:
    told = Told()
    told.node()
    told.hear("edge", "edge-1", EdgeRegistered("edge-1", "/run/edge"))
    told.want("edge-1", work("runs"))
    runs = told.owner("runs")
    told.hear("edge", "edge-1", StreamAttached("runs", "node-1", runs.epoch))
    told.want("edge-1", work("waits", Profile("big", (Resources(9_000),))))
    told.later(EDGE_GONE_MS - 1_000, {"edge-1": 100})
    assert {"runs", "waits"} <= told.desk.edge_of.keys()
    told.later(2_000, {"edge-1": EDGE_GONE_MS})
    assert told.desk.edge_of.keys() == {"runs"}
    assert "edge-1" not in told.desk.directory
    assert not any(isinstance(one, Revoke) for one in told.by["node-1"])


def test_another_owner_for_a_stream_that_ran_is_counted_as_a_takeover() -> None:
    told = Told()
    told.node("node-1")
    told.want("edge-1", work("s"))
    told.hear("edge", "edge-1", StreamAttached("s", "node-1", told.owner().epoch))
    told.node("node-2")
    assert told.desk.figures.counts["takeovers"] == 0
    told.hear("worker", "node-1", WorkerLost("node-1"))
    assert told.owner().node == "node-2"
    assert told.desk.figures.counts["takeovers"] == 1
    assert told.desk.figures.decisions.count == 2


def test_a_node_s_row_says_which_networks_in_demand_it_has_not_loaded() -> None:
    told = Told()
    told.node()
    painted = Profile("painted", (Resources(cpu_ms=10),), frozenset({"starry 320x180"}))
    told.want("edge-a", work("s", painted))
    told.node("node-2")
    cluster = told.desk.coordinator.cluster
    assert cluster is not None

    def cold() -> list[str]:
        [_, row] = views.nodes(told.desk, cluster, told.now_ms)["nodes"]
        return list(row["cold"])

    assert cold() == ["starry 320x180"]
    told.hear("worker", "node-2", NodeReport("node-2", (), ("starry 320x180",)))
    assert cold() == []
