"""Nothing that a peer can say brings a leader down, whatever comes before it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.coordinator.directory import EdgeLeft, EdgeRegistered
from streamgen.control.coordinator.events import (
    Drain,
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
from streamgen.control.coordinator.messages import MOST_RESOURCE, opened, sealed
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from tests.control.coordinator.test_desk import Told

NODES, EDGES, STREAMS = ("n1", "n2"), ("e1", "e2"), ("s1", "s2", "s3")
AMOUNTS = st.sampled_from((0, 1, 500, 3_000, MOST_RESOURCE))
LARGE = st.builds(Resources, cpu_ms=AMOUNTS, memory_mb=AMOUNTS)
NEEDS = LARGE.map(lambda most: (most, Resources(most.cpu_ms // 2), Resources()))
PROFILES = st.builds(
    lambda needs, number, models: Profile("p", needs[:number], models),
    NEEDS,
    st.integers(1, 3),
    st.frozensets(st.sampled_from(("m1", "m2"))),
)
EPOCHS = st.sampled_from((0, 1, 1 << 32 | 1, 3 << 32 | 1, 3 << 32 | 2, 3 << 32 | 3, 3 << 32 | 9))
TIMES = st.none() | st.sampled_from((-(1 << 62), -1, 0, 5_000, 1 << 61))
WORKS = st.builds(Work, st.sampled_from(STREAMS), PROFILES, st.sampled_from(Standing), TIMES)
RUNNING = st.lists(st.builds(Running, WORKS, EPOCHS, st.sampled_from(Cut)), max_size=4).map(tuple)
NODE, EDGE, STREAM = map(st.sampled_from, (NODES, EDGES, STREAMS))
BY_NODES = st.one_of(
    st.builds(NodeRegistered, NODE, st.sampled_from(("b1", "b2")), LARGE, running=RUNNING),
    st.builds(NodeReport, NODE, RUNNING),
    st.builds(Drain, NODE, st.booleans()),
    st.builds(NodeLeft, NODE),
    st.builds(WorkerLost, NODE),
).map(lambda event: ("worker", event.node, event))
LOST = st.builds(StreamLost, STREAM, EPOCHS, st.just("why"), st.booleans())
BY_EDGES = st.tuples(
    st.just("edge"),
    EDGE,
    st.one_of(
        st.builds(EdgeRegistered, EDGE, st.just("/run/edge")),
        st.builds(EdgeLeft, EDGE),
        st.builds(StreamWanted, WORKS, TIMES, EPOCHS),
        st.builds(StreamChanged, WORKS),
        st.builds(StreamReleased, STREAM),
        st.builds(StreamEnds, STREAM, TIMES),
        st.builds(StreamAttached, STREAM, NODE, EPOCHS),
        LOST,
    ),
)
SAID = st.one_of(BY_NODES, BY_EDGES, st.tuples(st.just("worker"), NODE, LOST))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(SAID, st.integers(1, 60).map(lambda n: n * 500)), max_size=25))
def test_whatever_is_said_a_leader_goes_on(said: list[Any]) -> None:
    told = Told()
    for one in said:
        if isinstance(one, int):
            told.later(one, {"e1": 0})
            continue
        kind, name, message = one
        # As it comes over the wire: what is refused there need not be understood here.
        came = opened(sealed(message, told.now_ms, 3), told.now_ms)
        told.hear(kind, name, came.message)  # type: ignore[arg-type]
    told.later(1_000, {"e1": 0})
