"""RFC 6381 names against what encoders really give."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from streamgen.deliver.codecs import codec_string
from streamgen.errors import OutputError
from streamgen.media.tracks import EncodedTrack

from .conftest import encode_audio, encode_video


def track_with(codec: str, extradata: bytes) -> EncodedTrack:
    template: Any = SimpleNamespace(codec_context=SimpleNamespace(extradata=extradata))
    return EncodedTrack("video/x", "video", codec, Fraction(1, 90_000), template)


@pytest.mark.parametrize(
    ("profile", "level", "name"),
    [
        ("baseline", "3.1", "avc1.42C01F"),
        ("main", "4.0", "avc1.4D4028"),
        ("high", "4.1", "avc1.640029"),
    ],
)
def test_an_h264_track_is_named_by_profile_constraints_and_level(
    profile: str, level: str, name: str
) -> None:
    options = {"preset": "ultrafast", "profile": profile, "level": level}
    if profile == "high":
        options["x264-params"] = "8x8dct=1:cabac=1"
    elif profile == "main":
        options["x264-params"] = "cabac=1"
    encoded = encode_video(options=options, times=range(0, 3600 * 3, 3600))
    assert codec_string(encoded.track) == name


def test_an_avcc_record_and_annex_b_give_the_same_name() -> None:
    record = bytes.fromhex("014d401fffe1000a674d401f8d8d4028021e01000468ee3880")
    annex_b = bytes.fromhex("00000001674d401f8d8d40280000000168ee3880")
    assert codec_string(track_with("h264", record)) == "avc1.4D401F"
    assert codec_string(track_with("h264", annex_b)) == "avc1.4D401F"


def test_hevc_is_named_from_a_record_as_apple_writes_it() -> None:
    main = bytes.fromhex("0101600000009000000000005df000fcfdf8f800000f00")
    high_tier = bytes.fromhex("0122200000009000000000009900")
    assert codec_string(track_with("hevc", main)) == "hvc1.1.6.L93.90"
    assert codec_string(track_with("hevc", high_tier)) == "hvc1.2.4.H153.90"


def test_hevc_is_named_from_the_parameter_sets_of_x265() -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=none:level-idc=31"}
    encoded = encode_video(codec="libx265", options=options, times=range(0, 3600 * 3, 3600))
    assert codec_string(encoded.track) == "hvc1.1.6.L93.90"


def test_av1_is_named_from_a_record_and_from_svt_av1() -> None:
    assert codec_string(track_with("av1", bytes.fromhex("81050c00"))) == "av01.0.05M.08"
    assert codec_string(track_with("av1", bytes.fromhex("8149cc00"))) == "av01.2.09H.10"
    encoded = encode_video(
        codec="libsvtav1", options={"preset": "12"}, times=range(0, 3600 * 3, 3600)
    )
    assert codec_string(encoded.track) == "av01.0.00M.08"


def test_audio_is_named_by_its_object_type() -> None:
    assert codec_string(encode_audio(seconds=0.1).track) == "mp4a.40.2"
    assert codec_string(track_with("aac", bytes.fromhex("2b1188"))) == "mp4a.40.5"
    assert codec_string(track_with("aac", bytes.fromhex("f8463000"))) == "mp4a.40.34"
    assert codec_string(encode_audio(codec="libopus", seconds=0.1).track) == "opus"
    assert codec_string(track_with("ac3", b"")) == "ac-3"


@pytest.mark.parametrize(("codec", "extradata"), [("h264", b""), ("hevc", b""), ("vorbis", b"x")])
def test_a_track_that_cannot_be_named_is_refused(codec: str, extradata: bytes) -> None:
    with pytest.raises(OutputError, match="video/x"):
        codec_string(track_with(codec, extradata))
