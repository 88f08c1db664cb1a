"""Sound and picture of a WHIP publisher stay one epoch, whatever comes late or is told wrongly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.timeline import HZ, LiveTimeline
from streamgen_edge.webrtc.sync import MOST_NS, ROUGH_NS, SURE_NS, TrackClock

MS = 1_000_000
S = 1000 * MS
RATES = {"video": 90_000, "audio": 48_000}
FIRST = {"video": (1 << 32) - 90_000, "audio": 77}
"""Timestamps of what was captured at zero; that of the picture wraps."""
IDLE_NS = 5 * MS
NTP_S = 3_900_000_000
LATE = ("audio", "video", "both", "none")


@dataclass
class Stream:
    """A publisher of 25 pictures and 50 packets of sound a second, through clock and timeline."""

    seconds: int = 12
    busy_ns: dict[str, int] = field(default_factory=dict)
    """By track: what was captured before is handled then."""
    reports: list[tuple[int, str, int]] = field(default_factory=list)
    """When and of which track, and by how much the publisher's clock is wrong then, in ns."""
    behind_ns: int = 0
    """The sound is sent so much after it was captured, and only reports tell."""

    def __post_init__(self) -> None:
        picture = TrackClock(RATES["video"])
        self.clocks = {"video": picture, "audio": TrackClock(RATES["audio"], picture)}
        self.telemetry = Telemetry()
        self.out: dict[str, list[tuple[int, Packet]]] = {"video": [], "audio": []}
        """By track: when it was captured, and what became of it."""
        self.left_out = 0

    def play(self) -> None:
        line = LiveTimeline(self.telemetry)
        line.arrive()
        for now, _, action in sorted(self._events(line), key=lambda event: event[:2]):
            action(now)

    def _events(self, line: LiveTimeline) -> Iterable[tuple[int, int, Callable[[int], None]]]:
        """When it is handled and when it was sent, which is the order they come in, and what."""
        for track, step in (("video", 40 * MS), ("audio", 20 * MS)):
            delay = IDLE_NS + (self.behind_ns if track == "audio" else 0)
            for captured in range(0, self.seconds * S, step):
                at = max(captured + delay, self.busy_ns.get(track, 0))
                yield at, captured + delay, self._unit(line, track, captured)
        for at, track, wrong in self.reports:
            yield at, at, self._report(track, wrong)

    def _unit(self, line: LiveTimeline, track: str, captured: int) -> Callable[[int], None]:
        def handle(now: int) -> None:
            rate = RATES[track]
            pts = self.clocks[track].place(_stamp(track, captured), now)
            if pts is None:
                self.left_out += 1
                return
            one = Packet(b"x", pts, pts, 0, Fraction(1, rate), True, f"{track}/0")
            self.out[track].append((captured, line.mend(one, now)))

        return handle

    def _report(self, track: str, wrong: int) -> Callable[[int], None]:
        def handle(now: int) -> None:
            ntp = NTP_S * S + now + wrong
            self.clocks[track].reported((ntp << 32) // S, _stamp(track, now))

        return handle

    def offset_ns(self, track: str, at: int) -> int:
        """How far the last of the track before a moment is from when it was captured."""
        captured, packet = [one for one in self.out[track] if one[0] <= at][-1]
        return (packet.pts or 0) * S // HZ - captured

    def apart_ns(self, at: int) -> int:
        """How much later than its picture the sound is shown."""
        return self.offset_ns("audio", at) - self.offset_ns("video", at)

    def check(self) -> None:
        """One epoch, no step back, nothing mended; and all sound that has room is there."""
        assert not self.telemetry.counts("corrected")
        for track, step in (("video", 40), ("audio", 20)):
            packets = [packet for _, packet in self.out[track]]
            assert {packet.epoch for packet in packets} == {0}
            times = [packet.pts or 0 for packet in packets]
            assert all(b - a >= step * HZ // 1000 - 1 for a, b in itertools.pairwise(times))
        assert len(self.out["video"]) == self.seconds * 25
        assert len(self.out["audio"]) + self.left_out == self.seconds * 50


def _stamp(track: str, captured: int) -> int:
    return (FIRST[track] + captured * RATES[track] // S) & 0xFFFFFFFF


def _busy(track: str, until: int) -> dict[str, int]:
    return {one: until for one in RATES if track in (one, "both")}


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("until", [300 * MS, 1440 * MS, 3000 * MS, 7000 * MS])
def test_what_is_handled_late_at_first_is_soon_in_sync_without_reports(
    late: str, until: int
) -> None:
    stream = Stream(busy_ns=_busy(late, until))
    stream.play()
    stream.check()
    assert abs(stream.apart_ns(until + 100 * MS)) <= ROUGH_NS
    assert abs(stream.apart_ns(12 * S)) <= ROUGH_NS
    # Of the sound no more is lost than what came too late for its pictures.
    assert stream.left_out <= (until // (20 * MS) if late == "audio" else 0)


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("order", [("video", "audio"), ("audio", "video")])
@pytest.mark.parametrize("at", [100 * MS, 1500 * MS, 4 * S])
def test_reports_in_any_order_keep_one_epoch(late: str, order: tuple[str, str], at: int) -> None:
    reports = [(at + n * (300 * MS), order[n % 2], 0) for n in range(20)]
    stream = Stream(busy_ns=_busy(late, 1440 * MS), reports=reports, behind_ns=60 * MS)
    stream.play()
    stream.check()
    assert abs(stream.apart_ns(12 * S)) < 20 * MS


@given(
    late=st.sampled_from(LATE),
    until=st.integers(0, 3000),
    behind=st.integers(0, 400),
    told=st.lists(
        st.tuples(
            st.integers(0, 6000), st.sampled_from(sorted(RATES)), st.sampled_from([0, 0, 1440, 90])
        ),
        max_size=12,
    ),
)
def test_any_reports_keep_one_epoch_and_true_ones_put_both_together(
    late: str, until: int, behind: int, told: list[tuple[int, str, int]]
) -> None:
    wrong = [(at * MS, track, by * MS) for at, track, by in told]
    true = [(at * MS, track, 0) for at in (7000, 8000, 9000) for track in RATES]
    stream = Stream(
        busy_ns=_busy(late, until * MS), reports=wrong + true, behind_ns=behind * MS, seconds=14
    )
    stream.play()
    stream.check()
    assert abs(stream.apart_ns(14 * S)) < 20 * MS


def test_one_report_that_was_stamped_late_moves_nothing() -> None:
    reports = [(n * S, track, 0) for n in range(1, 11) for track in RATES]
    reports[8] = (reports[8][0], reports[8][1], 1440 * MS)
    stream = Stream(reports=reports)
    stream.play()
    stream.check()
    assert stream.clocks["audio"].steps == 0 and stream.left_out == 0


def test_a_publishers_clock_that_is_set_moves_nothing() -> None:
    # Of the sound a report comes every five seconds, as from Chromium.
    told = [(n * S, "video", 7 * S if n > 9 else 0) for n in range(1, 24)]
    told += [(n * S + 1, "audio", 7 * S if n > 9 else 0) for n in range(4, 24, 5)]
    stream = Stream(seconds=24, reports=told)
    stream.play()
    stream.check()
    assert stream.clocks["audio"].steps == 0


@pytest.mark.parametrize("apart", [SURE_NS - 10 * MS, SURE_NS + 10 * MS, 2 * S])
def test_tracks_that_are_far_apart_are_put_together_when_it_was_told_twice(apart: int) -> None:
    reports = [(n * S, track, 0) for n in range(2, 11) for track in RATES]
    stream = Stream(reports=reports, behind_ns=apart)
    stream.play()
    stream.check()
    first = 2 if apart <= SURE_NS else 3
    assert stream.apart_ns(first * S - 100 * MS) == pytest.approx(apart, abs=MS)
    assert abs(stream.apart_ns(8 * S)) < 20 * MS
    assert stream.clocks["audio"].steps == 1


def test_reports_of_two_clocks_are_not_believed() -> None:
    reports = [(n * S, track, 0) for n in range(2, 11) for track in RATES]
    two = [(at, track, MOST_NS + S if track == "audio" else 0) for at, track, _ in reports]
    stream = Stream(reports=two)
    stream.play()
    stream.check()
    assert abs(stream.apart_ns(12 * S)) < ROUGH_NS and stream.clocks["audio"].steps == 0


def test_another_source_begins_where_the_former_one_has_ended() -> None:
    picture = TrackClock(90_000)
    sound = TrackClock(48_000, picture)
    picture.place(0, 0)
    for n in range(50):
        assert sound.place(n * 960, n * 20 * MS) == n * 960
    sound.restart()
    placed = [sound.place(3_000_000_000 + n * 960, (990 + n * 20) * MS) for n in range(10)]
    # It came 10 ms before the former one's last packet has ended.
    assert placed[0] is None and placed[1:] == [47_520 + n * 960 for n in range(1, 10)]
