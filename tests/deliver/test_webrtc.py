"""One track to many WebRTC viewers: cut once, numbered and repaired for each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.deliver.rtp import (
    MTU,
    goodbye,
    h264_payloads,
    nal_units,
    ntp,
    sender_report,
)
from streamgen.deliver.webrtc import (
    MOST_ASKED,
    RING,
    MediaClock,
    Numbers,
    RtpSender,
    RtpTrack,
)
from streamgen.media.packet import Packet

codecs = pytest.importorskip("aiortc.codecs.h264", reason="aiortc is not installed")
rtp = pytest.importorskip("aiortc.rtp", reason="aiortc is not installed")
START = b"\0\0\0\1"
SPS, PPS = b"\x67\x42\xc0\x1f\x01", b"\x68\xce\x01"


class Wires:
    """A line that keeps what it is given; `room` False: it takes nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.controls: list[bytes] = []
        self.room = True

    def send(self, packets: list[tuple[bytes, bytes]]) -> bool:
        if self.room:
            self.sent += [header + payload for header, payload in packets]
        return self.room

    def control(self, packet: bytes) -> None:
        self.controls.append(packet)

    @property
    def packets(self) -> list[rtp.RtpPacket]:
        return [rtp.RtpPacket.parse(data) for data in self.sent]


class Hall:
    """A track, its clock and its timers, moved by hand."""

    def __init__(self, *, video: bool = True, origin: int = 1000) -> None:
        self.now = 5_000_000_000
        self.timers: list[tuple[int, Callable[[], None]]] = []
        self.asked = 0
        self.clock = MediaClock(lambda: self.now, lambda: self.now + 10**18)
        self.track = self.make(video=video, origin=origin)
        self.number = 0

    def make(self, *, video: bool = True, origin: int = 1000) -> RtpTrack:
        return RtpTrack(
            video=video,
            rate_hz=90_000 if video else 48_000,
            origin=origin,
            clock=self.clock,
            later=lambda s, do: self.timers.append((self.now + int(s * 1e9), do)),
            ask=self.ask,
        )

    def ask(self) -> None:
        self.asked += 1

    def run(self, ms: int) -> None:
        end = self.now + ms * 1_000_000
        while due := sorted((t for t in self.timers if t[0] <= end), key=lambda t: t[0]):
            self.timers.remove(due[0])
            self.now = max(self.now, due[0][0])
            due[0][1]()
        self.now = end

    def put(self, size: int = 300, *, key: bool = False, track: RtpTrack | None = None) -> bytes:
        unit = (START + SPS + START + PPS + START + b"\x65" if key else START + b"\x41") + bytes(
            (self.number + n) % 251 + 1 for n in range(size)
        )
        packet = Packet(unit, self.number * 3600, None, 0, Fraction(1, 90_000), key, "video/a")
        (track or self.track).put(packet)
        self.number += 1
        return unit

    def viewer(self, *, sequence: int = 10, rtx: bool = False) -> tuple[RtpSender, Wires]:
        wires = Wires()
        numbers = Numbers(7, 96, sequence, (8, 97, 65_535) if rtx else None)
        return RtpSender(wires, numbers), wires


def put_together(packets: list[rtp.RtpPacket]) -> bytes:
    return b"".join(codecs.h264_depayload(one.payload) for one in packets)


@given(st.lists(st.binary(min_size=1, max_size=4000), min_size=1, max_size=6), st.integers(64, MTU))
def test_an_access_unit_survives_its_payloads(bodies: list[bytes], most: int) -> None:
    units = [b"\x65" + body.replace(b"\0", b"\1") for body in bodies]
    data = b"".join(START + unit for unit in units)
    payloads = h264_payloads(data, most)
    assert max(map(len, payloads)) <= most
    assert list(nal_units(b"".join(map(codecs.h264_depayload, payloads)))) == units


def test_parameter_sets_travel_together_and_large_pictures_in_pieces_of_one_size() -> None:
    slice_ = b"\x65" + b"\x11" * 5000
    first, *rest = h264_payloads(START + b"\x09\x10" + START + SPS + START + PPS + START + slice_)
    assert first[0] & 31 == 24 and first.endswith(PPS)
    assert {one[0] & 31 for one in rest} == {28}
    assert {len(one) for one in rest[:-1]} == {MTU}
    assert [one[1] & 0xC0 for one in rest] == [0x80, 0, 0, 0, 0x40]


