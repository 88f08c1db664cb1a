from __future__ import annotations

from fractions import Fraction

import pytest

from streamgen_edge.rtmp.demux import Track
from streamgen_edge.rtmp.limits import ProtocolError

from .client import AAC_CONFIG, AAC_FRAME, CONFIG, IDR, NEXT, PPS, SPS
from .payloads import OPUS, PARAMETERS, SLICE, START, Rig, enhanced, units


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


def test_wraps_are_counted_and_mended() -> None:
    rig = Rig()
    rig.audio(AAC_CONFIG, 2**32 - 10)
    one, two = rig.audio(AAC_FRAME, 2**32 - 10) + rig.audio(AAC_FRAME, 11)
    assert (one.pts, two.pts) == (2**32 - 10, 2**32 + 11)
    assert rig.counts == {"wrap": 1}
