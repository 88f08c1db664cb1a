"""Publishers by aiortc: undecoded pictures and sound on one clock, losses mended or skipped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import av
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from streamgen_edge.webrtc.app import WebRtcApp
from tests.edge.webrtc.peers import looped, posting, publish
from tests.edge.webrtc.proxy import Proxy
from tests.edge.webrtc.serving import network
from tests.edge.webrtc.studio import Answer, Basket, Hub, ask


@contextlib.asynccontextmanager
async def taking() -> AsyncIterator[tuple[WebRtcApp, Hub]]:
    hub = Hub()
    app = WebRtcApp(hub, network())
    try:
        yield app, hub
    finally:
        await app.close()
        assert not app.sessions


async def until(holds: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def decoded(basket: Basket) -> int:
    decoder = av.CodecContext.create("h264", "r")
    return sum(len(decoder.decode(av.Packet(one.data))) for one in basket.of("video/0"))


@looped
async def test_access_units_come_undecoded_and_sound_beside_them() -> None:
    async with taking() as (app, hub):
        peer, answer = await publish(
            posting(app), "/whip/cam", VideoStreamTrack(), AudioStreamTrack()
        )
        assert answer.status == 201 and "x-google-start-bitrate" in answer.text
        basket = hub.baskets["cam"]
        await until(lambda: len(basket.of("video/0")) > 30)
        pictures, sounds = basket.of("video/0"), basket.of("audio/0")
        assert pictures[0].keyframe and decoded(basket) == len(pictures)
        assert {(t.codec, t.width, t.rate_hz) for t in basket.tracks} == {
            ("h264", 640, 0),
            ("opus", 0, 48_000),
        }
        steps = Counter(b.pts - a.pts for a, b in itertools.pairwise(sounds))
        moved = [step for step in steps.elements() if step != 960]
        # On a busy machine the sound is moved to where its pictures are; but never back.
        (session,) = app.sessions.values()
        assert len(moved) <= session.media._clocks["audio"].steps
        assert all(step > 960 for step in moved)
        ends = [float(some[-1].pts * some[-1].time_base) for some in (pictures, sounds)]
        assert abs(ends[0] - ends[1]) < 0.2
        assert hub.publishers["cam"].stats.keyframes >= 1
        gone = await ask(app, "DELETE", answer.headers["location"])
        assert gone.status == 200 and basket.end is not None and basket.end.explicit
        await peer.close()


@looped
async def test_a_publisher_that_goes_without_a_word_may_come_back() -> None:
    async with taking() as (app, hub):
        peer, _ = await publish(posting(app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: basket.packets)
        await peer.close()
        await until(lambda: basket.end is not None)
        assert basket.end is not None and not basket.end.explicit


@looped
async def test_a_publisher_may_say_that_it_meant_to_go_when_its_connection_has_ended() -> None:
    async with taking() as (app, hub):
        peer, answer = await publish(posting(app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: basket.packets)
        (session,) = app.sessions.values()
        await peer.close()
        await until(lambda: session.media.closed)
        assert basket.end is None
        assert (await ask(app, "DELETE", answer.headers["location"])).status == 200
        assert basket.end is not None and basket.end.explicit


@looped
async def test_a_publisher_that_vanishes_is_noticed_within_ten_seconds() -> None:
    async with taking() as (app, hub):
        proxy = Proxy()
        peer, _ = await publish(_through(proxy, app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: basket.packets)
        proxy.cut = True
        began = time.monotonic()
        await until(lambda: basket.end is not None, 11)
        assert time.monotonic() - began < 10
        await peer.close()
        proxy.close()


@looped
async def test_the_owner_may_close_a_publisher() -> None:
    async with taking() as (app, hub):
        peer, _ = await publish(posting(app), "/whip/cam", VideoStreamTrack())
        await until(lambda: hub.baskets["cam"].packets)
        hub.publishers["cam"].close("another publisher has taken the stream over")
        await until(lambda: not app.sessions)
        end = hub.baskets["cam"].end
        assert end is not None and "taken" in end.reason and not end.explicit
        await peer.close()


@looped
async def test_loss_costs_repairs_and_no_picture_that_cannot_be_decoded() -> None:
    async with taking() as (app, hub):
        proxy = Proxy(loss=0.04)
        peer, _ = await publish(_through(proxy, app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: len(basket.of("video/0")) > 100, 40)
        times = [at for packet, at in basket.packets if packet.track == "video/0"]
        assert proxy.lost > 3
        assert max(b - a for a, b in itertools.pairwise(times)) < 1.0
        assert decoded(basket) == len(basket.of("video/0"))
        await peer.close()
        proxy.close()


@looped
async def test_a_worker_that_begins_anew_gets_a_key_frame() -> None:
    async with taking() as (app, hub):
        peer, _ = await publish(posting(app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: len(basket.packets) > 20)
        await asyncio.sleep(0.5)
        before = hub.publishers["cam"].stats.keyframes
        began = time.monotonic()
        line: Any = hub.publishers["cam"]._line
        line.request_keyframe()
        await until(lambda: hub.publishers["cam"].stats.keyframes > before, 3)
        assert time.monotonic() - began < 1.0
        await peer.close()


def _through(proxy: Proxy, app: WebRtcApp) -> Any:
    async def post(path: str, text: str) -> Answer:
        return await proxy.through(await ask(app, "POST", path, text))

    return post
