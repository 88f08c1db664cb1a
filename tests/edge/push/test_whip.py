"""Pushing by WHIP: what arrives, and where an answer may send the media."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import av
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push import peer, whip
from streamgen_edge.push.push import State
from streamgen_edge.push.target import Failure
from streamgen_edge.push.whip import KNOCKS, MOST_CANDIDATES, MOST_HOPS, Endpoint, reachable
from tests.edge.push.show import LOOPBACK, playing, pushing
from tests.edge.rtmp.peer import until
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.serving import Served

TOKEN = "t0ken-canary"
HIGH = bytes.fromhex("00000001 67 64 00 1f ac")
"""The beginning of a sequence parameter set, as far as it is looked at."""


def test_a_stream_arrives_by_whip_and_the_session_is_ended() -> None:
    with Served() as served:

        async def run() -> int:
            url = f"http://127.0.0.1:{served.port}/whip/there"
            async with playing() as show, pushing(show, url, token=TOKEN) as push:
                await until(lambda: push.pictures > 60)
                assert push.facts()["dropped"] == 0 and push.state is State.LIVE
                return push.pictures

        sent = asyncio.run(run())
        basket = served.hub.baskets["there"]
        served.until(lambda: basket.end is not None, "end of the publisher")
        request = served.hub.publishers["there"].request
    assert basket.end.explicit and request.token == TOKEN
    pictures = basket.of("video/0")
    assert len(pictures) >= sent - 1 and len(basket.of("audio/0")) > 90
    decoder = av.CodecContext.create("h264", "r")
    packets = [av.Packet(one.data) for one in pictures]
    frames = [frame for one in [*packets, None] for frame in decoder.decode(one)]
    assert len(frames) == len(pictures) and frames[0].width == 320


def test_a_server_that_ends_its_sessions_is_found_again() -> None:
    with Served() as served:

        async def run() -> None:
            url = f"http://127.0.0.1:{served.port}/whip/there"
            async with playing() as show, pushing(show, url) as push:
                await until(lambda: push.pictures > 10)
                await asyncio.wrap_future(
                    asyncio.run_coroutine_threadsafe(served.app.close(), served.loop)
                )
                await until(lambda: push.state is not State.LIVE)
                await until(lambda: push.connections == 2 and push.state is State.LIVE)
                assert push.restarts == 0

        asyncio.run(run())


IMPATIENT = """
from streamgen_edge.push import peer, sender, whip
peer.CONSENT_S, peer.HEARS_S = 0.1, 0.5
sender.main(whip.opened)
"""


def test_a_server_whose_media_side_hangs_costs_others_nothing_and_is_found_again() -> None:
    with Served() as served:

        async def run() -> None:
            url = f"http://127.0.0.1:{served.port}/through/way/whip/there"
            command = (sys.executable, "-c", IMPATIENT)
            async with playing() as show, pushing(show, url, command=command) as push:
                await until(lambda: push.pictures > 10)
                seen = show.feed.subscribe("video/90p")
                served.proxies["way"].cut = True
                await until(lambda: push.state is not State.LIVE)
                ways = {served.proxies["way"]}
                for _ in range(2):  # it is asked again and again
                    await until(lambda: served.proxies["way"] not in ways)
                    ways.add(served.proxies["way"])
                    await until(lambda: push.state is State.WAITING)
                    assert push.reason == peer.SILENT and push.connections == 1
                served.proxies["way"].cut = False
                shown = push.pictures
                await until(lambda: push.pictures > shown and push.state is State.LIVE)
                assert push.connections == 2 and push.restarts == push.dropped == 0
                assert seen.dropped < 20  # before its first key frame
                seen.close()

        asyncio.run(run())
        assert served.hub.baskets["there"].of("video/0")


@looped
async def test_a_rung_that_whip_cannot_carry_is_not_sent() -> None:
    async with playing() as show:
        show.tracks = [replace(show.tracks[0], config=HIGH), *show.tracks[1:]]
        url = "http://127.0.0.1:9/whip/there"
        async with pushing(show, url, rung="180p") as push:
            assert push.state is State.UNFIT and "Constrained Baseline" in push.reason
        async with pushing(show, url) as push:
            assert push.state is not State.UNFIT  # the smaller one can


CANDIDATE = "a=candidate:1 1 udp 2130706431 {} 50000 typ host"


def answer(*addresses: str) -> str:
    lines = ["v=0", "m=video 9 UDP/TLS/RTP/SAVPF 97", *(CANDIDATE.format(a) for a in addresses)]
    return "\r\n".join(lines) + "\r\n"


def test_candidates_lead_only_where_we_may_go() -> None:
    bad = ("10.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:192.168.1.1", "abc.local", "x")
    left = reachable(answer("8.8.8.8", *bad, "127.0.0.1"), ["127.0.0.1"], OutboundSettings())
    assert left == answer("8.8.8.8", "127.0.0.1")
    allowed = OutboundSettings(allow=("10.0.0.0/8",))
    assert reachable(answer("10.0.0.1", "192.168.0.1"), [], allowed) == answer("10.0.0.1")


@pytest.mark.parametrize("addresses", [(), ("10.0.0.1",)])
def test_an_answer_that_leads_nowhere_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(Failure, match="no address that media may go to") as failed:
        reachable(answer(*addresses), [], OutboundSettings(allow=("media.example",)))
    assert failed.value.refused


def test_an_answer_has_us_knock_at_no_more_than_some_places() -> None:
    many = answer(*(f"8.8.8.{n}" for n in range(200)))
    assert reachable(many, [], OutboundSettings()).count("a=candidate:") == MOST_CANDIDATES


def damaged(sdp: str, dice: random.Random) -> str:
    lines = sdp.splitlines()
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(lines))
        cut = dice.randrange(len(lines[at]) + 1)
        junk = dice.choice(["x", "-1", " ", "99999999999", ":", "é"])
        lines[at] = dice.choice([lines[at][:cut] + junk, lines[at].split(" ")[0], lines[at - 1]])
        if dice.random() < 0.3 and len(lines) > 1:
            del lines[at]
    return "\r\n".join(lines) + "\r\n"


def test_answers_that_make_no_sense_are_failures_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "CONNECTS_S", 0.01)

    @looped
    async def run() -> None:
        network = peer.Outward("127.0.0.1", 9)
        good = ""
        for seed in range(40):
            push = peer.PeerPush(network, ("video", "audio"), lambda: None)
            offer = await push.offer()
            if not good:
                other = RTCPeerConnection()
                await other.setRemoteDescription(RTCSessionDescription(offer, "offer"))
                await other.setLocalDescription(await other.createAnswer())
                good = other.localDescription.sdp
                await other.close()
            with pytest.raises(Failure):
                await push.connect(damaged(good, random.Random(seed)))
            await push.close()

    run()


class Hanging:
    """Answers nothing until it is back, and never what it was asked before that."""

    def __init__(self) -> None:
        self.back = asyncio.Event()
        self.heard: list[str] = []
        self.slow = False
        """An offer is answered only when it has been knocked at a few times more."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method = head.split()[0]
        self.heard.append(method)
        lost = not self.back.is_set()
        if method == "POST" and self.slow:
            await until(lambda: self.heard.count("OPTIONS") > 3 * KNOCKS)
        if not lost:
            status = 201 if method == "POST" else 405
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
        await reader.read()  # until the other leaves
        writer.close()


