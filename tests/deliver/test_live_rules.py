"""Whatever pictures are lost, come late or stand in for others, playlists obey the rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveStart
from streamgen.deliver.rendition import LiveTrack
from streamgen.encode.clock import FrameClock
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen.testing import picture

from .live_packets import live_audio, live_video
from .live_trace import Trace

START = LiveStart("s3cret", 1_700_000_000 * NS)
HZ = 90_000
SECONDS = 8
Line = tuple[LiveTrack, list[Packet]]
TOP, LOW = "video/180p", "video/90p"


@dataclass(frozen=True)
class Stretch:
    """What happens next: so many pictures, or stills, of which the last are lost; then a hole."""

    number: int
    still: bool
    lost: int
    hole_ms: int
    request: bool
    """A key frame was asked for."""
    behind_ms: int
    """By how much the top rung's encoder is behind meanwhile."""


STRETCHES = st.lists(
    st.builds(
        Stretch,
        number=st.integers(1, 60),
        still=st.booleans(),
        lost=st.integers(0, 6),
        hole_ms=st.sampled_from([0, 0, 0, 100, 400, 900, 2500]),
        request=st.booleans(),
        behind_ms=st.sampled_from([0, 0, 100, 500, 1500]),
    ),
    min_size=3,
    max_size=20,
)


@pytest.fixture(scope="module")
def lines() -> tuple[Line, Line, Line]:
    """Every rung's key frame and another picture serve as all of them."""
    return (
        live_video(TOP, size=(320, 180), seconds=0.1),
        live_video(LOW, seconds=0.1),
        live_audio(seconds=0.1),
    )


def pictures(stretches: list[Stretch], step: int, still: int) -> list[tuple[Packet, int]]:
    """Of one rung, marked and not encoded; and how late the top rung is with each."""
    clock, pixels, at = FrameClock(NS), picture(16, 16), 0
    clock.also_at(NS // 2)
    found = []
    for one in stretches:
        length = still if one.still else step
        if one.request:
            clock.request()
        for number in range(one.number):
            if number == 0 or number < one.number - one.lost:
                frame = clock.mark(pixels.retimed(pts=at, time_base=Fraction(1, HZ)))
                packet = Packet(b"", at, at, length, Fraction(1, HZ), frame.keyframe, LOW)
                found.append((packet, one.behind_ms))
            at += length
        at += one.hole_ms * HZ // 1000
        if at > SECONDS * HZ:
            break
    return found


@given(STRETCHES, st.sampled_from([15, 24, 25, 30]))
@settings(max_examples=25, deadline=None)
def test_playlists_obey_the_rules_whatever_becomes_of_pictures(
    lines: tuple[Line, Line, Line], stretches: list[Stretch], rate: int
) -> None:
    tracks = [replace(track, rate=track.rate and Fraction(rate)) for track, _ in lines]
    made = LivePackager(START, tracks, telemetry=Telemetry())
    part = made.renditions["90p"].cutter.pace.part
    marked = pictures(stretches, HZ // rate, part // -(-part // (HZ // 5)))
    arrivals: list[tuple[int, Packet]] = []
    for track, packets in lines[:2]:
        like = {packet.keyframe: bytes(packet.data) for packet in packets}
        latest = 0
        for one, behind_ms in marked:
            latest = max(latest, (one.pts or 0) + (track.name == TOP) * behind_ms * HZ // 1000)
            arrivals.append((latest, replace(one, track=track.name, data=like[one.keyframe])))
    sound = lines[2][1][1]
    for at in range(0, marked[-1][0].pts or 0, 1920):  # of AAC, in 1/90000 s
        pts = at * 8 // 15
        arrivals.append((at, replace(sound, pts=pts, dts=pts, duration=1024)))
    traces = {place: Trace(2) for place in made.renditions}
    for _, packet in sorted(arrivals, key=lambda arrival: arrival[0]):
        made.write(packet)
        if all(one.window.position() >= (0, 0) for one in made.renditions.values()):
            for place, trace in traces.items():
                if made.renditions[place].window.ready:
                    trace.poll(made.page(place, skip=False).text.decode())
