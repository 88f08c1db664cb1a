"""Peers whose way to the server breaks off or changes, or carries what somebody else put there."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import secrets
from typing import Any

import pytest
from aioice import ice
from aiortc.mediastreams import VideoStreamTrack

from streamgen_edge.webrtc.app import WebRtcApp
from tests.edge.webrtc.peers import Post, Watching, looped, posting, publish
from tests.edge.webrtc.proxy import Proxy, is_dtls, is_media
from tests.edge.webrtc.studio import Answer, ask
from tests.edge.webrtc.test_bad_viewers import every_picture, nonsense
from tests.edge.webrtc.test_http import open_app
from tests.edge.webrtc.test_whep import media, playing
from tests.edge.webrtc.test_whip import decoded, taking, until

CLIENT_HELLO = b"\x16\xfe\xff" + bytes(8) + b"\x00\x40\x01" + bytes(63)


def through(proxy: Proxy, app: WebRtcApp) -> Post:
    async def post(path: str, text: str) -> Answer:
        return await proxy.through(await ask(app, "POST", path, text))

    return post


def other_keys_on_the_second_line(text: str) -> str:
    """ICE credentials that belong to no connection; in a bundle the first line's count (RFC 8843,
    7.1.3)."""
    head, *lines = text.split("m=")
    for name, word in (("ufrag", secrets.token_hex(2)), ("pwd", secrets.token_hex(11))):
        lines[1] = re.sub(rf"a=ice-{name}:\S+", f"a=ice-{name}:{word}", lines[1])
    return "m=".join([head, *lines])


@looped
async def test_in_a_bundle_the_first_line_s_ice_credentials_count() -> None:
    async with playing(gop=25) as (app, _):
        viewer = Watching()

        async def post(path: str, text: str) -> Answer:
            assert text.count("m=") == 2
            return await posting(app)(path, other_keys_on_the_second_line(text))

        await viewer.start(post, "/whep/show")
        assert viewer.answer.status == 201, viewer.answer.text
        await viewer.frames(5)
        await viewer.frames(5, "audio")
        await viewer.peer.close()


@looped
async def test_a_handshake_that_never_ends_is_given_up_and_its_port_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamgen_edge.webrtc.app.CONNECT_S", 1.0)
    caplog.set_level("INFO")
    async with open_app(udp_ports="41020-41020") as (app, _):
        proxy, ended = Proxy(), list[str]()
        app._count = lambda name, reason: ended.append(reason)
        proxy.lacks = is_dtls
        viewer = await Watching().start(through(proxy, app), "/whep/show")
        assert viewer.answer.status == 201
        (session,) = app.sessions.values()
        await until(lambda: session.peer.iceConnectionState == "completed")
        flood = [random.Random(n).randbytes(1400) for n in range(2000)]
        proxy.say(*(CLIENT_HELLO[:1] + some for some in flood))
        await until(lambda: not app.sessions, 20)
        assert "did not connect in time" in caplog.text and ended == ["timeout"]
        assert not app.channels
        await until(lambda: not app._ending)
        assert (await ask(app, "POST", "/whep/show", await _offer())).status == 201
        await viewer.peer.close()
        proxy.close()


async def _offer() -> str:
    viewer = Watching()
    await viewer.peer.setLocalDescription(await viewer.peer.createOffer())
    await viewer.peer.close()
    return str(viewer.peer.localDescription.sdp)


@looped
async def test_a_hello_from_an_address_that_ice_has_not_checked_is_not_heard() -> None:
    """Else whoever finds the port could shake hands before the viewer does."""
    async with playing(gop=25) as (app, _):
        loop = asyncio.get_running_loop()
        strangers: list[Any] = []

        async def post(path: str, text: str) -> Answer:
            answer = await ask(app, "POST", path, text)
            (port,) = {int(one) for one in re.findall(r" (\d+) typ host", answer.text)}
            stranger, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
            )
            strangers.append(stranger)
            for _ in range(200):
                stranger.sendto(CLIENT_HELLO)
            await asyncio.sleep(0.1)
            connection = media(app)[0].peer.getTransceivers()[0].receiver.transport.transport
            assert connection._connection._queue.empty()
            return answer

        viewer = await Watching().start(post, "/whep/show")
        await viewer.frames(10)
        strangers[0].close()
        await viewer.peer.close()


@pytest.mark.parametrize("nominates", [True, False], ids=["as browsers do", "without a word"])
@looped
async def test_a_viewer_whose_address_changes_plays_on(
    nominates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _checks_often(monkeypatch, nominates)
    async with playing(gop=25) as (app, _):
        proxy = Proxy()
        viewer = await Watching().start(through(proxy, app), "/whep/show")
        await viewer.frames(5)
        await proxy.move()
        await viewer.frames(40, "audio")
        await viewer.frames(40)
        assert len(app.sessions) == 1
        await viewer.peer.close()
        proxy.close()


@looped
async def test_a_publisher_whose_address_changes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _checks_often(monkeypatch, True)
    async with taking() as (app, hub):
        proxy = Proxy()
        peer, _ = await publish(through(proxy, app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: len(basket.packets) > 10)
        await proxy.move()
        before = len(basket.packets)
        await until(lambda: len(basket.packets) > before + 60, 30)
        assert basket.end is None and len(app.sessions) == 1
        assert decoded(basket) == len(basket.of("video/0"))
        await peer.close()
        proxy.close()


def _checks_often(monkeypatch: pytest.MonkeyPatch, nominates: bool) -> None:
    """The client asks for consent twice a second, and nominates with it, as browsers do."""
    monkeypatch.setattr(ice, "CONSENT_INTERVAL", 0.5)
    build = ice.Connection.build_request

    def asked(self: Any, pair: Any, nominate: bool) -> Any:
        return build(self, pair, nominate=nominate or (nominates and self.ice_controlling))

    monkeypatch.setattr(ice.Connection, "build_request", asked)


@looped
async def test_what_comes_twice_or_is_nonsense_from_a_publisher_changes_no_picture() -> None:
    dice = random.Random(4)

    def changed(data: bytes) -> list[bytes]:
        """Each datagram twice, and others that were never encrypted."""
        if not is_media(data):
            return [data]
        noise = [bytes([0x80 | dice.randrange(64)]) + dice.randbytes(n) for n in (0, 1, 11, 200)]
        return [data, data, data[:12] + dice.randbytes(len(data) - 12), *noise]

    async with taking() as (app, hub):
        proxy = Proxy()
        proxy.changed = changed
        peer, _ = await publish(through(proxy, app), "/whip/cam", VideoStreamTrack())
        basket = hub.baskets["cam"]
        await until(lambda: len(basket.packets) > 10)
        dtls: Any = peer.getTransceivers()[0].sender.transport
        source = hub.publishers["cam"]
        for message in nonsense(peer.getTransceivers()[0].sender._ssrc) * 3:
            await dtls._send_rtp(message)
        before = len(basket.packets)
        await until(lambda: len(basket.packets) > before + 40)
        pictures = basket.of("video/0")
        assert decoded(basket) == len(pictures)
        assert all(a.pts < b.pts for a, b in itertools.pairwise(pictures))  # type: ignore[operator]
        assert basket.end is None and source.stats.packets["video/0"] == len(pictures)
        await peer.close()
        proxy.close()


@looped
async def test_what_comes_twice_or_is_nonsense_from_a_viewer_disturbs_nobody() -> None:
    dice = random.Random(5)

    def changed(data: bytes) -> list[bytes]:
        control = 127 < data[0] < 192
        noise = [bytes([0x80, kind]) + dice.randbytes(40) for kind in (96, 200, 201, 205, 206)]
        return [data, data, *noise] if control else [data]

    async with playing(gop=25) as (app, _):
        proxy = Proxy()
        proxy.changed = changed
        bad = await Watching().start(through(proxy, app), "/whep/show")
        good = await Watching().start(posting(app), "/whep/show")
        await asyncio.gather(bad.frames(5), good.frames(5))
        assert every_picture(await good.frames(50))
        await bad.frames(5)
        assert len(app.sessions) == 2
        await bad.peer.close()
        await good.peer.close()
        proxy.close()