def test_viewers_get_one_track_under_their_own_numbers() -> None:
    hall = Hall()
    (one, first), (two, second) = hall.viewer(sequence=65_534), hall.viewer(sequence=5)
    one.play(hall.track)
    two.play(hall.track)
    unit = hall.put(3000, key=True)
    hall.run(100)
    for wires, begin in ((first, 65_534), (second, 5)):
        numbers = [packet.sequence_number for packet in wires.packets]
        assert numbers == [(begin + n) & 0xFFFF for n in range(len(numbers))]
        assert [p.marker for p in wires.packets] == [0] * (len(numbers) - 1) + [1]
        assert {p.timestamp for p in wires.packets} == {1000}
        assert put_together(wires.packets) == unit


def test_a_joiner_waits_for_a_key_frame_that_it_asks_for() -> None:
    hall = Hall()
    hall.put(key=True)
    hall.run(400)
    sender, wires = hall.viewer()
    sender.play(hall.track)
    assert hall.asked == 1
    hall.put()
    hall.run(40)
    assert not wires.sent
    unit = hall.put(key=True)
    hall.run(40)
    assert put_together(wires.packets) == unit


def test_a_joiner_gets_a_young_gop_at_once_and_goes_on_live() -> None:
    hall = Hall()
    units = [hall.put(60_000, key=True)]
    hall.run(100)
    units.append(hall.put())
    sender, wires = hall.viewer()
    sender.play(hall.track)
    assert hall.asked == 0
    assert 0 < len(wires.sent) < 40  # paced, too
    hall.run(30)
    units.append(hall.put())
    hall.run(100)
    assert put_together(wires.packets) == b"".join(units)
    assert [p.sequence_number for p in wires.packets] == list(range(10, 10 + len(wires.sent)))


def test_a_large_picture_is_spread_over_some_milliseconds() -> None:
    hall = Hall()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(120_000, key=True)
    at_once = len(wires.sent)
    assert 10 <= at_once <= 25
    hall.run(40)
    assert len(wires.sent) > 4 * at_once


def test_a_slow_viewer_drops_to_the_next_key_frame_and_slows_nobody() -> None:
    hall = Hall()
    (slow, slow_wires), (fast, fast_wires) = hall.viewer(), hall.viewer()
    slow.play(hall.track)
    fast.play(hall.track)
    hall.put(key=True)
    slow_wires.room = False
    hall.put()
    slow_wires.room = True
    hall.put()
    assert slow.dropped == 1
    assert len(fast_wires.sent) == 3
    last = hall.put(key=True)
    hall.run(40)
    numbers = [p.sequence_number for p in fast_wires.packets]
    assert numbers == list(range(10, 10 + len(numbers)))
    assert put_together(slow_wires.packets).endswith(last)
    assert len({p.timestamp for p in slow_wires.packets}) == 2


def test_what_a_viewer_misses_comes_again_in_its_own_numbers() -> None:
    hall = Hall()
    plain, plain_wires = hall.viewer(sequence=65_530)
    again, again_wires = hall.viewer(sequence=3, rtx=True)
    plain.play(hall.track)
    again.play(hall.track)
    for n in range(12):
        hall.put(key=n == 0)
    hall.run(40)
    before = plain_wires.packets
    plain.repair([65_533, 2])
    assert [p.sequence_number for p in plain_wires.packets[len(before) :]] == [65_533, 2]
    assert plain_wires.packets[-1].payload == before[(2 - 65_530) & 0xFFFF].payload
    again.repair([5, 6])
    rtx = again_wires.packets[-2:]
    assert [(p.ssrc, p.payload_type, p.sequence_number) for p in rtx] == [
        (8, 97, 65_535),
        (8, 97, 0),
    ]
    unwrapped = rtp.unwrap_rtx(rtx[0], payload_type=96, ssrc=7)
    assert unwrapped.sequence_number == 5
    assert unwrapped.payload == again_wires.packets[2].payload
    count = len(again_wires.sent)
    again.repair([40_000, 2])  # never sent, and before the first
    assert len(again_wires.sent) == count


