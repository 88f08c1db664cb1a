"""`Leader`: the real coordinator in the simulation, the store behind it, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamgen.control.coordinator.commands import (
    Assign,
    Command,
    Move,
    Persist,
    Refuse,
    Wait,
)
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import Event, KnownNode, KnownStream, LeaseGained
from streamgen.control.placement.bins import Bins
from streamgen.control.simulate.figures import Figures

SECRET = b"of a simulation"
DECISIONS = (Assign, Move, Refuse, Wait)


class Leader:
    """Dies and is replaced; the rows stay."""

    def __init__(self, head_room: float, figures: Figures, cpu_ns: Callable[[], int]) -> None:
        """`cpu_ns` is the processor time of this thread."""
        self.epoch = 0
        self._head_room = head_room
        self._figures = figures
        self._cpu_ns = cpu_ns
        self._coordinator: Coordinator | None = None
        self._nodes: dict[str, KnownNode] = {}
        self._streams: dict[str, KnownStream] = {}

    def dies(self) -> None:
        self._coordinator = None

    def begins(self, now_ms: int) -> list[Command]:
        """Another one has the lease, and reads the rows."""
        self.epoch += 1
        self._coordinator = Coordinator(SECRET, head_room=self._head_room)
        rows = tuple(self._nodes.values()), tuple(self._streams.values())
        return self.hear([LeaseGained(self.epoch, *rows)], now_ms)

    def hear(self, events: Iterable[Event], now_ms: int) -> list[Command]:
        """What it commands; nothing while nobody leads."""
        answer: list[Command] = []
        for event in events:
            if self._coordinator is None:
                return answer
            began = self._cpu_ns()
            commands = self._coordinator.handle(event, now_ms)
            self._account(event, commands, self._cpu_ns() - began)
            answer += commands
        return answer

    def bins(self) -> Bins | None:
        """What every node has; None while nobody leads."""
        if self._coordinator is None or self._coordinator.cluster is None:
            return None
        return self._coordinator.cluster.scheduler.bins

    def waiting(self) -> int:
        if self._coordinator is None or self._coordinator.cluster is None:
            return 0
        return len(self._coordinator.cluster.waiting)

    def _account(self, event: Event, commands: list[Command], took_ns: int) -> None:
        decided = sum(isinstance(one, DECISIONS) for one in commands)
        if isinstance(event, LeaseGained):
            self._figures.taking_over_ns.append(took_ns)
        elif decided:
            self._figures.decision_ns.append((took_ns / decided, decided))
        else:
            self._figures.other_ns += took_ns
        for command in commands:
            if isinstance(command, Persist):
                for node in command.nodes:
                    self._nodes[node.name] = node
                for stream in command.streams:
                    self._streams[stream.work.name] = stream
                for name in command.gone_nodes:
                    self._nodes.pop(name, None)
                for name in command.gone_streams:
                    self._streams.pop(name, None)
