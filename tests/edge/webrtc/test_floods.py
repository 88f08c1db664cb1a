"""More datagrams than anybody asked for, from an address that nobody knows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import Any

from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.test_bad_viewers import every_picture, media, playing, watching

COOKIE = b"\x21\x12\xa4\x42"
BINDING_ERROR = b"\1\x11"
LONGEST = 64
"""Bytes of an answer: nobody is flooded by way of us."""
DATAGRAMS = 4000


def request(dice: random.Random, attributes: bytes = b"") -> bytes:
    """A STUN binding request (RFC 8489, 5)."""
    return b"\0\1" + len(attributes).to_bytes(2, "big") + COOKIE + dice.randbytes(12) + attributes


@looped
async def test_a_flood_of_stun_from_a_stranger_gets_short_errors_and_disturbs_nobody() -> None:
    async with playing(gop=25) as (app, _), watching(app) as good:
        await good.frames(5)
        connection: Any = media(app)[0].peer.getTransceivers()[0].receiver.transport.transport
        address = connection._connection._protocols[0].plain_socket.getsockname()
        dice = random.Random(1)
        user = b"\0\6\0\x04none" + b"\0\x08\0\x14" + dice.randbytes(20)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            seeing = asyncio.create_task(good.frames(50))
            for _ in range(DATAGRAMS // 40):
                for number in range(40):
                    stranger.sendto(request(dice, user if number % 2 else b""), address)
                await asyncio.sleep(0.01)
            assert every_picture(await seeing)
            answers = heard(stranger)
        assert answers and all(one.startswith(BINDING_ERROR) for one in answers)
        assert max(map(len, answers)) <= LONGEST
        assert len(app.sessions) == 1


def heard(sock: socket.socket) -> list[bytes]:
    """Datagrams that came back."""
    out: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            out.append(sock.recv(2048))
    return out