def test_repair_of_one_viewer_is_bounded() -> None:
    hall = Hall()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(100_000, key=True)
    hall.run(100)
    sent = sender.octets
    for _ in range(50):
        sender.repair(list(range(10, 90)))
    again = sum(len(p.payload) for p in wires.packets) - sent
    assert again <= (128 << 10) + sent // 4


def test_a_wish_for_every_packet_there_can_be_is_looked_through_only_so_far() -> None:
    hall = Hall()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(3000, key=True)
    hall.run(100)
    sent = len(wires.packets)
    sender.repair(list(range(1000, 1000 + MOST_ASKED)) + list(range(10, 13)))
    assert len(wires.packets) == sent
    sender.repair(list(range(65_536)))
    assert len(wires.packets) == 2 * sent


def test_what_has_left_the_ring_is_not_sent_again() -> None:
    hall = Hall()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(key=True)
    for _ in range(RING + 10):
        hall.put(10)
    count = len(wires.sent)
    sender.repair([10])
    assert len(wires.sent) == count


def test_a_viewer_changes_rungs_at_a_key_frame_without_a_gap_in_its_numbers() -> None:
    hall = Hall()
    other = hall.make()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(key=True)
    sender.play(other)
    assert hall.asked == 2
    hall.put(track=other)
    hall.put()
    hall.put(key=True, track=other)
    hall.put()
    hall.put(track=other)
    hall.run(40)
    numbers = [p.sequence_number for p in wires.packets]
    assert numbers == list(range(10, 10 + len(numbers)))
    times = sorted({(p.timestamp - 1000) // 3600 for p in wires.packets})
    assert times == [0, 2, 3, 5]
    assert len(hall.track) == 0 and len(other) == 1
    sender.repair(numbers)
    assert sender.repaired == len(numbers)


def test_reports_of_both_tracks_name_one_moment() -> None:
    hall = Hall()
    sound = hall.make(video=False, origin=77)
    picture, picture_wires = hall.viewer()
    voice, voice_wires = hall.viewer()
    picture.play(hall.track)
    voice.play(sound)
    hall.put(key=True)
    sound.put(Packet(b"opus", 4800, 4800, 960, Fraction(1, 48_000), True, "audio/opus"))
    hall.run(500)
    picture.report(b"us")
    voice.report(b"us")
    reports = [rtp.RtcpPacket.parse(wires.controls[0]) for wires in (picture_wires, voice_wires)]
    infos = [report[0].sender_info for report in reports]
    assert infos[0].ntp_timestamp == infos[1].ntp_timestamp
    assert infos[0].rtp_timestamp == 1000 + 45_000
    assert infos[1].rtp_timestamp == 77 + 24_000
    assert infos[0].packet_count == 1 and infos[1].octet_count == 4
    assert reports[0][1].chunks[0].items == [(1, b"us")]


def test_sound_is_sent_from_where_it_is() -> None:
    hall = Hall(video=False)
    sender, wires = hall.viewer()
    base = Fraction(1, 48_000)
    hall.track.put(Packet(b"before", 0, 0, 960, base, True, "audio/opus"))
    sender.play(hall.track)
    hall.track.put(Packet(b"after", 960, 960, 960, base, True, "audio/opus"))
    assert [p.payload for p in wires.packets] == [b"after"]
    assert hall.asked == 0


def test_a_report_and_a_goodbye_are_read_by_others() -> None:
    assert ntp(0) >> 32 == 2_208_988_800
    data = sender_report(9, ntp_time=ntp(10**18), timestamp=3, packets=4, octets=5, cname=b"abc")
    report, sdes = rtp.RtcpPacket.parse(data)
    assert (report.ssrc, report.sender_info.octet_count, sdes.chunks[0].ssrc) == (9, 5, 9)
    assert rtp.RtcpPacket.parse(goodbye(9))[0].sources == [9]
    assert struct.unpack(">I", goodbye(9)[4:])[0] == 9


def test_a_viewer_that_left_gets_nothing() -> None:
    hall = Hall()
    sender, wires = hall.viewer()
    sender.play(hall.track)
    hall.put(key=True)
    sender.stop()
    count = len(wires.sent)
    hall.put(key=True)
    sender.repair([10])
    assert len(wires.sent) == count and len(hall.track) == 0
