"""`Knobs`: a change is checked at once, holds from a stated frame on, and ramps by stream time."""

from __future__ import annotations

import threading
import timeit
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from streamgen.config import DurationNs, Settings
from streamgen.errors import ConfigError
from streamgen.graph.params import Knobs

MS = 1_000_000
TB = Fraction(1, 90_000)
FRAME = 3_000
"""One frame at 30 fps in `TB`."""


class Paint(Settings):
    model: str = "starry"
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    grow: int = Field(default=0, ge=0, le=100)
    hold: DurationNs = 200 * MS
    soft: bool = False
    mode: Literal["fast", "fine"] = "fast"


class Window(Settings):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _order(self) -> Window:
        if self.low >= self.high:
            raise ValueError("low is below high")
        return self


FIXED = {"painted": frozenset({"model"})}


def knobs(rebuild: Any = None) -> Knobs:
    return Knobs({"painted": Paint(), "window": Window()}, FIXED, rebuild)


def strength(values: tuple[BaseModel, ...]) -> float:
    return values[0].strength  # type: ignore[attr-defined, no-any-return]


def test_nothing_changes_and_the_very_same_object_comes_back() -> None:
    one = knobs()
    first = one.at(0, TB)
    assert all(one.at(n * FRAME, TB) is first for n in range(5))
    assert one.version == 0
    assert one.swaps() == ()


def test_a_change_tells_the_first_frame_it_holds_for() -> None:
    one = knobs()
    before = one.at(0, TB)
    change = one.change("painted", {"strength": 0.5, "mode": "fine"})
    assert (change.pts, change.version, change.wait(0.001)) == (None, 1, None)
    after = one.at(FRAME, TB)
    assert after[0] == Paint(strength=0.5, mode="fine")
    assert after[1] is before[1]
    assert (change.wait(0), change.pts, change.time_base) == (FRAME, FRAME, TB)
    assert one.at(2 * FRAME, TB) is after


def test_the_newest_target_is_seen_before_a_frame_flows() -> None:
    one = knobs()
    one.change("painted", {"strength": 0.5}, over_ns=1000 * MS)
    assert one.values() == {"painted": Paint(strength=0.5), "window": Window()}
    assert strength(one.at(0, TB)) == 1.0


def test_a_ramp_is_straight_in_stream_time_and_ends_on_its_target() -> None:
    one = knobs()
    one.change("painted", {"strength": 0.1, "grow": 10, "soft": True}, over_ns=100 * MS)
    seen = [one.at(pts, TB)[0] for pts in (0, FRAME, 4500, 3 * FRAME, 4 * FRAME)]
    assert [p.strength for p in seen] == pytest.approx([1.0, 0.7, 0.55, 0.1, 0.1])  # type: ignore[attr-defined]
    assert [p.grow for p in seen] == [0, 3, 5, 10, 10]  # type: ignore[attr-defined]
    assert all(p.soft for p in seen)  # type: ignore[attr-defined]
    assert seen[3] == Paint(strength=0.1, grow=10, soft=True)
    assert seen[4] is seen[3]


def test_a_newer_ramp_starts_from_where_the_older_one_is() -> None:
    one = knobs()
    one.change("painted", {"strength": 0.0, "grow": 100}, over_ns=100 * MS)
    one.at(0, TB)
    assert strength(one.at(4500, TB)) == pytest.approx(0.5)
    one.change("painted", {"strength": 1.0}, over_ns=100 * MS)
    seen = [one.at(pts, TB)[0] for pts in (4500, 9000, 13500)]
    assert [p.strength for p in seen] == pytest.approx([0.5, 0.75, 1.0])  # type: ignore[attr-defined]
    assert [p.grow for p in seen] == [50, 100, 100]  # type: ignore[attr-defined]


def test_a_change_without_a_ramp_ends_the_ramp_of_that_parameter_only() -> None:
    one = knobs()
    one.change("painted", {"strength": 0.0, "grow": 100}, over_ns=100 * MS)
    one.at(0, TB)
    one.change("painted", {"strength": 0.25})
    assert one.at(4500, TB)[0] == Paint(strength=0.25, grow=50)


@pytest.mark.parametrize("jump", [(-90_000, 0), (4500, 1)])
def test_a_ramp_ends_at_once_where_time_breaks_off(jump: tuple[int, int]) -> None:
    one = knobs()
    one.change("painted", {"strength": 0.0}, over_ns=100 * MS)
    one.at(0, TB)
    one.at(FRAME, TB)
    pts, epoch = jump
    assert strength(one.at(pts, TB, epoch)) == 0.0


def test_a_change_made_at_a_break_ramps_from_the_break_on() -> None:
    one = knobs()
    one.at(900_000, TB)
    one.change("painted", {"strength": 0.0}, over_ns=100 * MS)
    assert [strength(one.at(pts, TB, 1)) for pts in (0, 4500, 9000)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("node", "values", "said"),
    [
        ("nobody", {"strength": 1}, r"unknown node 'nobody' \(there are: painted, window\)"),
        ("painted", {"strenght": 1}, "painted: unknown parameter 'strenght' .there are: model, "),
        ("painted", {"strength": 1.5}, r"painted\.strength: .*less than or equal to 1"),
        ("painted", {"strength": "much"}, r"painted\.strength: "),
        ("painted", {"hold": 3}, r"painted\.hold: not a duration"),
        ("painted", {"model": "wave"}, r"painted\.model cannot change while the stream runs"),
        ("window", {"low": 2.0}, "window: low is below high"),
    ],
)
def test_a_wrong_change_is_refused_by_name_and_changes_nothing(
    node: str, values: Mapping[str, Any], said: str
) -> None:
    one = knobs()
    before = one.at(0, TB)
    with pytest.raises(ConfigError, match=said):
        one.change(node, values)
    assert one.at(FRAME, TB) is before
    assert one.version == 0


