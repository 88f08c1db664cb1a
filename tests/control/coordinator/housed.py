"""Three edges and a leader who knows where streams are; a test says what they say."""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.coordinator.desk import LISTEN_MS
from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.homes import (
    Home,
    KnownHome,
    StreamClaimed,
    StreamLeft,
    StreamSought,
    StreamUnsought,
)
from tests.control.coordinator.test_desk import Told

EDGES = ("edge-a", "edge-b", "edge-c")
HERE = dict.fromkeys(EDGES, 100)


def door(edge: str) -> EdgeRegistered:
    return EdgeRegistered(edge, f"/run/{edge}", "", f"tcp://{edge}:7200", "ab" * 32)


@dataclass
class Scene(Told):
    """Three edges and a leader that has listened to all of them."""

    asks: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for edge in EDGES:
            self.hear("edge", edge, door(edge), self.desk.epoch)
        self.later(LISTEN_MS, HERE)
        self.by.clear()

    def say(self, message: StreamClaimed | StreamLeft | StreamSought | StreamUnsought) -> None:
        self.hear("edge", message.edge, message, self.desk.epoch)

    def claim(self, stream: str, edge: str, epoch: int = 0, passport: str = "") -> Home:
        """A publisher comes."""
        self.asks += 1
        self.say(StreamClaimed(stream, edge, epoch, passport, str(self.asks)))
        answer = self.told(edge)
        assert answer.ask == str(self.asks)
        return answer

    def told(self, edge: str) -> Home:
        """The last word to this edge."""
        found = self.by[edge][-1]
        assert isinstance(found, Home)
        return found

    def remembered(self) -> tuple[KnownHome, ...]:
        """What the store would have now."""
        rows: dict[str, KnownHome] = {}
        for one in self.persisted:
            rows |= {home.stream: home for home in one.homes}
            for name in one.gone_homes:
                rows.pop(name, None)
        return tuple(rows.values())

    def next_leader(self, rows: tuple[KnownHome, ...], *edges: str) -> None:
        """One leads who knows these rows; these edges register."""
        self.desk.gained(LeaseGained(self.desk.epoch + 1, homes=rows), self.now_ms)
        self.by.clear()
        for edge in edges:
            self.hear("edge", edge, door(edge), self.desk.epoch)
