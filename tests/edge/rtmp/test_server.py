from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamgen.errors import ConfigError
from streamgen_edge.rtmp import Limits, Publisher, Refused, RtmpServer, tls_context
from streamgen_edge.rtmp.chunk_writer import chunk_size, user_control

from . import client
from .basket import Basket, Owner
from .client import CONFIG, HANDSHAKE, IDR, NEXT, S0_S1_S2, codes, command, opening, said, video

LOCAL = "127.0.0.1:0"
IN_TIME = 20.0
QUICK = Limits(handshake_s=0.2)
PATIENT = Limits(publish_s=0.2, idle_s=1.0)


class Counts:
    """Telemetry of a test."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.seen[name, reason] += number


class Peer:
    """A raw TCP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def hears_all(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(IN_TIME):
            return await self.reader.read(-1)

    async def hears(self, word: bytes) -> bytes:
        heard = b""
        async with asyncio.timeout(IN_TIME):
            while word not in heard:
                more = await self.reader.read(65_536)
                assert more, "closed"
                heard += more
        return heard

    async def publishes(self, name: str = "cam") -> None:
        """Until it was let in, and its first picture."""
        await self.says(opening(name))
        await self.hears(b"Publish.Start")
        await self.says(video(CONFIG), video(IDR))


@asynccontextmanager
async def peer(server: RtmpServer, **more: Any) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, **more)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(IN_TIME):
        while not condition():  # noqa: ASYNC110 - the state of the server, seen from outside
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * IN_TIME):
            await test()

    asyncio.run(bounded())


def test_a_publisher_s_media_reaches_its_sink() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner) as server, peer(server) as one:
            await one.publishes()
            await one.says(video(NEXT, 40), command("FCUnpublish", 6, None, "cam"))
            await until(lambda: owner.baskets and owner.basket.end)
            basket = owner.basket
        assert [track.codec for track in basket.tracks] == ["h264"]
        assert [(p.pts, p.keyframe) for p in basket.packets] == [(0, True), (40, False)]
        assert basket.end is not None and basket.end.explicit
        assert basket.publisher.stats.packets == {"video/0": 2}

    run(test)


def test_a_lost_connection_is_not_an_explicit_end() -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner) as server:
            async with peer(server) as one:
                await one.publishes()
                await until(lambda: owner.baskets and owner.basket.packets)
            await until(lambda: owner.basket.end)
            assert owner.basket.end is not None and not owner.basket.end.explicit
            await until(lambda: server.clients == 0)

    run(test)


def test_a_wrong_key_is_told_so_and_none_of_its_media_is_seen() -> None:
    async def test() -> None:
        owner = Owner(token="right")
        async with RtmpServer(LOCAL, owner) as server, peer(server) as one:
            await one.says(opening("cam?token=wrong"))
            heard = await one.hears_all()
        assert owner.asked == 1 and not owner.baskets
        status = said(heard[S0_S1_S2:], 128)[-1][-1]
        assert (status["code"], status["description"]) == ("NetStream.Publish.Denied", "wrong key")

    run(test)


@pytest.mark.parametrize("moment", ["before connect", "before the owner has answered"])
def test_media_before_it_was_let_in_closes_the_connection(moment: str) -> None:
    async def test() -> None:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def slow(publisher: Publisher) -> Basket:
            asked.set()
            try:
                await asyncio.sleep(IN_TIME)
            finally:
                answered.set()
            raise AssertionError("never cancelled")

        counts = Counts()
        async with RtmpServer(LOCAL, slow, telemetry=counts) as server, peer(server) as one:
            if moment == "before connect":
                await one.says(HANDSHAKE + video(IDR))
            else:
                await one.says(opening())
                await until(asked.is_set)
                await one.says(video(IDR))
            heard = await one.hears_all()
            assert len(heard) >= S0_S1_S2
            await until(lambda: server.clients == 0)
        assert (moment == "before connect") is not answered.is_set()

    run(test)


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


def test_other_publishers_do_not_notice_one_that_breaks_the_rules() -> None:
    async def test() -> None:
        owner, counts = Owner(), Counts()
        async with (
            RtmpServer(LOCAL, owner, telemetry=counts) as server,
            peer(server) as good,
            peer(server) as bad,
        ):
            await good.publishes("good")
            await bad.publishes("bad")
            await bad.says(chunk_size(0))
            assert b"chunk size 0" in await bad.hears_all()
            await good.says(video(NEXT, 40))
            await until(lambda: len(owner.baskets[0].packets) == 2)
            assert owner.baskets[1].end is not None and not owner.baskets[1].end.explicit
            assert counts.seen["rtmp_closed", "protocol"] == 1

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


def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    async def test() -> None:
        counts, limits = Counts(), Limits(connections_per_address=2)
        async with (
            RtmpServer(LOCAL, Owner(), limits=limits, telemetry=counts) as server,
            peer(server) as one,
            peer(server) as two,
        ):
            await one.says(HANDSHAKE)
            await two.says(HANDSHAKE)
            await until(lambda: server.clients == 2)
            async with peer(server) as three:
                with pytest.raises(ConnectionError):
                    await three.says(HANDSHAKE)
                    if await three.hears_all() == b"":
                        raise ConnectionError
            assert counts.seen["rtmp_refused", "connections_per_address"] == 1
            await one.hears(b"\x03")

    run(test)


