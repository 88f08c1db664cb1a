"""RTMPS, on both event loops that the server may run on."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen_edge.rtmp import Limits, RtmpServer, tls_context
from streamgen_edge.rtmp.chunk_writer import chunk_size
from tests.certificates import certified, needs_openssl

from .basket import Owner
from .client import HANDSHAKE, NEXT, connect, video
from .peer import IN_TIME, LOCAL, Counts, Peer, flood, peer, run, until

uvloop: Any = pytest.importorskip("uvloop", reason="uvloop is not installed")

pytestmark = needs_openssl
LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certified(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def tls(files: tuple[Path, Path]) -> ssl.SSLContext:
    return tls_context(*map(str, files))


@pytest.fixture
def trust(files: tuple[Path, Path]) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(files[0]))
    return {"ssl": context, "server_hostname": "localhost"}


@LOOPS
def test_rtmps_is_the_same_inside_tls(tls: ssl.SSLContext, trust: Any, loop: Loop) -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner, tls=tls) as server, peer(server, **trust) as one:
            await one.publishes()
            await until(lambda: owner.baskets and owner.basket.packets)
            owner.basket.publisher.close("enough")
            assert b"enough" in await one.hears_all()
            await until(lambda: server.clients == 0)

    run(test, loop)


@LOOPS
def test_plain_on_a_tls_port_and_the_reverse_are_closed(
    tls: ssl.SSLContext, trust: Any, loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        counts = Counts()
        async with RtmpServer(LOCAL, Owner(), tls=tls, telemetry=counts) as server:
            async with peer(server) as one:
                await one.says(HANDSHAKE)
                assert b"FMS" not in await one.hears_all()
            await until(lambda: server.clients == 0)
            assert counts.seen["rtmp_refused", "tls"] == 1
        async with RtmpServer(LOCAL, Owner()) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with peer(server, **trust):
                    pass

    caplog.set_level(logging.DEBUG, "streamgen_edge")
    run(test, loop)
    assert "127.0.0.1 is turned away: TLS: " in caplog.text
    assert "127.0.0.1 is turned away: TLS on a port without TLS" in caplog.text


@LOOPS
@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["idle", "half a hello"])
def test_a_tls_handshake_that_never_ends_is_not_waited_for(
    tls: ssl.SSLContext, trust: Any, loop: Loop, words: bytes
) -> None:
    async def test() -> None:
        counts, limits = Counts(), Limits(handshake_s=0.3, connections_per_address=3)
        async with (
            RtmpServer(LOCAL, Owner(), tls=tls, limits=limits, telemetry=counts) as server,
            flood(server, 3, [words]),
        ):
            await until(lambda: server.clients == 3)
            await until(lambda: server.clients == 0)
        assert sum(counts.seen["rtmp_refused", kind] for kind in ("timeout", "tls")) == 3

    run(test, loop)


@LOOPS
def test_those_who_do_not_shake_hands_make_room_for_those_who_do(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        counts, owner, limits = Counts(), Owner(), Limits(connections_per_address=4)
        async with (
            RtmpServer(LOCAL, owner, tls=tls, limits=limits, telemetry=counts) as server,
            flood(server, 10),
            peer(server, **trust) as one,
        ):
            await one.publishes()
            async with flood(server, 10):
                assert server.clients == 4
                await one.says(video(NEXT, 40))
                await until(lambda: len(owner.basket.packets) == 2)
            assert owner.basket.end is None
            assert counts.seen["rtmp_evicted", "connections_per_address"] >= 16

    run(test, loop)


@LOOPS
@pytest.mark.parametrize("secured", [True, False], ids=["rtmps", "rtmp"])
def test_who_has_to_make_room_is_told_why(
    tls: ssl.SSLContext, trust: Any, loop: Loop, secured: bool
) -> None:
    async def test() -> None:
        how = trust if secured else {}
        async with (
            RtmpServer(
                LOCAL, Owner(), tls=tls if secured else None, limits=Limits(connections=1)
            ) as server,
            peer(server, **how) as idle,
        ):
            await idle.says(HANDSHAKE, connect())
            await idle.hears(b"Connect.Success")
            async with peer(server, **how) as one:
                await one.publishes()
                assert b"the server has no more room" in await idle.hears_all()

    run(test, loop)


@LOOPS
def test_words_that_come_with_the_end_of_the_handshake_are_not_lost(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        async with RtmpServer(LOCAL, Owner(), tls=tls) as server:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            inner = trust["ssl"].wrap_bio(incoming, outgoing, server_hostname="localhost")
            async with peer(server) as one:
                while not await shaken(inner, incoming, outgoing, one):
                    pass
                # The client's Finished and its first words go out as one.
                inner.write(HANDSHAKE)
                await one.says(outgoing.read())
                incoming.write(await one.reader.read(65_536))
                assert b"\x03" in await answered(inner, incoming, one)

    run(test, loop)


async def shaken(inner: Any, incoming: Any, outgoing: Any, one: Peer) -> bool:
    try:
        inner.do_handshake()
    except ssl.SSLWantReadError:
        await one.says(outgoing.read())
        incoming.write(await one.reader.read(65_536))
        return False
    return True


async def answered(inner: Any, incoming: Any, one: Peer) -> bytes:
    while True:
        try:
            return bytes(inner.read(4096))
        except ssl.SSLWantReadError:
            incoming.write(await one.reader.read(65_536))


@LOOPS
def test_a_renegotiation_is_refused_and_others_do_not_notice(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        owner = Owner()
        async with RtmpServer(LOCAL, owner, tls=tls) as server, peer(server, **trust) as good:
            await good.publishes("good")
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.port}"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                async with asyncio.timeout(IN_TIME):
                    # Standard input stays open: its end would end the client, too.
                    assert client.stdin is not None and client.stdout is not None
                    client.stdin.write(b"R\n")
                    said = await client.stdout.read()
                    assert await client.wait() != 0
            finally:
                if client.returncode is None:
                    client.kill()
                    await client.wait()
            assert b"RENEGOTIATING" in said and b"no renegotiation" in said
            await until(lambda: server.clients == 1)
            await good.says(video(NEXT, 40))
            await until(lambda: len(owner.basket.packets) == 2)
            assert owner.basket.end is None

    run(test, loop)


@LOOPS
def test_who_breaks_the_rules_inside_tls_is_told_why(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        owner, counts = Owner(), Counts()
        async with (
            RtmpServer(LOCAL, owner, tls=tls, telemetry=counts) as server,
            peer(server, **trust) as one,
        ):
            await one.publishes()
            await one.says(chunk_size(0))
            assert b"chunk size 0" in await one.hears_all()
            assert counts.seen["rtmp_closed", "protocol"] == 1

    run(test, loop)


@LOOPS
def test_a_client_that_ends_its_tls_or_breaks_it_is_gone(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        owner, counts = Owner(), Counts()
        async with RtmpServer(LOCAL, owner, tls=tls, telemetry=counts) as server:
            async with peer(server, **trust) as one:
                await one.publishes("ends")
                one.writer.close()
                await until(lambda: server.clients == 0)
            async with peer(server, **trust) as one:
                await one.publishes("breaks")
                below = one.writer.get_extra_info("socket")
                os.write(below.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
                await until(lambda: server.clients == 0)
            reasons = [basket.end.reason for basket in owner.baskets if basket.end]
            assert reasons[0] == "the connection was lost"
            assert reasons[1].startswith("TLS: ") and counts.seen["rtmp_closed", "tls"] == 1

    run(test, loop)


@LOOPS
def test_large_pictures_come_whole_through_tls(tls: ssl.SSLContext, trust: Any, loop: Loop) -> None:
    async def test() -> None:
        owner, body = Owner(), bytes(range(256)) * 8000
        async with RtmpServer(LOCAL, owner, tls=tls) as server, peer(server, **trust) as one:
            await one.publishes()
            picture = b"\x27\x01\0\0\0" + (len(body) + 1).to_bytes(4, "big") + b"\x41" + body
            await one.says(*[video(picture, 40 * number) for number in range(3)])
            await until(lambda: len(owner.basket.packets) == 4)
            assert all(bytes(p.data).endswith(body) for p in owner.basket.packets[1:])

    run(test, loop)


@LOOPS
def test_closing_leaves_no_half_open_tls_behind(
    tls: ssl.SSLContext, trust: Any, loop: Loop
) -> None:
    async def test() -> None:
        server = RtmpServer(LOCAL, Owner(), tls=tls)
        await server.start()
        async with peer(server, **trust) as one, flood(server, 3):
            await one.says(HANDSHAKE)
            await one.hears(b"\x03")
            await until(lambda: server.clients == 4)
            await server.close("maintenance")
            assert server.clients == 0
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    run(test, loop)
