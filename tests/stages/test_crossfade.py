"""`crossfade`: from one picture over to another."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamgen.media.frame import Frame
from streamgen.protocols import StageContext
from streamgen.stages.crossfade import Crossfade, CrossfadeParams, amount_at
from tests.stages.pictures import flat, values


def test_both_ends_are_the_frame_itself(context: StageContext) -> None:
    a, b = flat(64, 48, 100), flat(64, 48, 200)
    stage = Crossfade(Crossfade.Params(), context)
    for amount, wanted in ((0.0, a), (1.0, b)):
        given = Crossfade.Params(amount=amount)
        assert stage.process({"picture": a, "other": b}, given)["picture"] is wanted


def test_a_parameter_that_changes_takes_hold_at_once(context: StageContext) -> None:
    a, b = flat(64, 48, 100), flat(64, 48, 200)
    stage = Crossfade(Crossfade.Params(), context)
    for amount, wanted in ((0.25, 125), (0.5, 150), (0.75, 175)):
        result = stage.process({"picture": a, "other": b}, Crossfade.Params(amount=amount))
        assert isinstance(result["picture"], Frame)
        assert int(values(result["picture"])[0].mean()) == wanted


def test_a_timed_fade_follows_the_time_of_the_pictures() -> None:
    params = CrossfadeParams(start="2s", over="4s")
    amounts = [amount_at(flat(2, 2, 0, pts=25 * second), params) for second in range(8)]
    assert amounts == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_a_smooth_fade_begins_and_ends_gently() -> None:
    straight, smooth = (CrossfadeParams(over="1s", curve=curve) for curve in ("linear", "smooth"))
    at = [flat(2, 2, 0, pts=pts) for pts in range(26)]
    gentle = [amount_at(frame, smooth) for frame in at]
    assert gentle == sorted(gentle)
    assert gentle[1] < amount_at(at[1], straight) / 2
    assert (gentle[0], gentle[25]) == (0, 1)


def test_who_fades_is_said_once() -> None:
    with pytest.raises(ValidationError, match="you or the clock"):
        CrossfadeParams(amount=0.5, over="1s")
    with pytest.raises(ValidationError, match="needs its length"):
        CrossfadeParams(start="1s")