def test_durations_keep_their_value_and_are_set_with_their_unit() -> None:
    one = knobs()
    one.change("painted", {"strength": 0.5})
    one.change("painted", {"hold": "1s"})
    now = one.at(0, TB)[0]
    assert isinstance(now, Paint)
    assert (now.strength, now.hold, type(now.hold)) == (0.5, 1000 * MS, int)


def test_two_parameters_may_change_together_where_neither_could_alone() -> None:
    one = knobs()
    one.change("window", {"low": 2.0, "high": 3.0})
    assert one.at(0, TB)[1] == Window(low=2.0, high=3.0)


def test_a_fixed_parameter_brings_a_new_stage_in_at_its_frame() -> None:
    built: list[BaseModel] = []
    caller: list[int] = []

    def rebuild(node: str, params: BaseModel) -> str:
        built.append(params)
        caller.append(threading.get_ident())
        return f"new {node}"

    one = knobs(rebuild)
    one.at(0, TB)
    change = one.change("painted", {"model": "wave", "strength": 0.5})
    assert built == [Paint(model="wave", strength=0.5)]
    assert caller == [threading.get_ident()]
    assert one.swaps() == ()
    assert one.at(FRAME, TB)[0] == built[0]
    assert one.swaps() == [("painted", "new painted")]
    assert one.swaps() == ()
    assert change.pts == FRAME


def test_naming_a_fixed_parameter_with_its_present_value_builds_nothing() -> None:
    one = knobs()
    one.change("painted", {"model": "starry", "strength": 0.5})
    assert one.at(0, TB)[0] == Paint(strength=0.5)
    assert one.swaps() == ()


def test_a_stage_that_cannot_be_built_leaves_everything_as_it_was() -> None:
    def rebuild(node: str, params: BaseModel) -> str:
        raise ConfigError("unknown model 'wave'")

    one = knobs(rebuild)
    with pytest.raises(ConfigError, match="unknown model"):
        one.change("painted", {"model": "wave"})
    assert one.values()["painted"] == Paint()


def test_other_changes_take_hold_while_a_stage_is_being_built() -> None:
    building, go_on = threading.Event(), threading.Event()

    def rebuild(node: str, params: BaseModel) -> str:
        building.set()
        assert go_on.wait(10)
        return "new"

    one = knobs(rebuild)
    thread = threading.Thread(target=one.change, args=("painted", {"model": "wave"}))
    thread.start()
    assert building.wait(10)
    one.change("painted", {"strength": 0.5})
    assert one.at(0, TB)[0] == Paint(strength=0.5)
    go_on.set()
    thread.join()
    assert one.at(FRAME, TB)[0] == Paint(strength=0.5, model="wave")


def test_the_end_wakes_who_waits_and_gives_back_stages_without_a_place() -> None:
    one = knobs(lambda node, params: "new")
    change = one.change("painted", {"model": "wave"})
    waiting: list[int | None] = []
    thread = threading.Thread(target=lambda: waiting.append(change.wait(10)))
    thread.start()
    assert one.close() == [("painted", "new")]
    thread.join(5)
    assert waiting == [None]
    with pytest.raises(ConfigError, match="ended"):
        one.change("painted", {"strength": 0.5})


def test_the_schema_says_what_is_live() -> None:
    schema = knobs().schema()
    fields = schema["painted"]["properties"]
    assert fields["model"]["x-live"] is False
    assert fields["strength"]["x-live"] is True
    assert fields["strength"]["maximum"] == 1.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["frame", "strength", "grow", "back"]),
            st.floats(0, 1),
            st.integers(0, 300),
        ),
        max_size=40,
    )
)
def test_whatever_is_turned_values_stay_valid_and_end_on_the_newest_target(
    steps: list[tuple[str, float, int]],
) -> None:
    one = knobs()
    pts, changes = 0, []
    for what, value, over_ms in steps:
        if what == "strength":
            changes.append(one.change("painted", {what: value}, over_ns=over_ms * MS))
        elif what == "grow":
            changes.append(one.change("painted", {what: round(100 * value)}, over_ns=over_ms * MS))
        else:
            pts += FRAME if what == "frame" else -10 * FRAME
            now = one.at(pts, TB)[0]
            assert Paint(**now.model_dump(exclude={"hold"})) == now
    for _ in range(11):
        pts += FRAME
        last = one.at(pts, TB)
    assert dict(zip(("painted", "window"), last, strict=True)) == one.values()
    assert one.at(pts + FRAME, TB) is last
    assert [change.version for change in changes] == list(range(1, len(changes) + 1))
    assert all(change.pts is not None for change in changes)


def test_an_idle_call_costs_about_a_microsecond() -> None:
    one = knobs()
    best_s = min(timeit.repeat(lambda: one.at(0, TB), number=1000, repeat=5)) / 1000
    assert best_s < 20e-6  # far above what it takes, far below what a model's copy would
