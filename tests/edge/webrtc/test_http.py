"""WHIP and WHEP over HTTP (RFC 9725): what is answered to whom."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiortc.mediastreams import AudioStreamTrack

from streamgen_edge.crowd import Crowd
from streamgen_edge.rtmp.publisher import Publisher, Refused, Sink
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.session import Share
from tests.edge.webrtc.peers import Watching, looped, posting, publish
from tests.edge.webrtc.serving import network
from tests.edge.webrtc.studio import Hub, Rung, Studio, ask


@contextlib.asynccontextmanager
async def open_app(
    *rungs: Rung,
    share: Callable[[str], Share] = lambda _: Share(),
    origins: tuple[str, ...] = (),
    crowd: Crowd | None = None,
    hub: type[Hub] = Hub,
    **changes: Any,
) -> AsyncIterator[tuple[WebRtcApp, Hub]]:
    show = Studio(*(rungs or (Rung(180, 200_000),)))
    there = hub(show)
    app = WebRtcApp(there, network(**changes), share=share, origins=origins, crowd=crowd)
    try:
        yield app, there
    finally:
        await app.close()
        await asyncio.to_thread(show.stop)


async def offer() -> str:
    viewer = Watching()
    await viewer.peer.setLocalDescription(await viewer.peer.createOffer())
    text = viewer.peer.localDescription.sdp
    await viewer.peer.close()
    return str(text)


@looped
async def test_an_offer_is_answered_with_a_place_that_nobody_guesses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgen_edge.webrtc.stack.STUN_S", 0.2)
    async with open_app(ice_servers=("stun:192.0.2.1:3478",)) as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        assert answer.status == 201
        assert re.fullmatch(r"/whep/show/[A-Za-z0-9_-]{22}", answer.headers["location"])
        assert answer.headers["content-type"] == "application/sdp"
        assert answer.headers["etag"] and answer.headers["cache-control"] == "no-store"
        assert answer.links == ['<stun:192.0.2.1:3478>; rel="ice-server"']
        exposed = answer.headers["access-control-expose-headers"]
        assert "location" in exposed and "link" in exposed


@looped
async def test_only_configured_addresses_ports_and_servers_are_told() -> None:
    async with open_app(udp_ports="41000-41003", advertise=("203.0.113.9",)) as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        found = set(re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (\w+)", answer.text))
        assert {(host, kind) for host, _, kind in found} == {("203.0.113.9", "host")}
        assert {int(port) for _, port, _ in found} <= set(range(41_000, 41_004))
        assert "127.0.0.1" not in answer.text and answer.links == []


@looped
async def test_a_publisher_for_whom_there_is_no_room_is_told_why_and_when_to_come_again() -> None:
    class Full(Hub):
        wait_s: int | None = 12

        async def publish(self, publisher: Publisher) -> Sink:
            raise Refused("no room for the stream: all is full", later=True, wait_s=self.wait_s)

    async with open_app(hub=Full) as (app, hub):
        text = (await offer()).replace("a=recvonly", "a=sendonly")
        answer = await ask(app, "POST", "/whip/show", text)
        assert (answer.status, answer.headers["retry-after"]) == (503, "12")
        assert answer.problem == "no room for the stream: all is full"
        hub.wait_s = None  # type: ignore[attr-defined]
        answer = await ask(app, "POST", "/whip/show", text)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert not app.sessions


@looped
async def test_when_no_port_is_free_the_client_is_told_to_come_again() -> None:
    async with open_app(udp_ports="41010-41010") as (app, _):
        assert (await ask(app, "POST", "/whep/show", await offer())).status == 201
        answer = await ask(app, "POST", "/whep/show", await offer())
        assert answer.status == 503 and answer.headers["retry-after"]
        place = next(iter(app.sessions))
        await ask(app, "DELETE", place)
        await asyncio.sleep(0.3)
        assert (await ask(app, "POST", "/whep/show", await offer())).status == 201


@pytest.mark.parametrize(
    ("method", "path", "text", "kind", "status"),
    [
        ("POST", "/whep/nobody", "OFFER", "application/sdp", 404),
        ("POST", "/whep/show", "OFFER", "text/plain", 415),
        ("POST", "/whep/show", "", "application/sdp", 400),
        ("POST", "/whep/show", "v=0\r\nm=video\r\n", "application/sdp", 400),
        ("POST", "/whep/show", "x" * 70_000, "application/sdp", 413),
        ("POST", "/whep/show?rung=9p", "OFFER", "application/sdp", 406),
        ("GET", "/whep/show", "", "application/sdp", 405),
        ("POST", "/whep/../x", "OFFER", "application/sdp", 404),
        ("DELETE", "/whep/show/AAAAAAAAAAAAAAAAAAAAAA", "", "application/sdp", 404),
        ("POST", "/whip/cam", "OFFER", "application/sdp", 400),
    ],
)
@looped
async def test_what_cannot_be_served_is_refused(
    method: str, path: str, text: str, kind: str, status: int
) -> None:
    async with open_app() as (app, _):
        text = await offer() if text == "OFFER" else text
        answer = await ask(app, method, path, text, kind)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json" and answer.problem
        assert not app.sessions


@looped
async def test_an_offer_without_a_common_codec_is_not_acceptable() -> None:
    async with open_app() as (app, _):
        text = (await offer()).replace("H264/90000", "H265/90000").replace("VP8/90000", "VP9/90000")
        answer = await ask(app, "POST", "/whep/show", text)
        assert answer.status == 406 and "H.264" in answer.problem


@looped
async def test_who_may_not_play_or_publish_is_told_so() -> None:
    async with open_app() as (app, hub):
        hub.play_token, hub.publish_token = "sesame", "key-one"
        text = await offer()
        first = await ask(app, "POST", "/whep/show", text)
        assert first.status == 401 and first.headers["www-authenticate"] == "Bearer"
        wrong = await ask(app, "POST", "/whep/show", text, authorization="Bearer no")
        assert wrong.status == 403
        right = await ask(app, "POST", "/whep/show", text, authorization="Bearer sesame")
        assert right.status == 201
        assert (await ask(app, "POST", "/whep/show?token=sesame", text)).status == 201
        peer, answer = await publish(posting(app), "/whip/cam", AudioStreamTrack())
        assert answer.status == 401 and "cam" not in hub.baskets
        await peer.close()
        peer, answer = await publish(posting(app), "/whip/cam?token=key-one", AudioStreamTrack())
        assert answer.status == 201
        await peer.close()


@looped
async def test_pages_of_other_sites_watch_and_publish_only_where_that_is_configured() -> None:
    studio = "https://studio.example"
    async with open_app(origins=(studio,)) as (app, hub):
        text = (await offer()).replace("a=recvonly", "a=sendonly")
        for origin in ("https://elsewhere.example", "http://[", "null"):
            names = {"host": "127.0.0.1:8080", "origin": origin}
            answer = await ask(app, "POST", "/whip/cam?token=key-one", text, **names)
            assert answer.status == 403 and not hub.baskets
            assert "access-control-allow-origin" not in answer.headers
            away = await ask(app, "OPTIONS", "/whip/cam", **names)
            assert not [name for name in away.headers if name.startswith("access-control")]
        own = {"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080"}
        assert (await ask(app, "POST", "/whip/cam", text, **own)).status == 201
        theirs = {"host": "127.0.0.1:8080", "origin": studio}
        assert (await ask(app, "POST", "/whip/cam", text, **theirs)).status == 403
        answer = await ask(app, "POST", "/whip/cam?token=key-one", text, **theirs)
        assert answer.status == 201
        assert answer.headers["access-control-allow-origin"] == studio
        assert answer.headers["vary"] == "origin"
        away = await ask(app, "OPTIONS", "/whep/show", origin="https://elsewhere.example")
        assert away.status == 204 and away.headers["accept-post"] == "application/sdp"
        assert away.headers["access-control-allow-origin"] == "*"
        assert "POST" in away.headers["access-control-allow-methods"]


@looped
async def test_a_session_is_changed_and_ended_only_with_the_token_that_began_it() -> None:
    async with open_app() as (app, hub):
        hub.play_token = "sesame"
        text = await offer()
        answer = await ask(app, "POST", "/whep/show", text, authorization="Bearer sesame")
        place = answer.headers["location"]
        trickle = {"content-type": "application/trickle-ice-sdpfrag", "if-match": "*"}
        for wrong in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Bearer "}):
            for method in ("DELETE", "PATCH"):
                refused = await ask(app, method, place, "", **trickle, **wrong)
                assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert place in app.sessions
        right = {"authorization": "Bearer sesame"}
        assert (await ask(app, "PATCH", place, "", **trickle, **right)).status == 501
        assert (await ask(app, "DELETE", place, "", **right)).status == 200
        assert place not in app.sessions


@looped
async def test_a_token_of_the_query_goes_along_in_the_place() -> None:
    async with open_app() as (app, hub):
        hub.play_token = "sesame+street"
        answer = await ask(app, "POST", "/whep/show?token=sesame%2Bstreet", await offer())
        place, _, query = answer.headers["location"].partition("?")
        assert query == "token=sesame%2Bstreet"
        assert (await ask(app, "DELETE", place, "")).status == 401
        assert (await ask(app, "DELETE", f"{place}?{query}", "")).status == 200


@looped
async def test_candidates_that_come_later_need_the_session_s_etag() -> None:
    async with open_app() as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        place, etag = answer.headers["location"], answer.headers["etag"]
        kind = "application/trickle-ice-sdpfrag"
        text = "a=mid:0\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n"
        assert (await ask(app, "PATCH", place, text, kind)).status == 428
        assert (await ask(app, "PATCH", place, text, kind, if_match='"no"')).status == 412
        assert (await ask(app, "PATCH", place, text, kind, if_match="*")).status == 501
        assert (await ask(app, "PATCH", place, text, if_match=etag)).status == 415
        assert (await ask(app, "PATCH", place, text, kind, if_match=etag)).status == 204
        assert (await ask(app, "PUT", place, text, kind)).status == 405


@looped
async def test_a_session_ends_once() -> None:
    async with open_app() as (app, _):
        place = (await ask(app, "POST", "/whep/show", await offer())).headers["location"]
        assert (await ask(app, "DELETE", place)).status == 200
        assert (await ask(app, "DELETE", place)).status == 404
        assert not app.sessions and not app.channels


@looped
async def test_viewers_are_limited() -> None:
    async with open_app(share=lambda _: Share(viewers=2)) as (app, _):
        text = await offer()
        statuses = [(await ask(app, "POST", "/whep/show", text)).status for _ in range(3)]
        assert statuses == [201, 201, 503]


@looped
async def test_a_client_that_never_connects_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgen_edge.webrtc.app.CONNECT_S", 0.3)
    async with open_app() as (app, _):
        await ask(app, "POST", "/whep/show", await offer())
        assert app.sessions
        await asyncio.sleep(0.6)
        assert not app.sessions and not app.channels


@looped
async def test_relays_are_told_with_passwords_that_end() -> None:
    turn = {"urls": ["turn:192.0.2.1:3478?transport=udp"], "secret": "s", "ttl": 60}
    async with open_app(turn=turn, wall_s=lambda: 1000.0) as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        assert answer.links[0].startswith("<turn:192.0.2.1:3478?transport=udp>; rel=")
        assert 'username="1060:show"' in answer.links[0]
        assert re.findall(r'credential="([^"]*)"', answer.links[0])[0] != "s"


@looped
async def test_one_address_has_so_many_sessions_and_gets_a_place_back_with_each_end() -> None:
    crowd = Crowd("connections.webrtc", lambda: 2)
    async with open_app(crowd=crowd) as (app, _):
        text = await offer()
        first, second = [await ask(app, "POST", "/whep/show", text) for _ in range(2)]
        assert (first.status, second.status) == (201, 201)
        third = await ask(app, "POST", "/whep/show", text)
        assert third.status == 503 and third.headers["retry-after"] == "10"
        assert third.headers["content-type"] == "application/problem+json"
        assert (await ask(app, "DELETE", first.headers["location"])).status == 200
        # An offer that leads to nothing takes no place.
        assert (await ask(app, "POST", "/whep/show?rung=none", text)).status == 406
        assert (await ask(app, "POST", "/whep/show", text)).status == 201
        assert crowd.number == 2
    assert crowd.number == 0
