"""A packager that goes on with windows that another one filled: one stream, with gaps between."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streamgen.deliver.cutting import Pace
from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveStart
from streamgen.deliver.rendition import LiveTrack
from streamgen.deliver.window import Window
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry

from .live_packets import live_audio, live_video, mixed
from .live_trace import Trace, read

Line = tuple[LiveTrack, list[Packet]]


@pytest.fixture(scope="module")
def lines() -> tuple[Line, ...]:
    return (
        live_video("video/180p", size=(320, 180), seconds=12),
        live_video("video/90p", size=(160, 90), seconds=12),
        live_audio(seconds=12),
    )


def packager(lines: tuple[Line, ...], telemetry: Telemetry | None = None) -> LivePackager:
    start = LiveStart("s3cret", 1_700_000_000 * NS)
    return LivePackager(start, [track for track, _ in lines], telemetry=telemetry or Telemetry())


def copied(window: Window, to: Window) -> None:
    """What a mirror does."""
    to.headers |= window.headers
    for piece in window.pieces:
        to.begin(piece.number, piece.start_ns, piece.header)
        for part in piece.parts:
            to.add(part)
        if piece.complete:
            to.finish()


def went_on(
    lines: tuple[Line, ...], until: Fraction, since: Fraction, telemetry: Telemetry | None = None
) -> tuple[LivePackager, LivePackager]:
    """Who made it until then, and who goes on with what came since."""
    former, made = packager(lines), packager(lines, telemetry)
    packets = mixed(*(packets for _, packets in lines))
    for packet in packets:
        if packet.time_s < until:
            former.write(packet)
    for place, rendition in former.renditions.items():
        copied(rendition.window, made.renditions[place].window)
    made.resume()
    for packet in packets:
        if packet.time_s >= since:
            made.write(packet)
    return former, made


@pytest.mark.parametrize("until", [Fraction(51, 10), Fraction(26, 5), Fraction(271, 50)])
@pytest.mark.parametrize("since", [Fraction(8), Fraction(42, 5), Fraction(87, 10)])
def test_what_lies_between_is_a_gap_and_nothing_is_changed_or_left_out(
    lines: tuple[Line, ...], until: Fraction, since: Fraction
) -> None:
    former, made = went_on(lines, until, since)
    key = Fraction(-(-since // Fraction(1, 2)), 2)
    for place, rendition in made.renditions.items():
        back = int(key if rendition.track.video else since) + 1  # the first that is there again
        trace = Trace(2)
        trace.poll(former.page(place, skip=False).text.decode())
        text = made.page(place, skip=False).text.decode()
        trace.poll(text)
        segments = read(text).segments
        assert [one.number for one in segments] == list(range(13))
        first = segments[0].date
        for one in segments:  # the grid's own dates, whatever is missing
            grid = rendition.facts.grid
            assert one.date - first == pytest.approx(grid.start_of(one.number) / NS, abs=0.03)
        last = former.renditions[place].window.pieces[-1]
        whole = last.number + last.complete
        assert [one.number for one in segments if one.gap] == list(range(whole, back))
        kept = rendition.window.pieces[last.number].parts[: len(last.parts)]
        assert kept == last.parts


def test_segments_of_which_another_replica_may_have_a_part_are_not_made_once_more(
    lines: tuple[Line, ...],
) -> None:
    _, made = went_on(lines, Fraction(26, 5), Fraction(27, 5))
    for rendition in made.renditions.values():
        gaps = [piece.number for piece in rendition.window.pieces if piece.gap]
        assert gaps == [6]  # it was left unfinished


def test_sound_that_returns_inside_a_segment_has_silence_before_it(
    lines: tuple[Line, ...],
) -> None:
    telemetry = Telemetry()
    _, made = went_on((lines[2],), Fraction(26, 5), Fraction(42, 5), telemetry)
    window = made.renditions["audio-0"].window
    piece = next(one for one in window.pieces if one.number > 6 and not one.gap)
    assert piece.start_ns == pytest.approx(8 * NS, abs=NS // 40)
    assert telemetry.counts("hls")["silence"] == pytest.approx(0.4 * 48_000 / 1024, abs=1.5)


def test_other_parameter_sets_behind_the_gap_begin_with_a_discontinuity(
    lines: tuple[Line, ...],
) -> None:
    former, made = packager(lines[:1]), packager(lines[:1])
    _, odd = live_video("video/180p", size=(352, 198), seconds=12)
    for packet in lines[0][1]:
        if packet.time_s < 5:
            former.write(packet)
    copied(former.renditions["180p"].window, made.renditions["180p"].window)
    made.resume()
    for packet in odd:
        if packet.time_s >= 8:
            made.write(packet)
    (broken,) = made.breaks
    pieces = {piece.number: piece for piece in made.renditions["180p"].window.pieces}
    assert not pieces[broken].gap and pieces[broken - 1].gap
    assert pieces[broken].header != pieces[0].header


def test_a_packager_with_nothing_to_go_on_from_begins_with_the_next_segment(
    lines: tuple[Line, ...],
) -> None:
    made = packager(lines)
    made.resume()
    for packet in mixed(*(packets for _, packets in lines)):
        if packet.time_s >= Fraction(42, 5):
            made.write(packet)
    numbers = {rendition.window.pieces[0].number for rendition in made.renditions.values()}
    assert numbers == {10}


def test_a_part_s_length_says_where_it_ends() -> None:
    pace = Pace(90_000, 29_970, 100)
    for ticks in range(29_000, 31_000):
        assert pace.length_ns(ticks) * 90_000 // NS == ticks
