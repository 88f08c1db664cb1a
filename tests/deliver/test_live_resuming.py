"""A packager that goes on with windows that another one filled: numbers and dates go on."""

from __future__ import annotations

from fractions import Fraction

import pytest

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
def test_numbers_dates_and_names_go_on_behind_what_is_missing(
    lines: tuple[Line, ...], until: Fraction, since: Fraction
) -> None:
    former, made = went_on(lines, until, since)
    back = 9 if since == 8 else 10  # the first that is seen whole
    for place, rendition in made.renditions.items():
        trace = Trace(2)
        trace.poll(former.page(place, skip=False).text.decode())
        text = made.page(place, skip=False).text.decode()
        trace.poll(text)
        segments = read(text).segments
        assert [one.number for one in segments] == list(range(back, 13))
        assert not any(one.gap for one in segments)
        grid = rendition.facts.grid
        for one in segments:  # the grid's own dates
            at_s = one.date - made.start.unix_ns / NS
            assert at_s == pytest.approx(grid.start_of(one.number) / NS, abs=0.03)


def test_what_follows_at_once_stands_behind_what_was_there(lines: tuple[Line, ...]) -> None:
    former, made = went_on(lines, Fraction(271, 50), Fraction(28, 5))
    for place, rendition in made.renditions.items():
        pieces = list(rendition.window.pieces)
        assert [piece.number for piece in pieces] == list(range(13))
        last = former.renditions[place].window.pieces[-1]
        assert pieces[last.number].parts == last.parts and pieces[last.number].complete


def test_a_segment_that_only_had_begun_takes_no_number(lines: tuple[Line, ...]) -> None:
    former, made, replica = packager(lines[:1]), packager(lines[:1]), packager(lines[:1])
    for packet in lines[0][1]:
        if packet.time_s <= 6:
            former.write(packet)
    begun = former.renditions["180p"].window
    assert begun.growing is not None and begun.growing.number == 7 and not begun.growing.parts
    for one in (made, replica):
        copied(begun, one.renditions["180p"].window)
    made.resume()
    for packet in lines[0][1]:
        if packet.time_s >= Fraction(13, 2):
            made.write(packet)
    assert made.renditions["180p"].window.pieces[0].number == 8  # 7 is missing: anew
    assert not replica.renditions["180p"].cutter.bridge(8)
    assert replica.renditions["180p"].window.pieces[-1].number == 6


def test_a_packager_goes_on_where_another_was_between(lines: tuple[Line, ...]) -> None:
    """What it had begun itself, before the other one had the session, is not in the way."""
    packets = mixed(*(packets for _, packets in lines))
    made, other = packager(lines), packager(lines)
    for packet in packets:
        if packet.time_s < Fraction(43, 10):
            made.write(packet)
        if packet.time_s < Fraction(371, 50):
            other.write(packet)
    for place, rendition in other.renditions.items():
        copied(rendition.window, made.renditions[place].window)
    end_ns = made.resume()
    assert 7 * NS < end_ns <= 7.42 * NS
    for packet in packets:
        if packet.time_s >= Fraction(38, 5):
            made.write(packet)
    for rendition in made.renditions.values():
        assert [piece.number for piece in rendition.window.pieces] == list(range(13))


def test_other_parameter_sets_begin_with_a_discontinuity(
    lines: tuple[Line, ...],
) -> None:
    former, made = packager(lines[:1]), packager(lines[:1])
    _, odd = live_video("video/180p", size=(352, 198), seconds=12)
    for packet in lines[0][1]:
        if packet.time_s < Fraction(271, 50):
            former.write(packet)
    copied(former.renditions["180p"].window, made.renditions["180p"].window)
    made.resume()
    for packet in odd:
        if packet.time_s >= 6:
            made.write(packet)
    (broken,) = made.breaks
    pieces = {piece.number: piece for piece in made.renditions["180p"].window.pieces}
    assert broken == 7 and pieces[broken].header != pieces[broken - 1].header


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
