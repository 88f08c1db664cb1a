"""The timeline mends what containers and networks do to timestamps, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.media.packet import Packet
from streamgen.media.timeline import Presentation, Timeline
from streamgen.telemetry import Telemetry
from streamgen.testing import picture

TS = Fraction(1, 90_000)
MS = Fraction(1, 1000)
AUDIO = Fraction(1, 48_000)


def packet(
    track: str,
    pts: int | None,
    dts: int | None = -1,
    *,
    duration: int = 0,
    time_base: Fraction = TS,
    discard: bool = False,
) -> Packet:
    return Packet(b"", pts, pts if dts == -1 else dts, duration, time_base, True, track, 0, discard)


def mended(
    packets: Sequence[Packet], *, start: Fraction | None = None, rate: int | None = None
) -> tuple[list[Packet], dict[str, int]]:
    telemetry = Telemetry()
    rates = None if rate is None else {"video/0": Fraction(rate)}
    timeline = Timeline(telemetry, start=start, rates=rates)
    return [timeline.mend(one) for one in packets], telemetry.counts("corrected")


def video(count: int, *, at: int = 0, step: int = 3600) -> list[Packet]:
    """Plain video at 25 Hz on a 90 kHz clock."""
    return [packet("video/0", at + n * step, duration=step) for n in range(count)]


def audio(count: int, *, at: int = 0) -> list[Packet]:
    return [packet("audio/0", at + n * 1024, duration=1024, time_base=AUDIO) for n in range(count)]


def interleaved(*tracks: Sequence[Packet]) -> list[Packet]:
    """Packets of several tracks by decoding time, as a good muxer stores them."""
    everything = [one for track in tracks for one in track]
    return sorted(everything, key=lambda p: (p.dts or 0) * p.time_base)


def pyramid(groups: int, *, at: int = 0, step: int = 3600) -> list[Packet]:
    """I P B B ...: the coded order of two B-frames between references."""
    shown = [0] + [n for g in range(groups) for n in (3 * g + 3, 3 * g + 1, 3 * g + 2)]
    return [
        packet("video/0", at + (pts + 2) * step, at + n * step, duration=step)
        for n, pts in enumerate(shown)
    ]


def of(track: str, packets: Sequence[Packet]) -> list[Packet]:
    return [one for one in packets if one.track == track]


def test_clean_input_only_moves_to_zero() -> None:
    source = interleaved(video(50, at=126_000), audio(90, at=67_200))
    out, corrected = mended(source)
    assert corrected == {}
    for before, after in zip(source, out, strict=True):
        assert after.pts == before.pts - Fraction(7, 5) / before.time_base
        assert (after.epoch, after.time_base) == (0, before.time_base)


def test_b_frames_keep_their_order_and_their_delay() -> None:
    source = pyramid(8)
    out, corrected = mended(source)
    assert corrected == {}
    assert [p.pts for p in out] == [p.pts - 7200 for p in source]
    assert [p.dts for p in out] == [p.dts - 7200 for p in source]


def test_variable_frame_rates_are_not_touched() -> None:
    times = [0, 33, 34, 500, 2500, 2540, 9000, 9001]
    out, corrected = mended([packet("video/0", t, time_base=MS) for t in times])
    assert [p.pts for p in out] == times
    assert corrected == {}


def test_audio_priming_before_zero_stays_before_zero() -> None:
    source = interleaved(audio(50, at=-1024), video(25))
    out, corrected = mended(source)
    assert of("audio/0", out)[0].pts == -1024
    assert of("video/0", out)[0].pts == 0
    assert corrected == {}


def test_a_start_far_below_zero_becomes_zero_for_all_tracks() -> None:
    source = interleaved(video(25, at=-450_000), audio(40, at=-240_000))
    out, corrected = mended(source)
    assert of("video/0", out)[0].pts == 0
    assert of("audio/0", out)[0].pts == 0
    assert corrected == {"negative_start": 1}


def test_a_start_behind_the_first_picture_is_not_believed() -> None:
    out, _ = mended(video(3), start=Fraction(2))
    assert [one.pts for one in out] == [0, 3600, 7200]


def test_an_announced_start_that_cannot_be_is_not_believed() -> None:
    out, _ = mended(video(3, at=126_000), start=Fraction(10**6))
    assert out[0].pts == 0


def test_the_announced_start_decides_what_becomes_zero() -> None:
    source = [packet("video/0", 132_000), packet("audio/0", 67_200, time_base=AUDIO)]
    out, _ = mended(source, start=Fraction(7, 5))
    assert [p.pts for p in out] == [6000, 0]


@pytest.mark.parametrize("bits", [32, 33])
def test_a_clock_that_wraps_is_not_seen(bits: int) -> None:
    top = 1 << bits
    plain = interleaved(pyramid(20, at=top - 90_000), audio(50, at=0))
    plain = [p for p in plain if p.track == "video/0"]
    wrapped = [packet("video/0", p.pts % top, p.dts % top, duration=p.duration) for p in plain]
    expected, _ = mended(plain)
    out, corrected = mended(wrapped)
    assert [(p.pts, p.dts) for p in out] == [(p.pts, p.dts) for p in expected]
    assert corrected == {"wrap": 1}
    assert {p.epoch for p in out} == {0}


def test_a_track_that_begins_after_the_wrap_stays_in_sync() -> None:
    top = 1 << 33
    source = [
        packet("video/0", top - 3600, duration=3600),
        packet("audio/0", 900, duration=1920),
        packet("video/0", 0, duration=3600),
    ]
    out, _ = mended(source)
    assert [p.pts for p in out] == [0, 4500, 3600]


def test_a_presentation_time_beyond_the_wrap_follows_its_decoding_time() -> None:
    out, _ = mended([packet("video/0", 100, (1 << 33) - 7100, duration=3600)])
    assert (out[0].pts, out[0].dts) == (0, -7200)


@pytest.mark.parametrize(
    ("to", "kind"), [(90_000 * 3600, "jump_forward"), (-90_000 * 3600, "jump_back")]
)
def test_a_jump_opens_an_epoch_that_continues_the_last(to: int, kind: str) -> None:
    out, corrected = mended(video(10) + video(10, at=36_000 + to))
    assert [p.pts for p in out] == [n * 3600 for n in range(20)]
    assert [p.epoch for p in out] == [0] * 10 + [1] * 10
    assert corrected == {kind: 1}


def test_tracks_that_jump_one_after_the_other_share_the_epoch() -> None:
    hour = 3600
    source = [
        *interleaved(video(25), audio(47)),
        *video(2, at=90_000 * hour),
        *audio(2, at=48_128),
        *interleaved(video(25, at=90_000 * hour + 7200), audio(47, at=48_000 * hour)),
    ]
    out, corrected = mended(source)
    late = of("audio/0", out)[47:49]
    assert [p.epoch for p in late] == [0, 0]
    assert [p.pts for p in late] == [48_128, 49_152]
    new_video, new_audio = of("video/0", out)[25], of("audio/0", out)[51]
    assert new_video.epoch == new_audio.epoch == 1
    assert of("audio/0", out)[-1].time_s - of("video/0", out)[-1].time_s == pytest.approx(
        46 * 1024 / 48_000 - 26 * 3600 / 90_000, abs=1e-4
    )
    assert corrected["jump_forward"] == 1


def test_a_looped_file_plays_on_and_keeps_its_sync() -> None:
    lap = interleaved(video(50), audio(94))
    out, corrected = mended(lap * 3)
    assert [p.pts for p in of("video/0", out)] == pytest.approx(
        [n * 3600 for n in range(150)], abs=3 * 500
    )
    for number in range(3):
        first = [next(p for p in of(t, out) if p.epoch == number) for t in ("video/0", "audio/0")]
        assert abs(first[0].time_s - first[1].time_s) < 1 / 40_000
    assert corrected["jump_back"] == 2


def test_one_wrong_time_does_not_part_sound_and_picture() -> None:
    good = video(100)
    source = interleaved(good, audio(180))
    spot = source.index(good[50])
    source[spot] = packet("video/0", 90_000 * 5000, duration=3600)
    out, _ = mended(source)
    assert of("video/0", out)[-1].pts == 99 * 3600
    assert of("audio/0", out)[-1].pts == 179 * 1024


def test_a_track_that_pauses_while_another_goes_on_has_not_jumped() -> None:
    source = interleaved(video(2) + video(5, at=90_000 * 30), audio(47 * 32))
    out, corrected = mended(source)
    assert of("video/0", out)[2].pts == 90_000 * 30
    assert corrected == {}


def test_a_still_that_lasts_longer_than_the_gap_is_kept_when_it_says_so() -> None:
    slides = [packet("video/0", n * 20_000, duration=20_000, time_base=MS) for n in range(4)]
    out, corrected = mended(slides)
    assert [p.pts for p in out] == [0, 20_000, 40_000, 60_000]
    assert corrected == {}


def test_subtitles_far_apart_are_no_jump() -> None:
    words = [packet("subtitle/0", t * 1000, time_base=MS) for t in (0, 60, 600)]
    out, corrected = mended(interleaved(video(25 * 605), words))
    assert [p.pts for p in of("subtitle/0", out)] == [0, 60_000, 600_000]
    assert corrected == {}


def test_raw_streams_without_times_get_them_from_the_rate() -> None:
    source = [packet("video/0", None, None) for _ in range(5)]
    out, corrected = mended(source, rate=30)
    assert [p.dts for p in out] == [0, 3000, 6000, 9000, 12_000]
    assert [p.pts for p in out] == [None] * 5
    assert corrected == {"missing_dts": 5, "missing_pts": 5}


def test_sound_without_presentation_times_takes_the_decoding_times() -> None:
    source = [packet("audio/0", None, n * 1024, time_base=AUDIO) for n in range(3)]
    out, corrected = mended(source)
    assert [p.pts for p in out] == [0, 1024, 2048]
    assert corrected == {"missing_pts": 3}


def test_missing_decoding_times_leave_b_frames_where_they_are() -> None:
    source = [packet("video/0", p.pts, None, duration=3600) for p in pyramid(5)]
    out, corrected = mended(source)
    assert [p.pts for p in out] == [p.pts - 7200 for p in source]
    assert corrected == {"missing_dts": len(source)}


def test_a_picture_before_its_decoding_time_keeps_its_place() -> None:
    source = [packet("video/0", 0), packet("video/0", 3600, 5000), packet("video/0", 7200)]
    out, corrected = mended(source)
    assert [(p.pts, p.dts) for p in out] == [(0, 0), (3600, 3600), (7200, 7200)]
    assert corrected == {"pts_before_dts": 1}


def test_a_presentation_time_that_no_reordering_explains_is_not_waited_for() -> None:
    telemetry = Telemetry()
    live = Timeline(telemetry, max_hold_s=3)
    source = [packet("video/0", n * 3600, duration=3600) for n in range(4)]
    source[1] = packet("video/0", 3600 + 0x7FFFFF * 90, 3600, duration=3600)
    assert [live.mend(one).pts for one in source] == [0, 3600, 7200, 10_800]
    assert telemetry.counts("corrected") == {"pts_far": 1}
    early = [packet("video/0", n * 3600 + 0x7FFFFF * 90, n * 3600) for n in range(3)]
    live = Timeline(Telemetry(), max_hold_s=3)
    assert [live.mend(one).pts for one in early] == [0, 3600, 7200]
    slow = [packet("video/0", (n + 2) * 90_000, n * 90_000, duration=90_000) for n in range(3)]
    live = Timeline(Telemetry(), max_hold_s=1)
    assert [live.mend(one).pts for one in slow] == [0, 90_000, 180_000]


def test_only_pictures_that_will_be_shown_are_announced() -> None:
    timeline = Timeline(Telemetry())
    for n in range(4):
        timeline.mend(packet("video/0", n * 3600, discard=n < 2))
        timeline.mend(packet("audio/0", n * 1024, time_base=AUDIO))
    assert timeline.announced == 2


times = st.one_of(st.none(), st.integers(-(1 << 34), 1 << 34))
anything = st.lists(
    st.builds(
        packet,
        st.sampled_from(["video/0", "audio/0", "audio/1", "subtitle/0"]),
        times,
        times,
        duration=st.integers(0, 5000),
    ),
    max_size=60,
)


@given(anything)
def test_whatever_comes_in_decoding_times_strictly_increase(source: list[Packet]) -> None:
    out, _ = mended(source)
    for track in {p.track for p in out}:
        stamps = [p.dts for p in of(track, out)]
        assert None not in stamps
        assert all(a < b for a, b in pairwise(stamps))
    assert all(p.pts is None or p.pts >= p.dts for p in out)
    assert [p.data for p in out] == [p.data for p in source]


steps = st.lists(st.integers(1, 200_000), min_size=1, max_size=80)


@given(steps, st.integers(0, 1 << 40), st.permutations(range(4)), st.integers(0, 3))
def test_any_reordered_stream_is_only_shifted(
    gaps: list[int], at: int, order: list[int], noise: int
) -> None:
    clock = [at]
    for gap in gaps:
        clock.append(clock[-1] + gap)
    blocks = [clock[n : n + 4] for n in range(0, len(clock) - 3, 4)]
    delay = sum(gaps)
    source = [
        packet("video/0", blocks[b][order[n]] + delay, blocks[b][n])
        for b in range(len(blocks))
        for n in range(4)
    ]
    out, corrected = mended(source)
    assert corrected == {}
    shift = {after.pts - before.pts for before, after in zip(source, out, strict=True)}
    assert len(shift) <= 1
    assert {a.dts - b.dts for b, a in zip(source, out, strict=True)} == shift


@given(steps, st.sampled_from([32, 33]), st.integers(0, 10**6))
def test_a_wrap_anywhere_is_not_seen(gaps: list[int], bits: int, before: int) -> None:
    top = 1 << bits
    clock = [top - before]
    for gap in gaps:
        clock.append(clock[-1] + gap)
    plain, _ = mended([packet("video/0", at + 7200, at) for at in clock])
    wrapped, corrected = mended([packet("video/0", (at + 7200) % top, at % top) for at in clock])
    assert [(p.pts, p.dts) for p in wrapped] == [(p.pts, p.dts) for p in plain]
    assert corrected == ({"wrap": 1} if clock[0] < top <= clock[-1] else {})


@given(
    st.integers(30, 60),
    st.integers(-90_000 * 100, 90_000 * 100),
    st.lists(st.integers(-(10**4), 10**4), min_size=1, max_size=5, unique=True),
)
def test_sound_and_picture_stay_together_in_every_epoch(
    length: int, at: int, minutes: list[int]
) -> None:
    source: list[Packet] = []
    for place in minutes:
        start = at + place * 60 * 90_000
        beeps = [packet("audio/0", start + 10 + n * 3600, duration=3600) for n in range(length)]
        source += interleaved(video(length, at=start), beeps)
    out, _ = mended(source)
    shifts: dict[int, set[int]] = {}
    for before, after in zip(source, out, strict=True):
        shifts.setdefault(after.epoch, set()).add(after.pts - before.pts)
    assert all(max(shift) - min(shift) <= 1 for shift in shifts.values())


def shown(stamps: Sequence[int], time_base: Fraction = TS) -> tuple[list[int], Telemetry]:
    telemetry = Telemetry()
    presentation = Presentation(telemetry)
    frame = picture(16, 16)
    out = [presentation.show(frame.retimed(pts=t, time_base=time_base)) for t in stamps]
    return [f.pts for f in out if f is not None], telemetry


def test_pictures_in_order_pass_as_they_are() -> None:
    out, telemetry = shown([0, 1, 5, 900])
    assert out == [0, 1, 5, 900]
    assert telemetry.counters() == {}


def test_a_second_picture_for_the_same_time_moves_one_tick_behind() -> None:
    out, telemetry = shown([0, 3600, 3600, 7200])
    assert out == [0, 3600, 3601, 7200]
    assert telemetry.counts("corrected") == {"duplicate_pts": 1}


def test_a_picture_much_too_late_is_dropped_and_counted() -> None:
    out, telemetry = shown([0, 900_000, 3600, 903_600])
    assert out == [0, 900_000, 903_600]
    assert telemetry.counts("dropped") == {"late_picture": 1}


@given(st.lists(st.integers(-1000, 1000), max_size=50))
def test_shown_times_strictly_increase_and_none_is_lost_uncounted(stamps: list[int]) -> None:
    out, telemetry = shown(stamps, Fraction(1, 100))
    assert all(a < b for a, b in pairwise(out))
    assert len(out) + telemetry.counts("dropped").get("late_picture", 0) == len(stamps)
