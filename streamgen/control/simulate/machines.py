"""`Machines`: the simulated nodes, and what is running on them, whatever the coordinator thinks."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamgen.control.coordinator.events import NodeRegistered, NodeReport, Running
from streamgen.control.placement.resources import Resources, amounts
from streamgen.control.simulate.trace import Trace


@dataclass(slots=True)
class Machine:
    name: str
    capacity: Resources
    boot: int = 0
    up: bool = True
    cordoned: bool = False
    models: set[str] = field(default_factory=set)
    carries: dict[str, Running] = field(default_factory=dict)

    def over(self, head_room: float) -> bool:
        """It carries more than may be planned with."""
        needs = [amounts(one.work.profile.need(one.cut)) for one in self.carries.values()]
        return not Resources(*map(sum, zip(*needs, strict=True))).fits(
            self.capacity.under(head_room)
        )

    def registered(self) -> NodeRegistered:
        """As it offers itself."""
        return NodeRegistered(
            self.name,
            str(self.boot),
            self.capacity,
            tuple(sorted(self.models)),
            tuple(self.carries.values()),
        )

    def reported(self) -> NodeReport:
        """All that it carries."""
        models, running = tuple(sorted(self.models)), tuple(self.carries.values())
        return NodeReport(self.name, running, models, cordoned=self.cordoned)

    def stop(self) -> list[Running]:
        """It is down; what it carried is returned."""
        carried = list(self.carries.values())
        self.up = self.cordoned = False
        self.carries.clear()
        self.models.clear()
        return carried

    def start(self) -> None:
        self.up = True
        self.boot += 1


class Machines:
    """By name, in the order of the trace."""

    def __init__(self, trace: Trace) -> None:
        self.all = [
            Machine(f"{kind.name}-{number}", kind.capacity)
            for kind in trace.nodes
            for number in range(kind.count)
        ]
        self._by_name = {one.name: one for one in self.all}
        self._up: tuple[str, ...] | None = None

    def __getitem__(self, name: str) -> Machine:
        return self._by_name[name]

    def stop(self, machine: Machine) -> list[Running]:
        self._up = None
        return machine.stop()

    def start(self, machine: Machine) -> None:
        self._up = None
        machine.start()

    def over(self, head_room: float) -> int:
        """How many carry more than may be planned with, whatever was booked."""
        return sum(one.over(head_room) for one in self.all)

    def up(self) -> tuple[str, ...]:
        """Those that send heartbeats."""
        if self._up is None:
            self._up = tuple(one.name for one in self.all if one.up)
        return self._up
