from __future__ import annotations

import hmac
import os
import random

import pytest

from streamgen_edge.rtmp.handshake import SIZE, Handshake, digest_at, digest_of, find_digest
from streamgen_edge.rtmp.limits import ProtocolError

PLAYER = b"Genuine Adobe Flash Player 001"
SERVER = b"Genuine Adobe Flash Media Server 001"


def signed(place: int) -> bytes:
    """A C1 as Flash players send it."""
    block = bytearray(bytes(4) + b"\x09\x00\x7c\x02" + os.urandom(SIZE - 8))
    at = digest_at(block, place)
    block[at : at + 32] = digest_of(block, at, PLAYER)
    return bytes(block)


def test_a_simple_handshake_is_echoed_and_what_follows_is_kept() -> None:
    theirs = bytes(8) + os.urandom(SIZE - 8)
    handshake = Handshake(os.urandom)
    answer = handshake.feed(b"\x03" + theirs)
    assert answer[0] == 3 and answer[1:9] == bytes(8) and answer[1 + SIZE :] == theirs
    assert handshake.feed(answer[1 : 1 + SIZE] + b"next") == b""
    assert handshake.done and handshake.rest == b"next"


def test_a_handshake_may_come_byte_by_byte() -> None:
    handshake = Handshake(os.urandom)
    answers = [handshake.feed(bytes([byte])) for byte in b"\x03" + bytes(2 * SIZE)]
    assert [len(a) for a in answers if a] == [1 + 2 * SIZE]
    assert handshake.done and handshake.rest == b""


@pytest.mark.parametrize("place", [8, 772])
def test_a_digest_is_answered_by_digests_in_s1_and_s2(place: int) -> None:
    theirs = signed(place)
    answer = Handshake(os.urandom).feed(b"\x03" + theirs)
    s1, s2 = answer[1 : 1 + SIZE], answer[1 + SIZE :]
    assert s1[4] and find_digest(s1, SERVER) is not None
    crown = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
    at = digest_at(theirs, place)
    key = hmac.digest(SERVER + crown, theirs[at : at + 32], "sha256")
    assert s2[-32:] == hmac.digest(key, s2[:-32], "sha256")


def test_a_wrong_digest_is_answered_in_the_simple_form() -> None:
    theirs = bytearray(signed(8))
    theirs[-1] ^= 1
    answer = Handshake(os.urandom).feed(b"\x03" + theirs)
    assert answer[1 + SIZE :] == theirs


def test_what_c2_says_does_not_matter() -> None:
    handshake = Handshake(os.urandom)
    handshake.feed(b"\x03" + bytes(SIZE))
    handshake.feed(random.Random(1).randbytes(SIZE))
    assert handshake.done


@pytest.mark.parametrize("version", [6, 8, 9])
def test_rtmpe_is_refused_with_the_way_out(version: int) -> None:
    with pytest.raises(ProtocolError, match="rtmps"):
        Handshake(os.urandom).feed(bytes([version]))


@pytest.mark.parametrize("version", [0, 2, 4, ord("G"), 255])
def test_what_is_not_rtmp_is_refused_at_its_first_byte(version: int) -> None:
    with pytest.raises(ProtocolError, match=f"first byte is {version}"):
        Handshake(os.urandom).feed(bytes([version]))


def test_tls_on_the_plain_port_is_told_so() -> None:
    with pytest.raises(ProtocolError, match="TLS on a port without TLS"):
        Handshake(os.urandom).feed(b"\x16\x03\x01")
