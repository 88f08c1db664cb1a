"""Viewers that say nonsense, ask without end, or come in crowds disturb no other viewer."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import socket
import struct
import time
from typing import Any

import pytest

from streamgen_edge.webrtc.app import WebRtcApp
from tests.edge.webrtc.peers import Watching, looped
from tests.edge.webrtc.studio import ask
from tests.edge.webrtc.test_http import offer
from tests.edge.webrtc.test_whep import media, playing, watching

STEP = 3600
"""Between two pictures, in 1/90000 s."""


def feedback(kind: int, form: int, body: bytes, *, source: int = 0) -> bytes:
    """One RTCP feedback message (RFC 4585, 6.1)."""
    return struct.pack(">BBHII", 0x80 | form, kind, 2 + len(body) // 4, 1, source) + body


def remb(mantissa: int, exponent: int, source: int) -> bytes:
    rate = bytes([1, exponent << 2 | mantissa >> 16]) + (mantissa & 0xFFFF).to_bytes(2, "big")
    return feedback(206, 15, b"REMB" + rate + struct.pack(">I", source))


def sources(app: WebRtcApp) -> list[int]:
    return [one._ssrc for viewing in media(app) for one in viewing.feedback.values()]


def nonsense(source: int) -> list[bytes]:
    """RTCP that a peer may send, but never does."""
    dice = random.Random(source)
    all_lost = b"".join(struct.pack(">HH", pid, 0xFFFF) for pid in range(0, 17 * 300, 17))
    return [
        struct.pack(">BBH31I", 0x80 | 31, 203, 31, *([source] * 31)),  # BYE for all
        struct.pack(">BBH", 0x80 | 31, 203, 0) + bytes(4),
        feedback(205, 1, all_lost, source=source),
        feedback(205, 15, struct.pack(">HHI", 1, 0xFFFF, 0xFFFFFF01), source=source),  # TWCC
        feedback(205, 15, b"", source=source),
        remb(0, 0, source),
        remb(0x3FFFF, 63, source),
        feedback(206, 15, b"REMB\xff\xff\xff\xff", source=source),
        feedback(206, 4, struct.pack(">IBBH", source, 1, 0, 0), source=source),
        struct.pack(">BBH", 0x80 | 31, 201, 1) + bytes(4),  # 31 reports that are not there
        struct.pack(">BBH", 0x80, 200, 0xFFFF) + bytes(40),
        *(bytes([0x80 | dice.randrange(32), 192 + n % 17]) + dice.randbytes(42) for n in range(20)),
    ]


async def say(viewer: Watching, messages: list[bytes]) -> None:
    dtls: Any = viewer.peer.getTransceivers()[0].receiver.transport
    for message in messages:
        await dtls._send_rtp(message)


def every_picture(frames: list[Any]) -> bool:
    return {b.pts - a.pts for a, b in itertools.pairwise(frames)} == {STEP}


@looped
async def test_reports_that_make_no_sense_disturb_nobody() -> None:
    async with playing(gop=25) as (app, _), watching(app) as bad, watching(app) as good:
        await asyncio.gather(bad.frames(5), good.frames(5))
        seeing = asyncio.create_task(good.frames(40))
        for source in [*sources(app), 0, 0xFFFFFFFF]:
            await say(bad, nonsense(source))
            await asyncio.sleep(0.1)
        assert every_picture(await seeing)
        assert len(app.sessions) == 2
        await bad.frames(5)


@looped
async def test_datagrams_of_strangers_end_no_session() -> None:
    async with playing(gop=25) as (app, _), watching(app) as good:
        await good.frames(5)
        connection: Any = media(app)[0].peer.getTransceivers()[0].receiver.transport.transport
        address = connection._connection._protocols[0].plain_socket.getsockname()
        dice = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for kind in (b"", b"\0", b"\x14", b"\x16", b"\x80", b"\x90", b"\xbf", b"\xff"):
                for length in (0, 1, 12, 60):
                    stranger.sendto(kind + dice.randbytes(length if kind else 0), address)
        assert every_picture(await good.frames(40))
        assert len(app.sessions) == 1


@looped
async def test_rtp_with_a_header_extension_of_the_wrong_length_ends_nothing() -> None:
    async with playing(gop=25) as (app, _), watching(app) as bad:
        await bad.frames(5)
        dtls: Any = media(app)[0].peer.getTransceivers()[0].receiver.transport
        ids = dtls._rtp_header_extensions_map._HeaderExtensionsMap__ids
        ids.transport_sequence_number = 3
        head = struct.pack(">BBHII", 0x90, 111, 1, 1, 1) + struct.pack(
            ">HHBBBB", 0xBEDE, 1, 48, 1, 0, 0
        )
        await say(bad, [head + b"payload"])
        assert every_picture(await bad.frames(20))


@pytest.mark.parametrize("wish", ["PLI", "FIR", "NACK"])
@looped
async def test_a_storm_of_wishes_disturbs_nobody(wish: str) -> None:
    async with playing(gop=250) as (app, show), watching(app) as bad, watching(app) as good:
        await asyncio.gather(bad.frames(5), good.frames(5))
        asked, sent = len(show.asked), octets(app)
        storm = {
            "PLI": lambda source: feedback(206, 1, b"", source=source),
            "FIR": lambda source: feedback(206, 4, struct.pack(">II", source, 0), source=source),
            "NACK": lambda source: nonsense(source)[2],
        }[wish]
        seeing = asyncio.create_task(good.frames(40))
        some = [storm(source) for source in sources(app)]
        began = time.monotonic()
        while not seeing.done():
            await say(bad, some * 2)
            await asyncio.sleep(0.004)
        assert every_picture(await seeing)
        took = time.monotonic() - began
        assert len(show.asked) - asked <= took + 2
        repaired = [one.senders["video"].repaired for one in media(app)]
        assert octets(app) >= sent and max(repaired) < 400


def octets(app: WebRtcApp) -> int:
    return sum(one.senders["video"].octets for one in media(app))


@looped
async def test_a_viewer_that_never_reads_costs_nobody_anything() -> None:
    async with playing(gop=25) as (app, _), watching(app) as deaf, watching(app) as good:
        await asyncio.gather(deaf.frames(2), good.frames(2))
        dtls: Any = deaf.peer.getTransceivers()[0].receiver.transport

        async def nothing(data: bytes, arrival_time_ms: int) -> None:
            """Its pictures go nowhere."""

        dtls._handle_rtp_data = nothing
        assert every_picture(await good.frames(50))
        assert len(app.sessions) == 2


@looped
async def test_two_hundred_who_join_at_once_are_answered_and_forgotten() -> None:
    async with playing(gop=25) as (app, _), watching(app) as good:
        await good.frames(5)
        text = await offer()
        began = time.monotonic()

        async def join() -> int:
            return (await ask(app, "POST", "/whep/show", text)).status

        seeing = asyncio.create_task(good.frames(50))
        statuses = await asyncio.gather(*(join() for _ in range(200)))
        print("200 offers answered in", round(time.monotonic() - began, 2))
        assert set(statuses) == {201}
        shown = await seeing
        assert every_picture(shown[5:])
        for place in list(app.sessions)[1:]:
            assert (await ask(app, "DELETE", place)).status == 200
        assert len(app.sessions) == 1
        await good.frames(5)


@looped
async def test_packets_of_strangers_are_passed_over() -> None:
    async with playing(gop=25) as (app, _), watching(app) as good:
        await good.frames(5)
        found = re.search(r" udp \d+ 127\.0\.0\.1 (\d+) typ host", good.answer.text)
        assert found is not None
        loop, dice = asyncio.get_running_loop(), random.Random(3)
        stranger, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", int(found[1]))
        )
        hello = b"\x16\xfe\xff" + bytes(8) + b"\x00\x40\x01" + dice.randbytes(63)
        stun = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + dice.randbytes(20)
        answer = b"\x01\x01\x00\x00\x21\x12\xa4\x42" + dice.randbytes(12)
        seeing = asyncio.create_task(good.frames(40))
        while not seeing.done():
            for data in (hello, stun, answer, b"", b"\x80" + dice.randbytes(50), b"\x16", b"\0"):
                stranger.sendto(data)
            await asyncio.sleep(0.002)
        assert every_picture(await seeing)
        stranger.close()