@asynccontextmanager
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Hanging, Endpoint]]:
    monkeypatch.setattr(whip, "LATE_S", 0.05)
    monkeypatch.setattr(whip, "ANSWERS_S", 60.0)
    talk = Hanging()
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield talk, endpoint(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


def test_an_offer_that_a_hung_server_has_lost_is_made_anew_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @looped
    async def run() -> None:
        async with hanging(monkeypatch) as (talk, place):
            asked = asyncio.create_task(place.publish("v=0"))
            await until(lambda: talk.heard.count("OPTIONS") > KNOCKS)
            assert not asked.done() and talk.heard.count("POST") == 1
            talk.back.set()
            with pytest.raises(Failure, match="lost what it was asked") as failed:
                await asked
            assert not failed.value.refused
            await place.publish("v=0")

    run()


def test_a_server_that_only_takes_its_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    @looped
    async def run() -> None:
        async with hanging(monkeypatch) as (talk, place):
            talk.back.set()
            talk.slow = True
            await place.publish("v=0")
            assert talk.heard.count("POST") == 1

    run()


class Http:
    """Answers requests one after the other as it was told to."""

    def __init__(self, *answers: str) -> None:
        self.answers = [*answers]
        self.heard: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heard.append(head)
        status, _, headers = self.answers.pop(0).partition(" ")
        writer.write(f"HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def http(*answers: str, host: str = "127.0.0.1") -> AsyncIterator[tuple[Http, int]]:
    talk = Http(*answers)
    server = await asyncio.start_server(talk, host, 0)
    try:
        yield talk, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def endpoint(port: int, outbound: OutboundSettings = LOOPBACK) -> Endpoint:
    return Endpoint(Url.of(f"http://127.0.0.1:{port}/whip/a?b=c"), TOKEN, outbound)


@pytest.mark.parametrize(
    "status, lasting",
    [(401, True), (403, True), (406, True), (404, False), (409, False), (500, False), (503, False)],
)
def test_a_refusal_lasts_or_may_be_over_soon(status: int, lasting: bool) -> None:
    @looped
    async def run() -> None:
        async with http(f"{status} ") as (talk, port):
            with pytest.raises(Failure, match=f"answers {status}") as failed:
                await endpoint(port).publish("v=0")
        assert failed.value.refused is lasting
        assert f"authorization: Bearer {TOKEN}" in talk.heard[0]

    run()


@looped
async def test_a_target_hears_where_the_stream_comes_from_and_a_circle_is_called_one() -> None:
    async with http("508 ") as (talk, port):
        url = Url.of(f"http://127.0.0.1:{port}/whip/a")
        with pytest.raises(Failure, match="come back to itself") as failed:
            await Endpoint(url, None, LOOPBACK, "streamgen-0, streamgen-1").publish("v=0")
    assert failed.value.refused and "cdn-loop: streamgen-0, streamgen-1" in talk.heard[0]


@looped
async def test_the_session_is_deleted_where_the_answer_says() -> None:
    async with http("201 Location: /session/1\r\n", "200 ") as (talk, port):
        whip = endpoint(port)
        await whip.publish("v=0")
        await whip.leave()
        await whip.leave()
    asked = [head.splitlines()[0] for head in talk.heard]
    assert asked == ["POST /whip/a?b=c HTTP/1.1", "DELETE /session/1 HTTP/1.1"]
    assert f"authorization: Bearer {TOKEN}" in talk.heard[1]


@looped
async def test_a_redirect_is_followed_and_another_host_gets_no_token() -> None:
    async with http("201 Location: /s\r\n") as (there, other):
        hops = ("307 Location: /elsewhere\r\n", f"308 Location: http://127.0.0.1:{other}/in\r\n")
        async with http(*hops) as (here, port):
            await endpoint(port).publish("v=0")
    assert [head.split()[1] for head in here.heard] == ["/whip/a?b=c", "/elsewhere"]
    assert all(TOKEN in head for head in here.heard)
    assert there.heard[0].startswith("POST /in ") and TOKEN not in there.heard[0]


@pytest.mark.parametrize(
    "location, words",
    [
        ("http://169.254.169.254/latest", "metadata"),
        ("https://10.0.0.1/", "private"),
        ("//[::1]/", "loopback"),
        ("file:///etc/passwd", "where it is not safe"),
        ("rtmp://127.0.0.1/a/b", "where it is not safe"),
    ],
)
def test_a_redirect_into_the_own_network_is_refused(location: str, words: str) -> None:
    @looped
    async def run() -> None:
        async with http(f"307 Location: {location}\r\n") as (_, port):
            with pytest.raises(Failure, match=words) as failed:
                await endpoint(port).publish("v=0")
        assert failed.value.refused

    run()


@looped
async def test_https_is_never_left_for_http() -> None:
    whip = Endpoint(Url.of("https://a.example/whip/a"), TOKEN, OutboundSettings())
    with pytest.raises(Failure, match="where it is not safe"):
        whip._move("http://a.example/whip/a")


@looped
async def test_servers_that_send_to_each_other_are_left() -> None:
    async with http(*["307 Location: /again\r\n"] * MOST_HOPS) as (talk, port):
        with pytest.raises(Failure, match="from place to place"):
            await endpoint(port).publish("v=0")
    assert len(talk.heard) == MOST_HOPS
