"""What one edge says of a session is what another one goes on with."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from streamgen.deliver.live import LiveSettings
from streamgen.errors import ConfigError
from streamgen_edge.attachment import OutTrack
from streamgen_edge.passport import LONGEST_BYTES, OVER, Passport, Wishes
from streamgen_edge.push.settings import PushSettings

VIDEO = OutTrack(
    "video/90p", "video", "h264", 160, 90, Fraction(30_000, 1001), 100_000, 0, 0, b"\x01\xff"
)
SOUND = OutTrack("audio/aac", "audio", "aac", 0, 0, None, 128_000, 48_000, 2, bytes.fromhex("1190"))
PASSPORT = Passport(
    session="s" * 22,
    unix_ns=1_700_000_000_123_456_789,
    pipeline={"name": "plain", "stages": []},
    params={"style": {"strength": 0.5}},
    version=3,
    tracks=(VIDEO, SOUND),
    hls=LiveSettings(segment_ns=2_000_000_000),
    wishes=Wishes(
        False, {"a": PushSettings(url="rtmp://192.0.2.1/live/key", id="a"), "configured": None}
    ),
)


def test_a_passport_reads_as_it_was_written() -> None:
    assert Passport.read(PASSPORT.text) == PASSPORT
    plain = replace(PASSPORT, wishes=Wishes())
    assert Passport.read(plain.text) == plain


@pytest.mark.parametrize(
    "changed",
    [
        {"form": 2},
        {"session": "../../etc/passwd/now"},
        {"unix_ns": "soon"},
        {"tracks": [{"name": "video/90p"}]},
        {"hls": {"part": 1}},
        {"push": {"a": {"url": "file:///etc/passwd"}}},
        {"params": [1]},
    ],
)
def test_what_is_no_passport_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Passport.read(json.dumps(json.loads(PASSPORT.text) | changed))


@pytest.mark.parametrize("text", ["", OVER, "{}", "null", "[]", "\0"])
def test_what_is_no_json_of_a_passport_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Passport.read(text)


def test_a_session_that_is_too_much_for_a_passport_has_none() -> None:
    long = replace(PASSPORT, params={"style": {"text": "x" * LONGEST_BYTES}})
    assert long.text == OVER
