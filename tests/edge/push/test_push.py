"""A stream sent on by RTMP: what arrives, and what a bad target does to it: nothing."""

from __future__ import annotations

import asyncio

from streamgen_edge.push.push import State
from streamgen_edge.rtmp import RtmpServer
from tests.edge.push.show import playing, pushing
from tests.edge.rtmp.basket import Owner
from tests.edge.rtmp.peer import LOCAL, until
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.serving import Served


@looped
async def test_a_stream_arrives_with_picture_and_sound() -> None:
    owner = Owner(token="s3cret")
    server = RtmpServer(LOCAL, owner)
    await server.start()
    url = f"rtmp://127.0.0.1:{server.port}/live/there?token=s3cret"
    async with playing() as show, pushing(show, url) as push:
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 60)
        assert push.state is State.LIVE
        push.end()
        async with asyncio.timeout(10):
            await owner.basket.done.wait()
    basket = owner.basket
    print(
        len(basket.of("video/0")),
        len(basket.of("audio/0")),
        basket.end,
        basket.tracks,
        push.facts(),
    )
    await server.close()


def test_a_stream_arrives_by_whip_with_picture_and_sound() -> None:
    with Served() as served:

        async def push_it() -> None:
            url = f"http://127.0.0.1:{served.port}/whip/there"
            async with playing() as show, pushing(show, url, token="s3cret") as push:
                await until(lambda: push.pictures > 60)
                print(push.facts())

        asyncio.run(push_it())
        basket = served.hub.baskets["there"]
        served.until(lambda: basket.end is not None, "end of the publisher")
        print(len(basket.of("video/0")), len(basket.of("audio/0")), basket.end)
        print(served.hub.publishers["there"].request)
