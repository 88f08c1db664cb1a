from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from streamgen.media.packet import Packet
from streamgen_edge.rtmp.demux import Demuxer, Track
from streamgen_edge.rtmp.limits import ProtocolError
from streamgen_edge.rtmp.messages import AUDIO, VIDEO, Message

from .client import AAC_CONFIG, AAC_FRAME, CONFIG, IDR, NEXT, PPS, SPS

START = b"\0\0\0\1"
PARAMETERS = START + SPS + START + PPS
SLICE = bytes.fromhex("6588840000")
OPUS = b"OpusHead" + bytes([1, 2]) + bytes(9)
SEQUENCE = bytes.fromhex("0a0b00000004470db4f55c0002")
AV1C = b"\x81\x00\x0c\x00" + SEQUENCE


class Rig:
    """A demuxer, what it counted and what it gave."""

    def __init__(self, most_tracks: int = 8) -> None:
        self.counts: Counter[str] = Counter()
        self.demuxer = Demuxer(most_tracks=most_tracks, count=self.count)

    def count(self, reason: str) -> None:
        self.counts[reason] += 1

    def video(self, body: bytes, at: int = 0) -> list[Any]:
        return self.demuxer.feed(Message(VIDEO, 1, at, bytearray(body)))

    def audio(self, body: bytes, at: int = 0) -> list[Any]:
        return self.demuxer.feed(Message(AUDIO, 1, at, bytearray(body)))


def enhanced(packet: int, codec: bytes, body: bytes, *, key: bool = True) -> bytes:
    """A tag of E-RTMP with a picture."""
    return bytes([0x80 | (1 if key else 2) << 4 | packet]) + codec + body


