"""What comes over the link keeps its order, and what was said of it."""

from __future__ import annotations

from fractions import Fraction

from streamgen.ingest.link import MOST_FORMS, SOUND, Description, LinkSource, no_video
from streamgen.media.packet import Packet
from streamgen.media.tracks import SourceInfo

BASE = Fraction(1, 90_000)
FAST, SLOW = Description("aac", b"\x12\x10"), Description("aac", b"\x13\x90")


def link() -> LinkSource:
    return LinkSource(SourceInfo("x", "link", no_video(BASE), live=True))


def sound(pts: int, data: bytes = b"sound", epoch: int = 0) -> Packet:
    return Packet(data, pts, pts, 0, BASE, True, SOUND, epoch)


def test_sound_that_waits_is_decoded_in_the_form_that_it_came_in() -> None:
    source = link()
    source.describe(0, FAST)
    source.feed(sound(0))
    source.feed(sound(1000))
    source.describe(0, SLOW)
    assert source.sound(0, 5000) == FAST  # of the new form nothing has come
    source.feed(sound(1500, b""))
    source.feed(sound(2000))
    assert [source.sound(0, at) for at in (-10, 0, 1000, 1999, 2000, 9000)] == [FAST] * 4 + [
        SLOW
    ] * 2
    source.end()
    assert [packet.pts for packet in source.packets()] == [0, 1000, 1500, 2000]


def test_epochs_have_their_own_sound_and_none_where_nobody_told_of_any() -> None:
    source = link()
    source.describe(3, SLOW)
    source.feed(sound(0, epoch=3))
    assert source.sound(3, 0) == SLOW
    assert source.sound(2, 0) is None and source.sound(4, 0) is None


def test_a_publisher_that_describes_without_end_costs_no_memory() -> None:
    source = link()
    for number in range(100):
        source.describe(0, Description("aac", bytes([number])))
        source.feed(sound(number))
    assert source.sound(0, 99) == Description("aac", b"\x63")
    assert source.sound(0, 0) == Description("aac", bytes([100 - MOST_FORMS]))
