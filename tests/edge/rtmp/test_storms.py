"""Thousands of what a server must answer, and acknowledgements, beside a good publisher."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from streamgen_edge.rtmp import Limits
from streamgen_edge.rtmp.answers import WINDOW
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked, user_control
from streamgen_edge.rtmp.messages import ACKNOWLEDGEMENT, DATA, PEER_BANDWIDTH, WINDOW_SIZE

from .beside import house
from .client import CONFIG, S0_S1_S2, command, opening, video
from .peer import IN_TIME, Peer, peer, run, until

MANY = 5_000
STORMS = {
    "pings": (user_control(6, 7), "more than 64 pings"),
    "bandwidths": (chunked(2, PEER_BANDWIDTH, 0, b"\0\0\1\0\2", 128), "more than 512 commands"),
    "streams": (command("createStream", 9, None), "more than 32 streams"),
    "FCPublish": (command("FCPublish", 9, None, "cam"), "more than 512 commands"),
    "unknown": (command("whatIsThis", 9, None), "more than 512 commands"),
    "values": (chunked(5, DATA, 1, b"\5" * 500, 128), "too many values at once"),
    "_checkbw": (command("_checkbw", 9, None), "more than 512 commands"),
}


@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("storm", STORMS)
def test_a_storm_ends_with_its_reason_and_disturbs_nobody(storm: str, read: bool) -> None:
    message, reason = STORMS[storm]

    async def test() -> None:
        async with house() as one, peer(one.server) as bad:
            await bad.publishes("bad")
            await until(lambda: one.basket("bad") and one.basket("bad").packets)  # type: ignore[union-attr]
            if not read:
                bad.reader._transport.pause_reading()  # type: ignore[attr-defined]
            with suppress(ConnectionError):
                for _ in range(MANY // 1000):
                    await bad.says(message * 1000)
            basket = one.basket("bad")
            assert basket is not None
            await until(lambda: basket.end)
            assert basket.end is not None and reason in basket.end.reason
            await one.plays_on()
            if read:
                assert reason.encode() in await bad.hears_all()
            await until(lambda: one.server.clients == 1)
            assert one.counts.seen["rtmp_closed", "protocol"] == 1

    run(test)


@pytest.mark.parametrize("window", [1, 100, 2_500, 70_000])
def test_a_publisher_that_waits_for_acknowledgements_gets_them_in_time(window: int) -> None:
    """In the middle of messages and of reads, too."""
    body = bytes(100_000 if window > 100 else 2_000)
    picture = b"\x27\x01\0\0\0" + (len(body) + 1).to_bytes(4, "big") + b"\x41" + body

    async def test() -> None:
        async with house() as one, peer(one.server) as patient:
            strict = Strict(patient, window)
            await strict.begins("strict")
            await strict.says(chunk_size(65_536) + video(picture, 40, size=65_536) * 2)
            basket = one.basket("strict")
            assert basket is not None
            await until(lambda: len(basket.packets) == 2)
            assert all(len(packet.data) > len(body) for packet in basket.packets)
            assert strict.waited >= 2 * len(body) // window
            await one.plays_on()

    run(test)


def test_who_acknowledges_nothing_is_answered_all_the_same() -> None:
    """Though it asked for an acknowledgement of every byte by us, and we name a window."""
    limits = Limits(commands=1 << 20, values=1 << 20, bytes_per_s_per_address=1 << 30)
    asks = command("whatIsThis", 9, None) * 1000

    async def test() -> None:
        async with house(limits) as one, peer(one.server) as mute:
            await mute.publishes("mute")
            await mute.says(chunked(2, PEER_BANDWIDTH, 0, b"\0\0\0\1\0", 128))
            heard = 0
            while heard < 1.2 * WINDOW:
                await mute.says(asks)
                answers = b""
                while answers.count(b"_error") < 1000:
                    answers += await mute.reader.read(65_536)
                heard += len(answers)
            await one.plays_on()
            basket = one.basket("mute")
            assert basket is not None and basket.end is None

    run(test)


class Strict:
    """A publisher that never sends more than a window beyond what was acknowledged."""

    def __init__(self, peer: Peer, window: int) -> None:
        self.waited = 0
        self._peer = peer
        self._window = window
        self._sent = 0
        self._acknowledged = 0
        self._reader = Chunks(Limits(), proven=True)

    async def begins(self, name: str) -> None:
        """Until it was let in; from then on the window counts."""
        await self._peer.says(opening(name))
        heard = await self._peer.hears(b"Publish.Start")
        while b"is now published" not in heard:
            heard += await self._peer.hears(b"is now published")
        self._reader.feed(heard[S0_S1_S2:])
        start = chunked(2, WINDOW_SIZE, 0, self._window.to_bytes(4, "big"), 128) + video(CONFIG)
        await self._peer.says(start)
        self._sent = self._acknowledged = len(opening(name)) + len(start)

    async def says(self, data: bytes) -> None:
        at = 0
        async with asyncio.timeout(IN_TIME):
            while at < len(data):
                room = self._window - (self._sent - self._acknowledged)
                if room <= 0:
                    await self._wait()
                    continue
                await self._peer.says(data[at : at + room])
                self._sent += len(data[at : at + room])
                at += room

    async def _wait(self) -> None:
        self.waited += 1
        for message in self._reader.feed(await self._peer.reader.read(65_536)):
            if message.kind == ACKNOWLEDGEMENT:
                number = int.from_bytes(message.body, "big")
                assert number <= self._sent
                self._acknowledged = max(self._acknowledged, number)
