from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from streamgen_edge.rtmp import Limits, Publisher, RtmpServer
from streamgen_edge.rtmp.chunk_writer import chunk_size

from . import client
from .basket import Basket, Owner
from .client import HANDSHAKE, NEXT, command, opening, video
from .peer import IN_TIME, LOCAL, Counts, flood, peer, peer_of, run, until

QUICK = Limits(handshake_s=0.2)
PATIENT = Limits(publish_s=0.2, idle_s=1.0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([b""], None),
        ([b"\x03" + bytes(700)], None),
        ([HANDSHAKE], "no publish in time"),
        ([HANDSHAKE, client.connect(), command("createStream", 2, None)], "no publish in time"),
    ],
    ids=["silence", "half a handshake", "handshake only", "no publish"],
)
def test_clients_that_do_not_go_on_are_let_go(words: list[bytes], reason: str | None) -> None:
    async def test() -> None:
        limits = QUICK if reason is None else PATIENT
        async with RtmpServer(LOCAL, Owner(), limits=limits) as server, peer(server) as one:
            await one.says(*words)
            heard = await one.hears_all()
            await until(lambda: server.clients == 0)
        assert reason is None or reason.encode() in heard

    run(test)


def test_a_handshake_of_a_byte_now_and_then_is_not_waited_for() -> None:
    async def test() -> None:
        async with RtmpServer(LOCAL, Owner(), limits=QUICK) as server, peer(server) as one:
            began = asyncio.get_running_loop().time()
            with pytest.raises(ConnectionError):
                await one.says(b"\x03")
                while True:
                    await one.says(b"\0")
                    await asyncio.sleep(0.02)
            assert asyncio.get_running_loop().time() - began < 3

    run(test)


def test_a_publisher_that_sends_no_media_is_let_go() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner, limits=PATIENT) as server, peer(server) as one:
            await one.says(opening())
            assert b"no media in time" in await one.hears_all()
            assert owner.basket.end is not None and not owner.basket.end.explicit

    run(test)


def test_a_silent_publisher_is_pinged_then_let_go_and_a_living_one_is_not() -> None:
    async def test() -> None:
        owner = Owner()
        async with (
            RtmpServer(LOCAL, owner, limits=PATIENT) as server,
            peer(server) as silent,
            peer(server) as living,
        ):
            await silent.publishes("silent")
            await living.publishes("living")
            for number in range(1, 16):
                await asyncio.sleep(0.1)
                await living.says(video(NEXT, number * 60))
            heard = await silent.hears_all()
            assert b"\x00\x06" in heard and b"too long" in heard
            ends = {b.publisher.request.stream: b.end for b in owner.baskets}
            assert ends["silent"] is not None and ends["living"] is None

    run(test)


def test_an_owner_that_never_answers_is_not_waited_for() -> None:
    async def test() -> None:
        async def never(publisher: Publisher) -> Basket:
            await asyncio.Event().wait()
            raise AssertionError

        async with RtmpServer(LOCAL, never, limits=PATIENT) as server, peer(server) as one:
            await one.says(opening())
            assert b"not decided in time" in await one.hears_all()

    run(test)


def test_an_owner_that_fails_costs_that_publisher_only() -> None:
    async def test() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: failures.append(about))

        async def broken(publisher: Publisher) -> Basket:
            if publisher.request.stream == "bad":
                raise ZeroDivisionError
            return Basket(publisher)

        async with (
            RtmpServer(LOCAL, broken) as server,
            peer(server) as bad,
            peer(server) as good,
        ):
            await bad.says(opening("bad"))
            assert b"the server failed" in await bad.hears_all()
            await good.publishes("good")
        assert [type(f["exception"]) for f in failures] == [ZeroDivisionError]

    run(test)


def test_a_publisher_whose_owner_closes_it_is_told_why() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner) as server, peer(server) as one:
            await one.publishes()
            await until(lambda: owner.basket.packets)
            owner.basket.publisher.close("another publisher took over")
            heard = await one.hears_all()
            assert b"took over" in heard
            assert owner.basket.end is not None
            assert owner.basket.end.reason == "another publisher took over"
            owner.basket.publisher.close("twice")

    run(test)


def test_a_paused_publisher_is_read_no_further_until_it_is_resumed() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner) as server, peer(server) as one:
            await one.publishes()
            await until(lambda: owner.basket.packets)
            owner.basket.publisher.pause()
            await one.says(*[video(NEXT, n) for n in range(50)])
            await asyncio.sleep(0.1)
            assert len(owner.basket.packets) == 1
            owner.basket.publisher.resume()
            await until(lambda: len(owner.basket.packets) == 51)

    run(test)


def test_a_paused_publisher_is_not_taken_for_a_silent_one() -> None:
    async def test() -> None:
        owner = Owner()
        limits = Limits(idle_s=0.4)
        async with RtmpServer(LOCAL, owner, limits=limits) as server, peer(server) as one:
            await one.publishes()
            await until(lambda: owner.basket.packets)
            owner.basket.publisher.pause()
            await asyncio.sleep(1.0)
            assert owner.basket.end is None

    run(test)


