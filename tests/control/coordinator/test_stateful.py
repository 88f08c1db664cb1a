"""Anything in any order: nodes that die, are cut off and come back, streams that come and go,
leaders that change. What must hold holds after every step, and all is well in the end."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    Drain,
    KnownStream,
    StreamEnds,
    StreamLost,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.placement.resources import Resources, Standing
from streamgen.control.placement.scheduler import HEAD_ROOM, Force, Full
from tests.control.coordinator.world import NODE, PROFILES, SECRET, World, work

NODES = st.sampled_from([f"node-{number}" for number in range(4)])
STREAMS = st.sampled_from([f"stream-{number}" for number in range(8)])
PATIENCE = st.sampled_from([0, 2_000, 60_000, None])


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @property
    def cluster(self) -> Cluster:
        cluster = self.world.coordinator.cluster
        assert cluster is not None
        return cluster

    @initialize()
    def some_nodes(self) -> None:
        for name in ("node-0", "node-1"):
            self.world.register(name)

    @rule(
        name=STREAMS,
        kind=st.sampled_from(PROFILES),
        standing=st.sampled_from(Standing),
        patience=PATIENCE,
    )
    def want(self, name: str, kind: object, standing: Standing, patience: int | None) -> None:
        if name not in self.world.wanted:
            self.world.want(name, kind, standing, patience_ms=patience)

    @rule(name=STREAMS, kind=st.sampled_from(PROFILES), standing=st.sampled_from(Standing))
    def change(self, name: str, kind: object, standing: Standing) -> None:
        wish = self.world.wanted.get(name)
        if wish is not None:
            other = StreamWanted(work(name, kind, standing), wish.until_ms)  # type: ignore[arg-type]
            self.world.wanted[name] = other
            self.world.say(other)

    @rule(name=STREAMS)
    def release(self, name: str) -> None:
        if self.world.wanted.pop(name, None) is not None:
            self.world.fence.pop(name, None)
            self.world.say(StreamReleased(name))

    @rule(name=STREAMS, in_ms=st.none() | st.integers(0, 9_000))
    def ends(self, name: str, in_ms: int | None) -> None:
        self.world.say(StreamEnds(name, None if in_ms is None else self.world.now_ms + in_ms))

    @rule(name=STREAMS, silent=st.booleans(), back=st.integers(0, 1))
    def lose(self, name: str, silent: bool, back: int) -> None:
        stream = self.cluster.streams.get(name)
        owners = [] if stream is None else [one for one in (stream.here, stream.coming) if one]
        if owners:
            self.world.say(StreamLost(name, owners[-1 - back % len(owners)].epoch, "lost", silent))

    @rule(name=NODES)
    def deliver(self, name: str) -> None:
        if name in self.world.machines:
            self.world.deliver(name)

    @rule(name=NODES)
    def report(self, name: str) -> None:
        if name in self.world.machines:
            self.world.report(name)

    @rule(name=NODES, told=st.booleans())
    def kill(self, name: str, told: bool) -> None:
        machine = self.world.machines.get(name)
        if machine is not None and machine.up:
            machine.up = False
            machine.carries.clear()
            if told:
                self.world.say(WorkerLost(name))

    @rule(name=NODES)
    def come_back(self, name: str) -> None:
        if name not in self.world.machines:
            self.world.register(name)
        elif not self.world.machines[name].up:
            self.world.restart(name)

    @rule(name=NODES, off=st.booleans())
    def cut(self, name: str, off: bool) -> None:
        if name in self.world.machines:
            self.world.machines[name].cut_off = off

    @rule(name=NODES, wanted=st.booleans())
    def drain(self, name: str, wanted: bool) -> None:
        self.world.say(Drain(name, wanted))

    @rule(ms=st.sampled_from([200, 1_000, 4_000, 12_000]))
    def wait(self, ms: int) -> None:
        self.world.pass_time(ms)

    @rule()
    def another_leader(self) -> None:
        self.world.lead()

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        """Added up by owners, whatever the scheduler has booked."""
        promised: dict[str, Resources] = {}
        for stream in self.cluster.streams.values():
            for one in (stream.here, stream.coming):
                if one is not None:
                    need = (one.was or stream.work).profile.need(one.cut)
                    promised[one.node] = promised.get(one.node, Resources()) + need
        for name, taken in promised.items():
            assert taken.fits(NODE.under(HEAD_ROOM)), name

    @invariant()
    def all_that_is_wanted_has_an_owner_or_waits(self) -> None:
        cluster = self.cluster
        for name in self.world.wanted:
            stream = cluster.streams[name]
            waits = name in cluster.waiting or (About.RETRY, name) in cluster.alarms
            assert stream.here is not None or waits
            assert stream.coming is None or stream.here is not None

    @invariant()
    def owners_are_booked_where_they_are_and_nowhere_else(self) -> None:
        cluster = self.cluster
        booked = {
            (node.name, name)
            for node in cluster.nodes
            for name in cluster.scheduler.names(node.name)
        }
        owned = {
            (one.node, name)
            for name, stream in cluster.streams.items()
            for one in (stream.here, stream.coming)
            if one is not None
        }
        assert booked == owned

    @invariant()
    def nobody_waits_beside_room(self) -> None:
        cluster = self.cluster
        if not cluster.settled:
            return
        for name in cluster.waiting:
            stream = cluster.streams[name]
            if stream.here is None:
                answer = cluster.scheduler.place(stream.work, force=Force.NOBODY, away=stream.avoid)
                assert isinstance(answer, Full), f"{name} has room on {answer.node}"
            if stream.here is None and stream.fenced:
                for node in cluster.nodes:
                    tried = not node.on_trial or node.name == stream.avoid
                    assert tried or not cluster.scheduler.room(stream.work, node.name), name

    @invariant()
    def the_store_knows(self) -> None:
        known = {
            name: KnownStream(
                stream.work,
                stream.here.held() if stream.here is not None else None,
                stream.coming.held() if stream.coming is not None else None,
            )
            for name, stream in self.cluster.streams.items()
        }
        assert self.world.streams == known
        assert set(self.world.rows) == {node.name for node in self.cluster.nodes}

    def teardown(self) -> None:
        """Everything heals: each wanted stream is carried by one node, its owner."""
        world = self.world
        for name, machine in world.machines.items():
            machine.cut_off = False
            if not machine.up:
                world.restart(name)
            world.say(Drain(name, wanted=False))
        world.settle(rounds=60)
        carried: dict[str, list[tuple[str, int]]] = {}
        for name, machine in world.machines.items():
            for one in machine.carries.values():
                carried.setdefault(one.work.name, []).append((name, one.epoch))
        for name, stream in self.cluster.streams.items():
            here = [] if stream.here is None else [(stream.here.node, stream.here.epoch)]
            assert carried.pop(name, []) == here, name
            assert stream.coming is None
        assert not carried, "nobody owns these any more"
        assert set(self.cluster.streams) == set(world.wanted)
        self._again()

    def _again(self) -> None:
        """The same events at the same times, the same commands."""
        for leader in self.world.log:
            other = Coordinator(SECRET)
            for event, now_ms, commands in leader:
                assert other.handle(event, now_ms) == commands


Anything.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=False
)
TestAnything = pytest.mark.timeout(300)(Anything.TestCase)
