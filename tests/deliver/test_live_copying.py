"""A copy of a window, made of what is published, reads as the window: text, names and bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamgen.deliver.copying import Act, Copying, Step, copy, position
from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.deliver.rendition import LiveTrack
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry

from .live_packets import live_audio, live_video, mixed

Line = tuple[LiveTrack, list[Packet]]
SHORT = LiveSettings(window_ns=3 * NS)


@pytest.fixture(scope="module")
def lines() -> tuple[Line, ...]:
    return (
        live_video("video/180p", size=(320, 180), seconds=12),
        live_video("video/90p", seconds=12),
        live_audio(seconds=12),
    )


def packager(lines: tuple[Line, ...]) -> LivePackager:
    tracks = [track for track, _ in lines]
    return LivePackager(LiveStart("s3cret", 0), tracks, telemetry=Telemetry(), settings=SHORT)


class Copied:
    """A copy of all renditions, brought up to date when it is told to."""

    def __init__(self, original: LivePackager, lines: tuple[Line, ...]) -> None:
        self.original = original
        self.copy = packager(lines)
        self.ways = self.ways_from({})

    def ways_from(self, has: dict[str, tuple[int, int, bool]]) -> dict[str, Copying]:
        renditions = self.original.renditions.items()
        return {place: Copying(one.window, has.get(place)) for place, one in renditions}

    def follow(self, step: Callable[[Step], None] = lambda step: None) -> None:
        for place, way in self.ways.items():
            rendition = self.copy.renditions[place]
            while (found := way.step()) is not None:
                step(found)
                copy(found, rendition.window)
            rendition.parameters = self.original.renditions[place].parameters
            self.copy.copied(place, self.original.renditions[place].reports)

    def is_the_same(self) -> None:
        for place, rendition in self.original.renditions.items():
            if not rendition.window.ready:
                continue
            for skip in (False, True):
                ours, theirs = (
                    self.original.page(place, skip=skip),
                    self.copy.page(place, skip=skip),
                )
                assert theirs.text.decode() == ours.text.decode()
                assert theirs.tag == ours.tag
            window = self.copy.renditions[place].window
            assert [*window.pieces] == [*rendition.window.pieces]
            assert window.headers == rendition.window.headers
        if self.original.playable:
            assert self.copy.multivariant("token=x") == self.original.multivariant("token=x")


def test_a_copy_reads_the_same_after_every_packet(lines: tuple[Line, ...]) -> None:
    original = packager(lines)
    copied = Copied(original, lines)
    for packet in mixed(*(packets for _, packets in lines)):
        original.write(packet)
        copied.follow()
        copied.is_the_same()
    original.end()
    copied.follow()
    copied.is_the_same()
    assert copied.copy.renditions["90p"].window.ended
    assert [way.missed for way in copied.ways.values()] == [0, 0, 0]


def test_one_that_comes_late_or_pauses_gets_what_there_is(lines: tuple[Line, ...]) -> None:
    original = packager(lines)
    packets = mixed(*(packets for _, packets in lines))
    copied = Copied(original, lines)
    for at_s in (1.2, 1.3, 3.4, 11.8):  # the last one is more than the window later
        for packet in packets:
            if packet.time_s < at_s:
                original.write(packet)
        packets = [packet for packet in packets if packet.time_s >= at_s]
        copied.follow()
        copied.is_the_same()
    assert [way.missed for way in copied.ways.values()] == [1, 1, 1]


def test_one_that_says_what_it_has_gets_the_rest(lines: tuple[Line, ...]) -> None:
    original = packager(lines)
    packets = mixed(*(packets for _, packets in lines))
    copied = Copied(original, lines)
    for packet in packets:
        if packet.time_s < 2.5:
            original.write(packet)
    copied.follow()
    has = {place: position(one.window) for place, one in copied.copy.renditions.items()}
    copied.ways = copied.ways_from({place: at for place, at in has.items() if at is not None})
    for packet in packets:
        if 2.5 <= packet.time_s < 4:
            original.write(packet)
    again: list[int] = []
    copied.follow(lambda step: again.append(step.number) if step.act is Act.BEGIN else None)
    copied.is_the_same()
    assert again and min(again) > 2


def test_segments_that_the_next_home_made_in_its_own_way_take_the_places_of_those_before(
    lines: tuple[Line, ...],
) -> None:
    """The next home had less of the growing segment, and has a gap there."""
    original, other = packager(lines), packager(lines)
    packets = mixed(*(packets for _, packets in lines))
    copied = Copied(original, lines)
    for packet in packets:
        if packet.time_s < 4.4:
            original.write(packet)
        if packet.time_s < 3.9 or 6 < packet.time_s < 8.2:
            other.write(packet)
    copied.follow()
    copied.original = other
    has = {place: position(one.window) for place, one in copied.copy.renditions.items()}
    copied.ways = copied.ways_from({p: (at[0] - 3, 0, True) for p, at in has.items() if at})
    copied.follow()
    copied.is_the_same()
    assert copied.ways["90p"].missed == 0


def test_a_gap_and_new_parameter_sets_are_copied(lines: tuple[Line, ...]) -> None:
    """The header of new pictures is there as long as their segments, and no other."""
    original = packager(lines)
    larger = live_video("video/180p", size=(336, 190), seconds=12)[1]
    copied = Copied(original, lines)
    packets = mixed(*(packets for _, packets in lines), larger)
    for packet in packets:
        new = any(packet is one for one in larger)
        if packet.track == "video/180p" and new != (packet.time_s >= 9):
            continue
        if packet.track == "video/90p" and 4 < packet.time_s < 6.5:
            continue
        original.write(packet)
        copied.copy.breaks.update(original.breaks)
        copied.follow()
        copied.is_the_same()
    window = original.renditions["180p"].window
    assert {piece.header for piece in window.pieces} == window.headers.keys()
    assert len(window.headers) == 2
