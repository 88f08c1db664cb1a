"""A ladder fits the picture, whatever the picture."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamgen.config import check
from streamgen.encode.ladder import Encoding, Rung, encoder_threads, plan_rungs
from streamgen.errors import ConfigError

LADDER = [
    Rung(height=720, bitrate=2_500_000),
    Rung(height=480, bitrate=1_200_000),
    Rung(height=240, bitrate=400_000),
]


def sizes(width: int, height: int, *, sar: Fraction = Fraction(1)) -> list[tuple[int, int]]:
    return [(r.width, r.height) for r in plan_rungs(LADDER, width, height, sar=sar).rungs]


def test_widths_follow_the_aspect_ratio_and_are_even() -> None:
    assert sizes(1920, 1080) == [(1280, 720), (854, 480), (426, 240)]
    assert sizes(1280, 720) == [(1280, 720), (854, 480), (426, 240)]
    assert sizes(640, 480) == [(640, 480), (320, 240)]


def test_height_means_the_short_side_of_a_portrait_picture() -> None:
    assert sizes(1080, 1920) == [(720, 1280), (480, 854), (240, 426)]


def test_the_short_side_is_the_one_that_is_short_on_the_display() -> None:
    # Stored 480x576, shown 768x576.
    assert sizes(480, 576, sar=Fraction(8, 5)) == [(400, 480), (200, 240)]


@pytest.mark.parametrize("bitrate", [999, 500_000_001, 10**30])
def test_a_bitrate_that_no_encoder_takes_is_refused(bitrate: int) -> None:
    with pytest.raises(ConfigError, match="bitrate"):
        check(Rung, {"height": "source", "bitrate": bitrate})


def test_a_rung_above_the_picture_is_left_out_and_said_so() -> None:
    plan = plan_rungs(LADDER, 854, 480)
    assert [rung.name for rung in plan.rungs] == ["480p", "240p"]
    assert len(plan.notes) == 1 and "720p" in plan.notes[0]


def test_a_picture_below_every_rung_gets_the_lowest_at_its_own_size() -> None:
    plan = plan_rungs(LADDER, 160, 120)
    assert [(r.name, r.width, r.height) for r in plan.rungs] == [("120p", 160, 120)]
    assert plan.rungs[0].bitrate_bps == 400_000
    assert any("160x120" in note for note in plan.notes)


def test_odd_sides_are_padded_and_said_so() -> None:
    plan = plan_rungs([Rung(height="source", bitrate=100_000)], 17, 31)
    assert [(r.name, r.width, r.height) for r in plan.rungs] == [("source", 18, 32)]
    assert any("17x31" in note and "18x32" in note for note in plan.notes)


def test_a_source_rung_and_a_rung_of_its_size_are_one() -> None:
    ladder = [Rung(height="source", bitrate=5_000_000), *LADDER]
    plan = plan_rungs(ladder, 1280, 720)
    assert [rung.name for rung in plan.rungs] == ["source", "480p", "240p"]
    assert any("720p" in note for note in plan.notes)


def test_rungs_come_largest_first_however_they_are_written() -> None:
    plan = plan_rungs(LADDER[::-1], 1920, 1080)
    assert [rung.name for rung in plan.rungs] == ["720p", "480p", "240p"]


@pytest.mark.parametrize(
    "ladder",
    [
        [],
        [LADDER[0], LADDER[0]],
        [Rung(height="source", bitrate=1_000_000), Rung(height="source", bitrate=2_000_000)],
        [Rung(height=480, bitrate=1_000_000), Rung(height=720, bitrate=900_000)],
    ],
)
def test_an_impossible_ladder_is_refused(ladder: list[Rung]) -> None:
    with pytest.raises(ConfigError, match="impossible ladder"):
        plan_rungs(ladder, 1280, 720)


@pytest.mark.parametrize(
    "written",
    [
        {"height": 721, "bitrate": "1M"},
        {"height": 0, "bitrate": "1M"},
        {"height": "720p", "bitrate": "1M"},
        {"height": 720, "bitrate": 0},
        {"height": 720, "bitrate": "fast"},
        {"height": 720},
        {"height": 720, "bitrate": "1M", "codec": "h264"},
        {"height": 720, "bitrate": "1M", "preset": "quick"},
        {"height": 720, "bitrate": "1M", "width": 1280},
    ],
)
def test_a_rung_that_means_nothing_is_refused(written: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        check(Rung, written)


def test_an_unknown_tune_is_refused() -> None:
    with pytest.raises(ValidationError):
        Encoding.model_validate({"tune": "fast"})


heights = st.lists(
    st.one_of(st.just("source"), st.integers(1, 1200).map(lambda n: 2 * n)),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(deadline=None)
@given(
    heights,
    st.integers(1, 8192),
    st.integers(1, 8192),
    st.sampled_from([Fraction(1), Fraction(16, 15), Fraction(64, 45), Fraction(8, 9)]),
)
def test_no_ladder_upscales_or_distorts(
    written: list[int | str], width: int, height: int, sar: Fraction
) -> None:
    rungs = [Rung(height=h, bitrate=1_000_000) for h in written]  # type: ignore[arg-type]
    plan = plan_rungs(rungs, width, height, sar=sar)
    assert plan.rungs
    assert len(plan.rungs) <= len(rungs)
    assert len({rung.name for rung in plan.rungs}) == len(plan.rungs)
    areas = [rung.width * rung.height for rung in plan.rungs]
    assert areas == sorted(set(areas), reverse=True)
    for rung in plan.rungs:
        assert rung.width % 2 == 0 and rung.height % 2 == 0
        assert 2 <= rung.width <= width + 1 and 2 <= rung.height <= height + 1
        # Of the right shape, to the pixel that even sides allow.
        assert abs(rung.width * height - rung.height * width) <= 2 * (width + height)


def test_encoders_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgen.encode.ladder.cores", lambda: 8)
    assert encoder_threads(0, 1) == 8
    assert encoder_threads(0, 3) == 2
    assert encoder_threads(0, 12) == 1
    assert encoder_threads(3, 12) == 3