def test_hundreds_of_idle_connections_come_and_go() -> None:
    async def test() -> None:
        limits = Limits(handshake_s=0.5, connections_per_address=400)
        async with RtmpServer(LOCAL, Owner(), limits=limits) as server:
            peers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
            await until(lambda: server.clients == 300)
            await until(lambda: server.clients == 0)
            for _, writer in peers:
                writer.transport.abort()

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
        limits = Limits(answer_bytes=4096)
        async with RtmpServer(LOCAL, Owner(), limits=limits) as server:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", server.port))
            async with peer_of(sock) as one:
                await one.publishes()
                one.reader._transport.pause_reading()  # type: ignore[attr-defined]
                ping = user_control(6, 1)
                with pytest.raises(ConnectionError):
                    while True:
                        await one.says(ping * 4000)
                await until(lambda: server.clients == 0)

    run(test)


@asynccontextmanager
async def peer_of(sock: socket.socket) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def test_closing_tells_every_client_and_leaves_nothing_behind() -> None:
    async def test() -> None:
        owner = Owner()
        server = RtmpServer(LOCAL, owner)
        await server.start()
        port = server.port
        async with peer(server) as one, peer(server) as two:
            await one.publishes()
            await two.says(HANDSHAKE)
            await two.hears(b"\x03")
            await until(lambda: owner.basket.packets)
            await server.close("maintenance")
            assert b"maintenance" in await one.hears_all()
            assert owner.basket.end is not None and owner.basket.end.reason == "maintenance"
        assert server.clients == 0
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(test)


def test_draining_asks_those_who_know_how_to_reconnect() -> None:
    async def test() -> None:
        owner = Owner()
        async with (
            RtmpServer(LOCAL, owner) as server,
            peer(server) as old,
            peer(server) as new,
        ):
            await old.publishes("old")
            start = HANDSHAKE + client.connect(capsEx=1) + command("createStream", 4, None)
            await new.says(start + client.publish("new"))
            await new.hears(b"Publish.Start")
            assert server.drain("rtmp://elsewhere/live") == 1
            heard = await new.hears(b"ReconnectRequest")
            assert b"rtmp://elsewhere/live" in heard

    run(test)


def test_keys_never_reach_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        owner = Owner(token="s3cret")
        async with RtmpServer(LOCAL, owner) as server:
            for name in ("cam?token=s3cret", "cam?token=wr0ng", "k3y/../x?token=s3cret"):
                async with peer(server) as one:
                    url = "rtmp://h/live?token=0ther"
                    await one.says(opening(name, "live?token=th1rd", url))
                    await one.hears(b"NetStream.Publish")
                    await one.says(b"\xff" * 100)

    run(test)
    assert "cam" in caplog.text and "wrong key" in caplog.text
    for secret in ("s3cret", "wr0ng", "k3y", "0ther", "th1rd", "token"):
        assert secret not in caplog.text


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    make += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(make, check=True, capture_output=True)
    return cert, key


def test_rtmps_is_the_same_inside_tls(certificate: tuple[str, str]) -> None:
    async def test() -> None:
        owner, trust = Owner(), ssl.create_default_context(cafile=certificate[0])
        context = tls_context(*certificate)
        async with (
            RtmpServer(LOCAL, owner, tls=context) as server,
            peer(server, ssl=trust, server_hostname="localhost") as one,
        ):
            await one.publishes()
            await until(lambda: owner.baskets and owner.basket.packets)
            owner.basket.publisher.close("enough")
            assert b"enough" in await one.hears_all()

    run(test)


def test_plain_on_a_tls_port_and_the_reverse_are_closed(certificate: tuple[str, str]) -> None:
    async def test() -> None:
        context = tls_context(*certificate)
        async with RtmpServer(LOCAL, Owner(), tls=context) as server, peer(server) as one:
            await one.says(HANDSHAKE)
            assert b"FMS" not in await one.hears_all()
        trust = ssl.create_default_context(cafile=certificate[0])
        async with RtmpServer(LOCAL, Owner()) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with peer(server, ssl=trust, server_hostname="localhost"):
                    pass

    run(test)


@pytest.mark.parametrize("listen", ["", "1935", "host:", ":1935", "host:port", "host:70000"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1935"):
        RtmpServer(listen, Owner())


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no")
    for name in ("cert.pem", "absent.pem"):
        with pytest.raises(ConfigError, match="certificate"):
            tls_context(str(tmp_path / name), str(tmp_path / name))


def test_codes_of_refusals_are_those_that_encoders_know() -> None:
    async def test() -> None:
        async def no(publisher: Publisher) -> Basket:
            raise Refused("no")

        async with RtmpServer(LOCAL, no) as server, peer(server) as one:
            await one.says(opening())
            heard = await one.hears_all()
            assert codes(said(heard[S0_S1_S2:], 128))[-1] == "NetStream.Publish.Denied"

    run(test)
