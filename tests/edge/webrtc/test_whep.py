"""Viewers by aiortc: one stream for many, losses mended, none in the way of another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

from streamgen_edge.webrtc.app import WebRtcApp
from tests.edge.webrtc.peers import Watching, looped, posting
from tests.edge.webrtc.proxy import Proxy
from tests.edge.webrtc.serving import network
from tests.edge.webrtc.studio import Answer, Hub, Rung, Studio, ask


@contextlib.asynccontextmanager
async def playing(*rungs: Rung, **options: Any) -> AsyncIterator[tuple[WebRtcApp, Studio]]:
    show = Studio(*(rungs or (Rung(180, 300_000),)), **options)
    app = WebRtcApp(Hub(show), network())
    try:
        yield app, show
    finally:
        await app.close()
        await asyncio.to_thread(show.stop)
        assert not app.sessions and not app.channels


@contextlib.asynccontextmanager
async def watching(app: WebRtcApp, path: str = "/whep/show") -> AsyncIterator[Watching]:
    viewer = await Watching().start(posting(app), path)
    assert viewer.answer.status == 201, viewer.answer.text
    try:
        yield viewer
    finally:
        await viewer.peer.close()


def media(app: WebRtcApp) -> list[Any]:
    return [session.media for session in app.sessions.values()]


@looped
async def test_three_viewers_share_one_subscription_and_see_every_picture() -> None:
    async with playing(gop=25) as (app, show), contextlib.AsyncExitStack() as leaving:
        viewers = [await leaving.enter_async_context(watching(app)) for _ in range(3)]
        shown = await asyncio.gather(*(viewer.frames(40) for viewer in viewers))
        await asyncio.gather(*(viewer.frames(20, "audio") for viewer in viewers))
        assert len(show.feed) == 2  # picture and sound, once
        for frames in shown:
            steps = [b.pts - a.pts for a, b in itertools.pairwise(frames)]
            assert set(steps) == {3600}


@looped
async def test_wishes_for_key_frames_become_one_a_second() -> None:
    async with playing() as (app, show), contextlib.AsyncExitStack() as leaving:
        viewers = [await leaving.enter_async_context(watching(app)) for _ in range(3)]
        await asyncio.gather(*(viewer.frame() for viewer in viewers))
        before, end = len(show.asked), time.monotonic() + 2.6
        while time.monotonic() < end:
            for viewer in viewers:
                receiver = viewer.peer.getTransceivers()[0].receiver
                source = receiver.getSynchronizationSources()[0].source
                await receiver._send_rtcp_pli(source)
            await asyncio.sleep(0.03)
        asked = show.asked[before:]
        assert 2 <= len(asked) <= 3
        assert min(b - a for a, b in zip(show.asked, show.asked[1:], strict=False)) > 1.0


@looped
async def test_lost_packets_are_sent_again() -> None:
    proxy = Proxy(loss=0.03)
    async with playing(Rung(360, 1_500_000), gop=500) as (app, _):
        through = _through(proxy, app)
        viewer = await Watching().start(through, "/whep/show")
        frames = await viewer.frames(100)
        sender = media(app)[0].senders["video"]
        assert proxy.lost > 5 and sender.repaired > 3
        steps = [b.pts - a.pts for a, b in itertools.pairwise(frames)]
        assert max(steps) <= 3600 * 25
        assert sum(step == 3600 for step in steps) > 80
        await viewer.peer.close()
        proxy.close()


def _through(proxy: Proxy, app: WebRtcApp) -> Any:
    async def post(path: str, text: str) -> Answer:
        return await proxy.through(await ask(app, "POST", path, text))

    return post


@looped
async def test_a_viewer_that_vanishes_is_noticed_within_ten_seconds_and_bothers_nobody() -> None:
    proxy = Proxy()
    async with playing(gop=25) as (app, _):
        gone = await Watching().start(_through(proxy, app), "/whep/show")
        await gone.frame()
        async with watching(app) as other:
            await other.frame()
            proxy.cut = True
            began = time.monotonic()
            while len(app.sessions) == 2 and time.monotonic() < began + 11:
                await other.frame()
            assert len(app.sessions) == 1
            assert time.monotonic() - began < 10
            assert len(await other.frames(5)) == 5
        await gone.peer.close()
        proxy.close()


@looped
async def test_a_line_without_room_drops_to_a_key_frame_and_slows_nobody() -> None:
    async with playing(gop=25) as (app, _), watching(app) as slow:
        await slow.frames(5)
        line = media(app)[0]._line
        async with watching(app) as fast:
            await fast.frames(5)
            send, line.send = line.send, lambda packets: False
            frames = await fast.frames(15)
            line.send = send
            frames += await fast.frames(15)
            steps = {b.pts - a.pts for a, b in itertools.pairwise(frames)}
            assert steps == {3600}
            senders = [one.senders["video"] for one in media(app)]
            assert senders[0].dropped >= 1 and senders[1].dropped == 0
            await slow.frames(30)


@looped
async def test_a_rung_that_falls_silent_is_left_for_the_next_one() -> None:
    rungs = Rung(360, 800_000), Rung(180, 200_000)
    async with playing(*rungs, gop=25) as (app, show), watching(app) as viewer:
        assert (await viewer.frame()).height == 360
        show.silent.add("video/360p")
        frames = await viewer.frames(45)
        assert frames[-1].height == 180
        gaps = [b.pts - a.pts for a, b in itertools.pairwise(frames)]
        assert max(gaps) < 2.5 * 90_000
        assert media(app)[0].rung == "video/180p"


@looped
async def test_a_rung_that_rests_is_left_at_once_and_taken_again_when_it_is_back() -> None:
    rungs = Rung(360, 800_000), Rung(180, 200_000)
    async with playing(*rungs, gop=25) as (app, show), watching(app) as viewer:
        assert (await viewer.frame()).height == 360
        show.silent.add("video/360p")
        show.resting.add("video/360p")
        there = await viewer.frames(20)
        assert there[-1].height == 180
        show.resting.clear()
        show.silent.clear()
        back = await viewer.frames(45)
        assert back[-1].height == 360 and media(app)[0].rung == "video/360p"
        gaps = [b.pts - a.pts for a, b in itertools.pairwise([*there, *back])]
        assert min(gaps) > 0 and max(gaps) < 90_000


@looped
async def test_a_stream_that_was_still_goes_on_with_the_same_rung() -> None:
    """As when another worker takes it: the sound is back before the pictures are."""
    rungs = Rung(360, 800_000), Rung(180, 200_000)
    async with playing(*rungs, gop=25) as (app, show), watching(app) as viewer:
        assert (await viewer.frame()).height == 360
        show.silent |= {"video/360p", "audio/opus"}
        await asyncio.sleep(1.2)
        show.silent.discard("audio/opus")
        await asyncio.sleep(0.6)
        show.silent.clear()
        assert (await viewer.frames(30))[-1].height == 360
        assert media(app)[0].rung == "video/360p"


@looped
async def test_viewers_go_with_the_stream() -> None:
    async with playing() as (app, show), watching(app) as viewer:
        await viewer.frame()
        await asyncio.to_thread(show.stop)
        for _ in range(40):
            await asyncio.sleep(0.05)
            if not app.sessions:
                break
        assert not app.sessions and not app.channels


@looped
async def test_a_stream_without_sound_still_answers_both_lines() -> None:
    async with playing(sound=False) as (app, _), watching(app) as viewer:
        assert viewer.answer.text.count("m=audio") == 1
        await viewer.frames(5)


@looped
async def test_sound_and_picture_are_reported_on_one_clock() -> None:
    async with playing() as (app, _), watching(app) as viewer:
        reports: dict[str, Any] = {}
        for line in viewer.peer.getTransceivers():
            inner = line.receiver._handle_rtcp_packet

            async def heard(packet: Any, kind: str = line.kind, inner: Any = inner) -> None:
                if hasattr(packet, "sender_info"):
                    reports[kind] = packet.sender_info
                await inner(packet)

            line.receiver._handle_rtcp_packet = heard
        picture, sound = await viewer.frame(), await viewer.frame("audio")
        assert picture.pts == sound.pts == 0
        while len(reports) < 2:
            await viewer.frame()
        video, audio = reports["video"], reports["audio"]
        assert abs((video.ntp_timestamp - audio.ntp_timestamp) / 2**32) < 0.05