def test_what_a_full_sink_drops_is_counted() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner) as server, peer(server) as one:
            await one.publishes()
            await until(lambda: owner.basket.packets)
            owner.basket.room = 1
            await one.says(video(NEXT, 1), video(NEXT, 2))
            await until(lambda: owner.basket.publisher.stats.full == 2)

    run(test)


def test_publishers_beyond_the_limit_are_closed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        counts, limits, owner = Counts(), Limits(connections_per_address=2), Owner()
        async with (
            RtmpServer(LOCAL, owner, limits=limits, telemetry=counts) as server,
            peer(server) as one,
            peer(server) as two,
        ):
            await one.publishes("one")
            await two.publishes("two")
            for _ in range(5):
                async with peer(server) as three:
                    with pytest.raises(ConnectionError):
                        await three.says(HANDSHAKE)
                        if await three.hears_all() == b"":
                            raise ConnectionError
            assert counts.seen["rtmp_refused", "connections_per_address"] == 5
            assert [basket.end for basket in owner.baskets] == [None, None]
            await one.says(video(NEXT, 40))
            await until(lambda: len(owner.baskets[0].packets) == 2)

    caplog.set_level(logging.INFO)
    run(test)
    lines = [line for line in caplog.messages if "too many connections from its address" in line]
    assert lines == ["rtmp: 127.0.0.1 is refused: too many connections from its address"]
    assert "rtmp: 4 more within 1 s: connections_per_address" in caplog.messages


def test_an_idle_connection_makes_room_and_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        counts, limits, owner = Counts(), Limits(connections=2), Owner()
        async with (
            RtmpServer(LOCAL, owner, limits=limits, telemetry=counts) as server,
            peer(server) as idle,
            peer(server) as slow,
        ):
            await idle.says(HANDSHAKE, client.connect())
            await idle.hears(b"Connect.Success")
            await slow.says(HANDSHAKE, client.connect())
            await slow.hears(b"Connect.Success")
            async with peer(server) as one:
                await one.publishes("one")
                assert b"the server has no more room" in await idle.hears_all()
            await slow.says(command("createStream", 4, None), client.publish("slow"))
            await slow.hears(b"Publish.Start")
            assert counts.seen["rtmp_evicted", "connections"] == 1

    caplog.set_level(logging.INFO)
    run(test)
    assert "127.0.0.1 has to make room: the server has no more room" in caplog.text


@pytest.mark.parametrize("words", [[], [b"\x03"], [HANDSHAKE]], ids=["idle", "a byte", "handshake"])
def test_a_flood_from_its_own_address_does_not_keep_a_publisher_out(words: list[bytes]) -> None:
    async def test() -> None:
        counts, owner = Counts(), Owner()
        limits = Limits(connections=40, connections_per_address=8)
        async with RtmpServer(LOCAL, owner, limits=limits, telemetry=counts) as server:
            async with flood(server, 20, words), peer(server) as one:
                await one.publishes("one")
            await until(lambda: owner.basket.packets)
            await until(lambda: server.clients == 0)
            assert counts.seen["rtmp_evicted", "connections_per_address"] >= 12
            assert counts.seen["rtmp_refused", "connections_per_address"] == 0

    run(test)


def test_hundreds_of_idle_connections_come_and_go() -> None:
    async def test() -> None:
        limits = Limits(handshake_s=0.5, connections_per_address=400)
        async with RtmpServer(LOCAL, Owner(), limits=limits) as server, flood(server, 300):
            await until(lambda: server.clients == 300)
            await until(lambda: server.clients == 0)

    run(test)


def test_an_address_that_sends_too_fast_is_slowed_down() -> None:
    async def test() -> None:
        owner, limits = Owner(), Limits(bytes_per_s_per_address=256 << 10)
        async with RtmpServer(LOCAL, owner, limits=limits) as server, peer(server) as one:
            await one.publishes()
            loop = asyncio.get_running_loop()
            began = loop.time()
            big = b"\x27\x01\0\0\0" + (50_000).to_bytes(4, "big") + b"\x41" + bytes(49_999)
            await one.says(chunk_size(65_536))
            await one.says(*[video(big, n, size=65_536) for n in range(12)])
            await until(lambda: len(owner.basket.packets) == 13)
            assert loop.time() - began > 0.4

    run(test)


def test_a_client_that_does_not_read_its_answers_is_dropped() -> None:
    async def test() -> None:
        many = 1 << 40
        limits = Limits(answer_bytes=4096, commands=many, values=many, bytes_per_s_per_address=many)
        async with RtmpServer(LOCAL, Owner(), limits=limits) as server:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", server.port))
            async with peer_of(sock) as one:
                await one.publishes()
                one.reader._transport.pause_reading()  # type: ignore[attr-defined]
                asks = command("whatIsThis", 9, None) * 500
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(IN_TIME):
                        while True:
                            await one.says(asks)
                await until(lambda: server.clients == 0)

    run(test)
