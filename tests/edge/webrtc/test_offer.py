"""Offers are made safe, answers are made right for the client."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen_edge.webrtc.choice import NoRung, choose
from streamgen_edge.webrtc.offer import BadOffer, read_offer, rebuilt
from tests.edge.webrtc.studio import Facts

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=some encoder\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n"
HEAD += "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\n"
HEAD += "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
SOUND = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n"
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n"
PICTURE = (
    "m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=mid:2\r\na=recvonly\r\n"
    "a=candidate:1 1 udp 2113937151 0a1b.local 5000 typ host\r\n"
    "a=candidate:2 1 UDP 2113937151 192.0.2.7 5000 typ host\r\na=end-of-candidates\r\n"
    "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"
    "a=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=1;profile-level-id=42e034\r\n"
)


def read(text: str, candidates: bool = False) -> object:
    return read_offer(text, direction=("recvonly",), candidates=candidates)


def test_other_media_are_left_out_and_refused_in_their_place() -> None:
    offer = read_offer(HEAD + SOUND + DATA + PICTURE, direction=("recvonly",), candidates=False)
    assert offer.kinds == ["audio", "video"] and "application" not in offer.text
    assert "a=group:BUNDLE 0 2\r\n" in offer.text
    mine = HEAD + "m=audio 7 X 111\r\na=mid:0\r\n" + "m=video 7 X 102\r\na=mid:2\r\n"
    answer = rebuilt(mine, offer, lambda address: [address])
    lines = re.findall(r"m=(\w+) (\d+)", answer)
    assert lines == [("audio", "7"), ("application", "0"), ("video", "7")]
    assert re.findall(r"a=mid:(\d)", answer) == ["0", "1", "2"]


def test_a_second_camera_is_refused() -> None:
    text = HEAD.replace(" 2\r", " 2 3\r") + SOUND + DATA + PICTURE
    offer = read_offer(
        text + PICTURE.replace("mid:2", "mid:3"), direction=("recvonly",), candidates=False
    )
    assert offer.kept == [0, 2]


def test_candidates_are_knocked_at_only_where_we_must_and_names_never() -> None:
    text = HEAD + SOUND + DATA + PICTURE
    assert "a=candidate" not in read_offer(text, direction=("recvonly",), candidates=False).text
    kept = read_offer(text, direction=("recvonly",), candidates=True).text
    assert "192.0.2.7" in kept and ".local" not in kept and "end-of-candidates" not in kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a session description"),
        ("v=0\r\ns=-\r\n", "no media"),
        (HEAD + DATA, "no sound and no picture"),
        (HEAD + SOUND.replace("recvonly", "sendonly"), "'sendonly'"),
        (HEAD.replace("a=group:BUNDLE 0 1 2\r\n", "") + SOUND + PICTURE, "bundled"),
        (HEAD + SOUND * 33, "too many"),
        (HEAD + SOUND + "m=x\r\n", "cut short"),
        (HEAD + SOUND + "a=x\x0ba=candidate:1 1 udp 1 127.0.0.1 5000 typ host\r\n", "line break"),
        (HEAD + SOUND + "a=x\ra=candidate:1 1 udp 1 169.254.0.1 80 typ host\r\n", "line break"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadOffer, match=reason):
        read(text)


@given(st.text(max_size=300), st.integers(0, 800))
def test_any_text_is_read_or_refused(noise: str, at: int) -> None:
    text = HEAD + SOUND + DATA + PICTURE
    try:
        read(text[:at] + noise + text[at + len(noise) :])
    except BadOffer:
        return


def test_clients_are_told_the_advertised_addresses() -> None:
    offer = read_offer(HEAD + SOUND + PICTURE, direction=("recvonly",), candidates=False)
    mine = (
        HEAD + "m=audio 7 X 111\r\nc=IN IP4 10.0.0.1\r\n"
        "a=candidate:1 1 udp 2130706431 10.0.0.1 50000 typ host\r\n" + "m=video 7 X 102\r\n"
    )
    answer = rebuilt(mine, offer, lambda _: ["198.51.100.1", "198.51.100.2"])
    assert "10.0.0.1" not in answer and "c=IN IP4 198.51.100.1" in answer
    found = re.findall(r"udp (\d+) (\S+) 50000", answer)
    assert [address for _, address in found] == ["198.51.100.1", "198.51.100.2"]
    assert int(found[0][0]) > int(found[1][0])


def test_the_level_is_that_of_the_payload_type() -> None:
    offer = read_offer(HEAD + SOUND + PICTURE, direction=("recvonly",), candidates=False)
    assert (offer.level(102), offer.level(103), offer.level(9)) == (0x1F, 0x34, 0x1F)


def test_payload_types_that_are_none_are_passed_over() -> None:
    long = "1" * 5000
    lines = f"a=fmtp:{long} x=1\r\na=rtpmap:{long} H264/90000\r\n"
    offer = read_offer(HEAD + PICTURE + lines, direction=("recvonly",), candidates=False)
    assert offer.level(9) == 0x1F and offer.payload_types("video", "H264") == [102, 103]


def rung(height: int, level: int, profile: int = 66) -> Facts:
    config = b"\0\0\0\1\x67" + bytes([profile, 0xC0, level, 1])
    return Facts(f"video/{height}p", "video", "h264", height * 16 // 9, height, config)


TRACKS = [
    rung(1080, 40),
    rung(720, 31),
    rung(480, 30),
    rung(240, 13),
    Facts("audio/opus", "audio", "opus"),
]


@pytest.mark.parametrize(
    ("level", "asked", "chosen"),
    [
        (31, {}, "720p"),
        (40, {}, "1080p"),
        (52, {"rung": "480p"}, "480p"),
        (31, {"size": "900x500"}, "480p"),
        (31, {"size": "10x10"}, "240p"),
        (31, {"size": "nonsense"}, "720p"),
    ],
)
def test_a_viewer_gets_the_best_rung_that_it_may_and_wants(
    level: int, asked: dict[str, str], chosen: str
) -> None:
    assert choose(TRACKS, level, asked)[0].name == f"video/{chosen}"


@pytest.mark.parametrize(
    ("tracks", "asked", "reason"),
    [
        (TRACKS, {"rung": "1080p"}, "beyond the profile and level"),
        (TRACKS, {"rung": "99p"}, "no rung '99p'"),
        ([rung(720, 31, profile=100)], {}, "no rung is Constrained Baseline"),
    ],
)
def test_never_a_rung_above_the_agreed_level(
    tracks: list[Facts], asked: dict[str, str], reason: str
) -> None:
    with pytest.raises(NoRung, match=reason):
        choose(tracks, 31, asked)