def units(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def hvcc() -> bytes:
    arrays = b"".join(
        bytes([0x80 | kind]) + b"\0\1" + len(unit).to_bytes(2, "big") + unit
        for kind, unit in ((32, VPS), (33, HSPS), (34, HPPS), (39, b"\x4e\x01name"))
    )
    return b"\x01" + bytes(20) + b"\xff\x04" + arrays


VPS = bytes.fromhex("40010c01ffff01600000030090000003000003003c959409")
HSPS = bytes.fromhex(
    "420101016000000300900000030000030" + "03ca00a080f16595952930bc05a020000030002000003003210"
)
HPPS = bytes.fromhex("4401c073c189")


def test_a_picture_track_is_described_by_its_sequence_header() -> None:
    (track,) = Rig().video(CONFIG)
    assert track == Track("video/0", "h264", PARAMETERS, Fraction(1, 1000), 320, 240)


def test_a_key_picture_carries_its_parameter_sets_and_others_do_not() -> None:
    rig = Rig()
    rig.video(CONFIG)
    (key,) = rig.video(IDR, 40)
    assert bytes(key.data) == PARAMETERS + START + SLICE
    assert (key.pts, key.dts, key.keyframe, key.track) == (40, 40, True, "video/0")
    (following,) = rig.video(NEXT, 80)
    assert bytes(following.data) == START + bytes.fromhex("419a000001")
    assert not following.keyframe and not rig.counts


def test_parameter_sets_in_the_stream_are_not_doubled() -> None:
    rig = Rig()
    rig.video(CONFIG)
    (key,) = rig.video(b"\x17\x01\0\0\0" + units(SPS, PPS, SLICE))
    assert bytes(key.data) == PARAMETERS + START + SLICE


def test_parameter_sets_come_behind_the_delimiter() -> None:
    rig = Rig()
    rig.video(CONFIG)
    (key,) = rig.video(b"\x17\x01\0\0\0" + units(b"\x09\xf0", SLICE))
    assert bytes(key.data) == START + b"\x09\xf0" + PARAMETERS + START + SLICE


@pytest.mark.parametrize("offset", [80, -40, 0x7FFFFF, -0x800000])
def test_composition_offsets_may_be_negative(offset: int) -> None:
    rig = Rig()
    rig.video(CONFIG)
    (packet,) = rig.video(b"\x27\x01" + (offset & 0xFFFFFF).to_bytes(3, "big") + NEXT[5:], 1000)
    assert (packet.pts, packet.dts) == (1000 + offset, 1000)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_shorter_lengths_are_read_too(size: int) -> None:
    rig = Rig()
    config = bytearray(CONFIG)
    config[9] = 0xFC | size - 1
    rig.video(bytes(config))
    body = b"".join(len(nal).to_bytes(size, "big") + nal for nal in (b"\x06\x01", SLICE))
    (key,) = rig.video(b"\x17\x01\0\0\0" + body)
    assert bytes(key.data) == PARAMETERS + START + b"\x06\x01" + START + SLICE


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (units(SLICE)[:-1], "damaged"),
        (b"\xff\xff\xff\xff" + SLICE, "damaged"),
        (b"\0\0\0", "damaged"),
        (b"", "empty"),
        (units(b"\x06\x01\x02"), "no_picture"),
        (units(b""), "no_picture"),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out_and_counted(body: bytes, reason: str) -> None:
    rig = Rig()
    rig.video(CONFIG)
    assert rig.video(b"\x17\x01\0\0\0" + body) == []
    assert rig.counts == {reason: 1}
    assert len(rig.video(IDR)) == 1


@pytest.mark.parametrize(
    "body", [b"\x17\x01\0\0", b"\x17\x00\0\0\0", b"\x17\x00\0\0\0\2" + bytes(9)]
)
def test_headers_that_are_cut_or_of_another_version_are_counted(body: bytes) -> None:
    rig = Rig()
    assert rig.video(body) == []
    assert rig.counts == {"damaged": 1}


def test_a_picture_before_its_sequence_header_is_left_out() -> None:
    rig = Rig()
    assert rig.video(IDR) == [] and rig.audio(AAC_FRAME) == []
    assert rig.counts == {"no_config": 2}


def test_without_any_sps_a_stream_waits_for_one_in_band() -> None:
    rig = Rig()
    (track,) = rig.video(b"\x17\x00\0\0\0" + b"\x01\x42\xc0\x0d\xff\xe0\x00")
    assert (track.extradata, track.width) == (b"", 0)
    assert rig.video(IDR) == [] and rig.video(NEXT) == []
    assert rig.counts == {"no_config": 2}
    (key,) = rig.video(b"\x17\x01\0\0\0" + units(SPS, PPS, SLICE))
    assert bytes(key.data) == PARAMETERS + START + SLICE
    assert len(rig.video(NEXT)) == 1


def test_start_codes_against_the_rules_are_taken_as_they_are() -> None:
    rig = Rig()
    rig.video(CONFIG)
    body = START + SPS + START[1:] + PPS + START[1:] + SLICE
    (key,) = rig.video(b"\x17\x01\0\0\0" + body)
    assert bytes(key.data) == body and key.keyframe


def test_a_key_is_what_can_be_decoded_first_not_what_the_tag_says() -> None:
    rig = Rig()
    rig.video(CONFIG)
    unmarked, marked = rig.video(b"\x27" + IDR[1:]) + rig.video(b"\x17" + NEXT[1:])
    assert (unmarked.keyframe, marked.keyframe) == (True, False)


def test_a_stream_without_idr_begins_at_what_its_tags_call_keys() -> None:
    rig = Rig()
    rig.video(CONFIG)
    (packet,) = rig.video(b"\x17" + NEXT[1:])
    assert packet.keyframe and bytes(packet.data).startswith(PARAMETERS)


def test_a_changed_sequence_header_describes_the_track_anew() -> None:
    rig = Rig()
    rig.video(CONFIG)
    assert rig.video(CONFIG) == []
    other = CONFIG.replace(PPS, b"\x68\xce\x0f\xc9")
    (track,) = rig.video(other)
    assert track.name == "video/0" and track.extradata.endswith(b"\xc9")
    (key,) = rig.video(IDR)
    assert bytes(key.data).startswith(track.extradata)


def test_a_codec_that_changes_is_described_anew() -> None:
    rig = Rig()
    rig.audio(AAC_CONFIG)
    assert rig.audio(b"\x91Opus\x01\x02") == [] and rig.counts == {"no_config": 1}
    (track,) = rig.audio(b"\x90Opus" + OPUS)
    assert (track.name, track.codec) == ("audio/0", "opus")


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


@pytest.mark.parametrize(
    "body", [b"\x12\x00\0\0\0\0", enhanced(0, b"vvc1", b"xx"), b"\xa0\0\0\0\0"]
)
def test_a_picture_in_an_unknown_codec_ends_the_publishing_with_the_choice(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"H\.264, HEVC, AV1 or VP9"):
        Rig().video(body)


@pytest.mark.parametrize("body", [b"\xb2\x00\x00", b"\x91zzzz\x00"])
def test_sound_in_an_unknown_codec_is_counted(body: bytes) -> None:
    rig = Rig()
    assert rig.audio(body) == [] and rig.counts == {"unsupported": 1}


@pytest.mark.parametrize(
    ("config", "frame", "codec", "rate", "channels"),
    [
        (AAC_CONFIG, AAC_FRAME, "aac", 48000, 2),
        (b"\xaf\x00\x13\x90\x56\xe5\xa0", AAC_FRAME, "aac", 22050, 2),
        (b"\xaf\x00\x17\x80\x5d\xc0\x08", AAC_FRAME, "aac", 48000, 1),
        (b"\xaf\x00\x11\xb8", AAC_FRAME, "aac", 48000, 8),
        (b"\x90mp4a\x12\x10", b"\x91mp4aab", "aac", 44100, 2),
        (b"\x90Opus" + OPUS, b"\x91Opusab", "opus", 48000, 2),
        (b"\x90fLaC" + bytes(10) + b"\x0b\xb8\x02" + bytes(21), b"\x91fLaCab", "flac", 48000, 2),
        (None, b"\x91ac-3ab", "ac3", 0, 0),
        (None, b"\x91ec-3ab", "eac3", 0, 0),
        (None, b"\x91.mp3ab", "mp3", 0, 0),
        (None, b"\x2fab", "mp3", 44100, 2),
        (None, b"\x7eab", "pcm_alaw", 8000, 1),
    ],
)
def test_sound_tracks_say_codec_rate_and_channels(
    config: bytes | None, frame: bytes, codec: str, rate: int, channels: int
) -> None:
    rig = Rig()
    out = (rig.audio(config) if config else []) + rig.audio(frame, 20)
    track, packet = out
    assert (track.name, track.codec) == ("audio/0", codec)
    assert (track.rate_hz, track.channels) == (rate, channels)
    assert (packet.pts, packet.dts, packet.keyframe) == (20, 20, True)
    assert bytes(frame).endswith(bytes(packet.data)) and len(packet.data) >= 2


@pytest.mark.parametrize("config", [b"\x00\x00", b"\x17\x88", b"\x11", b"\xff\xff\xff"])
def test_a_sound_configuration_that_is_none_is_counted(config: bytes) -> None:
    rig = Rig()
    assert rig.audio(b"\xaf\x00" + config) == [] and rig.counts == {"damaged": 1}


def test_an_adts_header_is_taken_off() -> None:
    rig = Rig()
    rig.audio(AAC_CONFIG)
    adts = bytes.fromhex("fff14c80017ffc") + b"\x21\x10\x04\x05"
    (packet,) = rig.audio(b"\xaf\x01" + adts)
    assert bytes(packet.data) == b"\x21\x10\x04\x05" and rig.counts == {"adts": 1}


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


def test_wraps_are_counted_and_mended() -> None:
    rig = Rig()
    rig.audio(AAC_CONFIG, 2**32 - 10)
    one, two = rig.audio(AAC_FRAME, 2**32 - 10) + rig.audio(AAC_FRAME, 11)
    assert (one.pts, two.pts) == (2**32 - 10, 2**32 + 11)
    assert rig.counts == {"wrap": 1}
