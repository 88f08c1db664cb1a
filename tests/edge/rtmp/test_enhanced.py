from __future__ import annotations

from fractions import Fraction

import pytest

from streamgen.media.packet import Packet
from streamgen_edge.rtmp.demux import Track

from .client import CONFIG, IDR, NEXT
from .payloads import (
    AV1C,
    HPPS,
    HSPS,
    OPUS,
    SEQUENCE,
    START,
    VPS,
    Rig,
    enhanced,
    hvcc,
    units,
)


@pytest.mark.parametrize("legacy", [True, False])
def test_hevc_comes_by_its_old_number_and_by_its_name(legacy: bool) -> None:
    rig = Rig()
    if legacy:
        (track,) = rig.video(b"\x1c\x00\0\0\0" + hvcc())
        (key,) = rig.video(b"\x1c\x01\x00\x00\x28" + units(b"\x26\x01\xaf"))
    else:
        (track,) = rig.video(enhanced(0, b"hvc1", hvcc()))
        (key,) = rig.video(enhanced(1, b"hvc1", b"\x00\x00\x28" + units(b"\x26\x01\xaf")))
    assert (track.codec, track.width, track.height) == ("hevc", 320, 240)
    assert track.extradata == START + VPS + START + HSPS + START + HPPS
    assert bytes(key.data) == track.extradata + START + b"\x26\x01\xaf"
    assert (key.pts, key.dts, key.keyframe) == (40, 0, True)


def test_coded_frames_x_have_no_offset() -> None:
    rig = Rig()
    rig.video(enhanced(0, b"hvc1", hvcc()))
    (packet,) = rig.video(enhanced(3, b"hvc1", units(b"\x02\x01\xaf"), key=False), 50)
    assert (packet.pts, packet.dts, packet.keyframe) == (50, 50, False)


def test_av1_keys_carry_their_sequence_header() -> None:
    rig = Rig()
    (track,) = rig.video(enhanced(0, b"av01", AV1C))
    assert (track.codec, track.extradata) == ("av1", AV1C)
    frame = b"\x32\x02\xaa\xbb"
    (bare,) = rig.video(enhanced(1, b"av01", frame))
    (whole,) = rig.video(enhanced(1, b"av01", b"\x12\x00" + SEQUENCE + frame))
    (other,) = rig.video(enhanced(1, b"av01", frame, key=False))
    assert bytes(bare.data) == SEQUENCE + frame
    assert bytes(whole.data) == b"\x12\x00" + SEQUENCE + frame
    assert bytes(other.data) == frame


def test_an_obu_with_a_lying_size_is_counted() -> None:
    rig = Rig()
    rig.video(enhanced(0, b"av01", AV1C))
    assert rig.video(enhanced(1, b"av01", b"\x12\xff\xff\x01")) == []
    assert rig.counts == {"damaged": 1}


def test_hdr_metadata_and_ends_of_sequence_change_nothing() -> None:
    rig = Rig()
    rig.video(enhanced(0, b"hvc1", hvcc()))
    assert rig.video(enhanced(4, b"hvc1", b"\x02\x00\x09colorInfo")) == []
    assert rig.video(enhanced(2, b"hvc1", b"")) == []
    assert rig.video(b"\x57\x00") == [] and rig.video(b"") == []
    assert not rig.counts


@pytest.mark.parametrize("many", [True, False])
def test_multitrack_gives_each_track_its_packets(many: bool) -> None:
    rig = Rig()
    rig.video(CONFIG)
    config = CONFIG[5:]
    if many:
        sized = b"".join(bytes([n]) + len(config).to_bytes(3, "big") + config for n in (1, 2))
        found = rig.video(b"\x96\x10avc1" + sized)
    else:
        found = [t for n in (1, 2) for t in rig.video(b"\x96\x00avc1" + bytes([n]) + config)]
    assert [track.name for track in found] == ["video/1", "video/2"]
    (packet,) = rig.video(b"\x96\x01avc1\x02\x00\x00\x00" + IDR[5:], 7)
    assert (packet.track, packet.pts) == ("video/2", 7)


