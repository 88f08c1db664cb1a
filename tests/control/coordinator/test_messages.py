"""Messages survive the wire, and what is none does no harm."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.coordinator.messages import (
    KINDS,
    LONGEST_NAME,
    MOST,
    Letter,
    Message,
    opened,
    sealed,
)
from streamgen.control.placement.resources import Profile, Resources, Standing, Subject
from streamgen.control.placement.scheduler import Work
from streamgen.media.envelope import LinkError

NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=LONGEST_NAME
)
MOMENTS = st.integers(-(1 << 40), 1 << 40)
AMOUNTS = st.integers(0, 10**9)
RESOURCES = st.builds(Resources, *[AMOUNTS] * 6)
PROFILES = st.builds(
    lambda name, most, *rest: Profile(name, (most, Resources(most.cpu_ms // 2)), *rest),
    NAMES,
    RESOURCES,
    st.frozensets(NAMES, max_size=3),
    st.none() | st.builds(Subject, NAMES, AMOUNTS, AMOUNTS, AMOUNTS),
)
WORKS = st.builds(
    Work, NAMES, PROFILES, st.sampled_from(Standing), st.none() | st.integers(0, 1 << 40)
)
st.register_type_strategy(str, NAMES)
st.register_type_strategy(int, st.integers(0, 1 << 62))
st.register_type_strategy(Resources, RESOURCES)
st.register_type_strategy(Profile, PROFILES)
st.register_type_strategy(Work, WORKS)


def any_message() -> st.SearchStrategy[Any]:
    moments = dict.fromkeys(("until_ms", "earliest_ms", "ends_ms"), st.none() | MOMENTS)
    return st.one_of(
        *(
            st.builds(kind, **{k: v for k, v in moments.items() if k in kind.__annotations__})
            for kind in get_args(Message)
        )
    )


@settings(deadline=None)
@given(any_message(), MOMENTS, st.integers(0, MOST - 1))
def test_every_message_comes_out_as_it_went_in(message: Any, now_ms: int, leader: int) -> None:
    assert opened(sealed(message, now_ms, leader), now_ms) == Letter(message, leader)


@given(MOMENTS, MOMENTS)
def test_a_moment_is_as_far_away_for_who_hears_of_it(here_ms: int, there_ms: int) -> None:
    work = Work("live", Profile("p", (Resources(1),)), Standing.LIVE_FREE)
    wanted = KINDS["StreamWanted"](work, here_ms + 700)
    told: Any = opened(sealed(wanted, here_ms), there_ms).message
    assert told.until_ms == there_ms + 700


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def refused(frames: list[bytes]) -> None:
    """Understood or refused; and nothing else."""
    try:
        opened(frames, 0)
    except LinkError:
        return


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=3))
def test_bytes_that_are_no_message_are_refused(frames: list[bytes]) -> None:
    refused(frames)


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), JSON, JSON)
def test_json_that_is_no_message_is_refused(kind: str, leader: Any, body: Any) -> None:
    refused([json.dumps({"type": kind, "leader": leader}).encode(), json.dumps(body).encode()])
    refused([json.dumps({"type": kind, "leader": 0}).encode(), json.dumps(body).encode()])


@settings(deadline=None)
@given(any_message(), st.data())
def test_a_message_with_one_wrong_value_is_refused(message: Any, data: st.DataObject) -> None:
    head, body = sealed(message, 0)
    fields = json.loads(body)
    if fields:
        fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
        refused([head, json.dumps(fields).encode()])


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x" * (LONGEST_NAME + 1)},
        {"name": ""},
        {"name": "two\nlines"},
        {"standing": 9},
        {"standing": "LIVE_FREE"},
        {"runs_ms": "1"},
        {"runs_ms": 1.5},
        {"runs_ms": MOST},
        {"profile": {"name": "p", "needs": []}},
        {"profile": {"name": "p", "needs": [{"cpu_ms": -1}]}},
        {"profile": {"name": "p", "needs": [{"cpu_ms": 10**13}]}},
    ],
)
def test_what_a_leader_could_not_keep_is_refused(wrong: dict[str, Any]) -> None:
    work = {"name": "s", "profile": {"name": "p", "needs": [{"cpu_ms": 1}]}, "standing": 1}
    head = b'{"type":"StreamChanged","leader":0}'
    opened([head, json.dumps({"work": work}).encode()], 0)
    with pytest.raises(LinkError):
        opened([head, json.dumps({"work": work | wrong}).encode()], 0)
