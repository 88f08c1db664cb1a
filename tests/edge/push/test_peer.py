"""The line of a push: all that comes together leaves whole, in few system calls."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pylibsrtp

from streamgen.deliver.rtp import pack_header
from streamgen_edge.push.peer import GatheringLine

SOUND, PICTURE = 7, 8
"""Sources (SSRC)."""


class Counting(socket.socket):
    calls = 0

    def sendto(self, *args: Any) -> int:
        self.calls += 1
        return super().sendto(*args)

    def sendmsg(self, *args: Any) -> int:
        self.calls += 1
        return super().sendmsg(*args)


def session(kind: int) -> pylibsrtp.Session:
    profile = pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    return pylibsrtp.Session(pylibsrtp.Policy(key=bytes(30), ssrc_type=kind, srtp_profile=profile))


def packet(ssrc: int, number: int, octets: int) -> tuple[bytes, bytes]:
    return pack_header(0x80, 96, number, 3000, ssrc), bytes([number]) * octets


def test_what_comes_together_leaves_in_fewer_calls_and_nothing_is_missing() -> None:
    with (
        Counting(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        Counting(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        theirs.bind(("127.0.0.1", 0))
        theirs.settimeout(10)
        protocol = SimpleNamespace(plain_socket=ours)
        pair = SimpleNamespace(protocol=protocol, remote_addr=theirs.getsockname())
        connection = SimpleNamespace(_nominated={1: pair})
        dtls: Any = SimpleNamespace(
            transport=SimpleNamespace(_connection=connection),
            _tx_srtp=session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
        )
        line = GatheringLine(dtls)
        sounds = [packet(SOUND, 1, 90), packet(SOUND, 2, 80)]
        pieces = [packet(PICTURE, 1, 1200), packet(PICTURE, 2, 1200), packet(PICTURE, 3, 300)]
        line.send([packet(SOUND, 0, 50)])
        assert ours.calls == 1
        with line.gathered():
            for some in ([sounds[0]], [sounds[1]], pieces):
                assert line.send(some)
            assert ours.calls == 1
        if line._segments:  # of UDP, which the kernel may not have
            assert ours.calls == 3
        heard = session(pylibsrtp.Policy.SSRC_ANY_INBOUND)
        came = [heard.unprotect(theirs.recv(2000)) for _ in range(6)]
        assert came[1:] == [head + body for head, body in [*sounds, *pieces]]