def test_multitrack_may_mix_codecs() -> None:
    rig = Rig()
    parts = b"Opus\x01" + len(OPUS).to_bytes(3, "big") + OPUS + b"mp4a\x02\x00\x00\x02\x11\x90"
    opus, aac = rig.audio(b"\x95\x20" + parts)
    assert (opus.name, opus.codec, aac.name, aac.codec) == ("audio/1", "opus", "audio/2", "aac")


@pytest.mark.parametrize(
    "body",
    [
        b"\x96\x10avc1" + b"\x01\x00\x00\x00" * 2,
        b"\x96\x10avc1\x01\x00\xff\xff",
        b"\x96\x16avc1\x01",
        b"\x96\x30avc1\x01",
        b"\x96",
        b"\x96\x10av",
    ],
    ids=["same id twice", "size", "nested", "form", "short", "codec"],
)
def test_multitrack_that_lies_is_counted(body: bytes) -> None:
    rig = Rig()
    rig.video(CONFIG)
    rig.video(body)
    assert sum(rig.counts.values()) <= 1 and len(rig.video(IDR)) == 1


def test_a_track_that_comes_twice_in_one_tag_is_damage() -> None:
    rig = Rig()
    rig.video(b"\x96\x00avc1\x01" + CONFIG[5:])
    frame = b"\x00\x00\x00" + IDR[5:]
    part = b"\x01" + len(frame).to_bytes(3, "big") + frame
    assert len(rig.video(b"\x96\x11avc1" + part)) == 1
    assert rig.video(b"\x96\x11avc1" + part + part) == []
    assert rig.counts == {"damaged": 1}


def test_tracks_beyond_the_limit_are_left_out() -> None:
    rig = Rig(most_tracks=2)
    for number in range(4):
        rig.video(b"\x96\x00avc1" + bytes([number]) + CONFIG[5:])
    assert rig.counts == {"too_many_tracks": 2}


def test_nanoseconds_give_the_track_a_finer_clock() -> None:
    rig = Rig()
    rig.video(enhanced(0, b"avc1", CONFIG[5:]))
    modified = b"\x97\x02" + (500_000).to_bytes(3, "big") + b"\x01avc1\x00\x00\x0a" + IDR[5:]
    track, packet = rig.video(modified, 40)
    assert isinstance(track, Track) and isinstance(packet, Packet)
    assert track.time_base == packet.time_base == Fraction(1, 90_000)
    assert (packet.dts, packet.pts) == (40 * 90 + 45, 50 * 90 + 45)
    (plain,) = rig.video(enhanced(1, b"avc1", b"\0\0\0" + NEXT[5:], key=False), 80)
    assert (plain.pts, plain.time_base) == (7200, Fraction(1, 90_000))


def test_nanoseconds_that_come_late_do_not_change_the_clock() -> None:
    rig = Rig()
    rig.video(CONFIG)
    rig.video(IDR)
    modified = b"\xa7\x02" + (500_000).to_bytes(3, "big") + b"\x01avc1\0\0\0" + NEXT[5:]
    (packet,) = rig.video(modified, 40)
    assert (packet.pts, packet.time_base) == (40, Fraction(1, 1000))


@pytest.mark.parametrize(
    "body",
    [b"\x97", b"\x97\xff\xff\xff", b"\x97\x02\x00\x00", b"\x97\x00\x00\x07" * 9],
    ids=["bare", "size", "cut", "endless"],
)
def test_a_modifier_that_lies_is_counted(body: bytes) -> None:
    rig = Rig()
    rig.video(CONFIG)
    assert rig.video(body) == []
    assert len(rig.video(IDR)) == 1


def test_a_long_modifier_and_a_strange_one_are_passed_over() -> None:
    rig = Rig()
    rig.video(CONFIG)
    strange = b"\x97\xff\x01\x2b" + bytes(300) + b"\x17\x00\x00\x11avc1\0\0\0"
    (packet,) = rig.video(strange + IDR[5:], 9)
    assert packet.pts == 9
