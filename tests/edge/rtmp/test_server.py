from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from streamgen.errors import ConfigError
from streamgen_edge.rtmp import Publisher, Refused, RtmpServer, tls_context
from streamgen_edge.rtmp.chunk_writer import chunk_size

from . import client
from .basket import Basket, Owner
from .client import HANDSHAKE, IDR, NEXT, S0_S1_S2, codes, command, opening, said, video
from .peer import IN_TIME, LOCAL, Counts, peer, run, until


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
