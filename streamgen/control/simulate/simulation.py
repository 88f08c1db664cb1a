"""`simulate`: a trace on a virtual clock, the real coordinator in the middle.

Arrivals, deaths and delays are drawn from the trace's seed: the same trace gives the same figures,
but for what the coordinator cost. Heartbeats and commands arrive; what is lost on the way is left
to the tests of the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from streamgen.control.coordinator.commands import (
    Assign,
    Change,
    Command,
    Cordon,
    Drained,
    Move,
    Refuse,
    Revoke,
    Warm,
)
from streamgen.control.coordinator.events import (
    Drain,
    Event,
    Heard,
    Running,
    StreamAttached,
    StreamLost,
    StreamReleased,
    Tick,
)
from streamgen.control.simulate.agenda import Agenda
from streamgen.control.simulate.arrivals import Arrival, arrivals
from streamgen.control.simulate.edges import Edges
from streamgen.control.simulate.figures import Figures, Sample, late, lower_bound
from streamgen.control.simulate.leader import Leader
from streamgen.control.simulate.machines import Machine, Machines
from streamgen.control.simulate.trace import MS, Failures, Restart, Trace

TICK_MS = 500


def simulate(
    trace: Trace, cpu_ns: Callable[[], int], told: Callable[[float], None] = lambda share: None
) -> Figures:
    """Run it all. `cpu_ns` is the processor time of this thread; `told` hears how far it is."""
    simulation = Simulation(trace, cpu_ns)
    length_ms = trace.length // MS
    parts = 100
    for part in range(1, parts + 1):
        simulation.agenda.run(length_ms * part // parts)
        told(part / parts)
    return simulation.figures


class Simulation:
    """The nodes, the edges and the leader, and what passes between them."""

    def __init__(self, trace: Trace, cpu_ns: Callable[[], int]) -> None:
        self.agenda = Agenda()
        self.figures = Figures()
        self._trace = trace
        self._delays = trace.delays
        self._machines = Machines(trace)
        self._edges = Edges(self.figures)
        self._leader = Leader(trace.head_room, self.figures, cpu_ns)
        self._rng = np.random.default_rng((trace.seed, len(trace.streams)))
        self._restarting: set[str] = set()
        self._restarted: list[Callable[[], None]] = []
        self._plan()

    def _plan(self) -> None:
        """All that is known beforehand."""
        agenda, trace = self.agenda, self._trace
        agenda.at(0, self._leads)
        agenda.every(TICK_MS, partial(self._tell, Tick()))
        agenda.every(self._delays.heartbeat // MS, self._beat)
        agenda.every(trace.sample // MS, self._sample)
        self._come = iter(arrivals(trace))
        self._next_arrival()
        for at in trace.leaders.die_at:
            agenda.at(at // MS, self._leader.dies)
            agenda.at((at + trace.leaders.away) // MS, self._leads)
        for restart in trace.restarts:
            agenda.at(restart.at // MS, partial(self._restart, restart))
        if trace.failures is not None:
            for machine in self._machines.all:
                self._fails_some_day(machine, trace.failures)

    def _tell(self, *events: Event) -> None:
        """The leader hears, and what it commands is on its way."""
        self._send(self._leader.hear(events, self.agenda.now_ms))

    def _leads(self) -> None:
        """The next one has the lease; nodes and edges speak to it at once."""
        self._send(self._leader.begins(self.agenda.now_ms))
        self._tell(*(one.registered() for one in self._machines.all if one.up))
        self._tell(*(wish.wanted() for wish in self._edges.wishes.values()))

    def _beat(self) -> None:
        self._tell(Heard(self._machines.up()))

    def _next_arrival(self) -> None:
        arrival = next(self._come, None)
        if arrival is not None:
            self.agenda.at(arrival.at_ms, partial(self._arrives, arrival))

    def _arrives(self, arrival: Arrival) -> None:
        self._next_arrival()
        wish = self._edges.ask(arrival, self.agenda.now_ms)
        if arrival.standing.live:
            self.agenda.after(arrival.length_ms, partial(self._is_over, arrival.name))
        self._tell(wish.wanted())

    def _is_over(self, name: str) -> None:
        if self._edges.ends(name):
            self._tell(StreamReleased(name))

    def _send(self, commands: list[Command]) -> None:
        delay_ms = self._delays.command / MS
        for command in commands:
            match command:
                case Assign() | Move():
                    self.figures.moves += isinstance(command, Move)
                    self.agenda.after(delay_ms, partial(self._begin, command))
                case Revoke():
                    self.figures.preempted += command.reason.startswith("it makes way")
                    self.agenda.after(delay_ms, partial(self._stop, command))
                case Change():
                    self.agenda.after(delay_ms, partial(self._change, command))
                case Refuse():
                    if self._edges.ends(command.stream):
                        self.figures.refused += 1
                case Warm():
                    load = partial(self._warm, command)
                    self.agenda.after(delay_ms + self._delays.load / MS, load)
                case Cordon():
                    self.agenda.after(delay_ms, partial(self._cordon, command))
                case Drained():
                    if command.node in self._restarting:
                        self._goes_down(self._machines[command.node])

    def _begin(self, command: Assign | Move) -> None:
        """A node has been told to carry a stream."""
        machine, work = self._machines[command.node], command.work
        known = machine.carries.get(work.name)
        if not machine.up or (known is not None and known.epoch >= command.epoch):
            return
        machine.carries[work.name] = Running(work, command.epoch, command.cut)
        wait_ms = self._delays.attach / MS * (0.75 + 0.5 * self._rng.random())
        if not work.profile.models <= machine.models:
            wait_ms += self._delays.load / MS
        if isinstance(command, Move):
            wait_ms += self._delays.keyframe / MS * self._rng.random()
        self.agenda.after(wait_ms, partial(self._picture, command, machine.boot))

    def _picture(self, command: Assign | Move, boot: int) -> None:
        """The first picture of an owner is at the edge."""
        machine, name = self._machines[command.node], command.work.name
        known = machine.carries.get(name)
        if not machine.up or machine.boot != boot or known is None:
            return
        if known.epoch != command.epoch:
            return
        machine.models |= command.work.profile.models
        if self._edges.picture(name, command.epoch, self.agenda.now_ms):
            wish = self._edges.wishes[name]
            if not wish.work.standing.live:
                over = partial(self._batch_over, name, command.epoch)
                self.agenda.after(wish.length_ms, over)
            self._tell(StreamAttached(name, command.node, command.epoch))

    def _batch_over(self, name: str, epoch: int) -> None:
        """Batch work that was interrupted began anew, under another epoch."""
        wish = self._edges.wishes.get(name)
        if wish is not None and wish.epoch == epoch and wish.broken_ms is None:
            self._is_over(name)

    def _stop(self, command: Revoke) -> None:
        machine = self._machines[command.node]
        known = machine.carries.get(command.stream)
        if known is not None and known.epoch <= command.epoch:
            del machine.carries[command.stream]
            self._edges.breaks(command.stream, known.epoch, self.agenda.now_ms)

    def _change(self, command: Change) -> None:
        machine, name = self._machines[command.node], command.work.name
        known = machine.carries.get(name)
        if known is not None and known.epoch == command.epoch:
            machine.carries[name] = Running(command.work, command.epoch, command.cut)

    def _warm(self, command: Warm) -> None:
        machine = self._machines[command.node]
        if machine.up:
            machine.models |= set(command.models)

    def _cordon(self, command: Cordon) -> None:
        """It has no pieces of jobs to end, and says so."""
        machine = self._machines[command.node]
        if machine.up:
            machine.cordoned = command.wanted
            self._tell(machine.reported())

    def _fails_some_day(self, machine: Machine, failures: Failures) -> None:
        wait_ms = self._rng.exponential(failures.every / MS)
        self.agenda.after(wait_ms, partial(self._dies, machine, failures))

    def _dies(self, machine: Machine, failures: Failures) -> None:
        if machine.up:
            self.figures.node_failures += 1
            silent = self._rng.random() < failures.silent
            unseen_ms = self._delays.silence / MS if silent else 0.0
            self._goes_down(machine, failures.back_after / MS, unseen_ms)
        self._fails_some_day(machine, failures)

    def _goes_down(
        self, machine: Machine, back_ms: float | None = None, unseen_ms: float = 0.0
    ) -> None:
        """With all that it carried; its edges know after `unseen_ms`."""
        now_ms, told_ms = self.agenda.now_ms, unseen_ms + self._delays.command / MS
        for one in self._machines.stop(machine):
            if self._edges.breaks(one.work.name, one.epoch, now_ms):
                lost = StreamLost(one.work.name, one.epoch, "its node is silent", silent=True)
                self.agenda.after(told_ms, partial(self._tell, lost))
        after_ms = self._delays.restart / MS if back_ms is None else back_ms
        self.agenda.after(after_ms, partial(self._is_back, machine))

    def _is_back(self, machine: Machine) -> None:
        self._machines.start(machine)
        self._tell(machine.registered())
        if machine.name in self._restarting:
            self._restarting.discard(machine.name)
            self.figures.restarts += 1
            self._restarted.pop(0)()

    def _restart(self, restart: Restart) -> None:
        """So many nodes at once, the next ones as these are back."""
        names = iter([one.name for one in self._machines.all[: restart.nodes]])

        def one_more() -> None:
            name = next(names, None)
            if name is not None:
                self._restarting.add(name)
                self._restarted.append(one_more)
                self._tell(Drain(name))

        for _ in range(restart.at_once):
            one_more()

    def _sample(self) -> None:
        bins, trace, figures = self._leader.bins(), self._trace, self.figures
        if bins is None:
            return
        figures.over_commits += self._machines.over(trace.head_room)
        figures.samples.append(
            Sample(
                self.agenda.now_ms,
                len(self._machines.up()),
                int(np.count_nonzero(bins.items)),
                lower_bound(bins, trace.head_room),
                self._edges.running,
                self._leader.waiting(),
                figures.moves,
                figures.refused,
                late(bins, trace.head_room, trace.spread, self._rng),
            )
        )
