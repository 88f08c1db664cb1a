"""Offers and requests that are wrong, huge, slow or malicious get the reason, and no more."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from streamgen_edge.webrtc import http
from streamgen_edge.webrtc.offer import usable
from tests.edge.webrtc.peers import Watching, looped, posting
from tests.edge.webrtc.studio import ask
from tests.edge.webrtc.test_http import offer, open_app

SDP = "application/sdp"
Change = Callable[[str], str]


def without(*names: str) -> Change:
    return lambda text: "".join(
        line for line in text.splitlines(True) if not line.startswith(tuple(names))
    )


def setup(value: str) -> Change:
    return lambda text: text.replace("a=setup:actpass", f"a=setup:{value}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 1000, "too many media lines"),
        (without("a=ice-ufrag"), "no ice-ufrag"),
        (without("a=ice-pwd"), "no ice-pwd"),
        (without("a=fingerprint"), "no fingerprint"),
        (without("a=setup"), "cannot be read"),
        (setup("holdconn"), "cannot be read"),
        (setup("nonsense"), "cannot be read"),
        (lambda text: text.replace("a=recvonly", "a=inactive"), "'inactive'"),
        (lambda text: re.sub(r"a=fingerprint:\S+ \S+", "a=fingerprint:md5 00", text), "SHA-256"),
        (lambda text: text.replace("a=rtpmap:", "a=rtpmap:x"), "cannot be read"),
        (lambda text: text + "a=fmtp:77 x=1\r\n", "cannot be read"),
        (lambda text: re.sub(r"m=video \d+ ", "m=video x ", text), "cannot be read"),
    ],
    ids=[
        *("1000 lines", "no ufrag", "no password", "no fingerprint", "no setup", "holdconn"),
        *("setup", "inactive", "fingerprint", "rtpmap", "fmtp", "port"),
    ],
)
@looped
async def test_an_offer_that_makes_no_sense_is_a_bad_request(change: Change, reason: str) -> None:
    async with open_app() as (app, _):
        answer = await ask(app, "POST", "/whep/show", change(await offer()))
        assert answer.status == 400, answer.text
        assert reason in answer.problem
        await asyncio.sleep(0)
        assert not app.sessions and not app.channels


@looped
async def test_a_body_of_a_megabyte_is_read_no_further_than_the_limit() -> None:
    async with open_app() as (app, _):
        taken = 0

        async def receive() -> dict[str, Any]:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b"a" * 4096, "more_body": taken < 256}

        assert await status(app, receive) == 413
        assert taken < 20


@pytest.mark.parametrize("protocol", ["whip", "whep"])
@looped
async def test_a_body_that_does_not_come_is_not_waited_for(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.2)
    async with open_app() as (app, _):

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"v", "more_body": True}

        async with asyncio.timeout(2):
            assert await status(app, receive, f"/{protocol}/show") == 408


@looped
async def test_a_client_that_leaves_while_it_asks_leaves_nothing() -> None:
    async with open_app() as (app, _):

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        assert await status(app, receive) == 400
        assert not app.sessions


async def status(app: Any, receive: Any, path: str = "/whep/show") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    await app({**scope, "headers": [(b"content-type", SDP.encode())]}, receive, send)
    return int(sent[0]["status"])


@looped
async def test_nobody_is_knocked_at_that_a_client_names() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        port = victim.getsockname()[1]
        named = [f"a=candidate:1 1 udp 2113937151 127.0.0.1 {port} typ host"]
        named += [f"a=candidate:2 1 udp 99 {n}.local {port} typ host" for n in range(300)]
        named += [f"a=candidate:3 1 udp 99 {host} {at} typ host" for host, at in STRANGE]
        lines = "\r\n".join(named) + "\r\n"
        async with open_app() as (app, _):
            text = (await offer()).replace("a=ice-ufrag", lines + "a=ice-ufrag", 1)
            answer = await ask(app, "POST", "/whep/show", text)
            assert answer.status == 201
            place, etag = answer.headers["location"], answer.headers["etag"]
            kind = "application/trickle-ice-sdpfrag"
            later = await ask(app, "PATCH", place, "a=mid:0\r\n" + lines, kind, if_match=etag)
            assert later.status == 204
            await asyncio.sleep(0.5)
            with pytest.raises(BlockingIOError):
                victim.recv(1)


STRANGE = [
    *(("169.254.169.254", 80), ("10.0.0.1", 22), ("127.0.0.1", 0), ("127.0.0.1", 1)),
    *(("fe80::1", 5000), ("::1", 5000), ("255.255.255.255", 9), ("0.0.0.0", 9)),
]


@looped
async def test_candidates_that_are_none_harm_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgen_edge.webrtc.stack.STUN_S", 0.2)
    async with open_app(ice_servers=("stun:127.0.0.1:9",)) as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        place, etag = answer.headers["location"], answer.headers["etag"]
        kind = "application/trickle-ice-sdpfrag"
        for line in (
            "a=candidate:1 1 udp 1 10.0.0.1 9 typ host",
            "a=candidate:1 1 udp 1 10.0.0.1 9 typ host raddr",
            "a=candidate:1 1 udp 1 10.0.0.1 65536 typ host",
            "a=candidate:1 1 udp 1 10.0.0.1 99999999999 typ host",
            "a=candidate:1 1 udp 1 turn.example 9 typ host",
            "a=candidate:1 1 tcp 1 10.0.0.1 9 typ host",
            "a=candidate:",
        ):
            found = await ask(app, "PATCH", place, line + "\r\n", kind, if_match=etag)
            assert found.status == 204, line
        assert place in app.sessions


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        *(("192.0.2.7 5000", True), ("10.0.0.1 9", True), ("2001:db8::1 9", True)),
        *(("127.0.0.1 9", False), ("::1 9", False), ("169.254.169.254 80", False)),
        *(("fe80::1 9", False), ("0.0.0.0 9", False), ("224.0.0.1 9", False)),
        *(("255.255.255.255 9", False), ("10.0.0.1 0", False), ("10.0.0.1 65536", False)),
        *(("localhost 9", False), ("x.local 9", False), ("metadata.internal 80", False)),
    ],
)
def test_only_addresses_of_other_machines_are_knocked_at(where: str, wanted: bool) -> None:
    assert usable(f"a=candidate:1 1 udp 2113937151 {where} typ host") is wanted


@looped
async def test_a_session_is_found_under_its_own_stream_only() -> None:
    async with open_app() as (app, _):
        place = (await ask(app, "POST", "/whep/show", await offer())).headers["location"]
        for other in (place.replace("show", "other"), place.replace("whep", "whip"), place + "x"):
            assert (await ask(app, "DELETE", other)).status == 404
        assert place in app.sessions


@looped
async def test_simulcast_and_unknown_attributes_are_passed_over() -> None:
    async with open_app() as (app, _):
        more = (
            "a=rid:hi send\r\na=simulcast:send hi;lo\r\na=nonsense:"
            + "x" * 5000
            + "\r\na=\r\n\0\r\n"
        )
        text = (await offer()).replace("a=recvonly", more + "a=recvonly", 1)
        assert (await ask(app, "POST", "/whep/show", text)).status == 201


@looped
async def test_a_peer_with_another_certificate_than_it_said_gets_nothing() -> None:
    async with open_app() as (app, _):
        viewer = Watching()

        async def post(path: str, text: str) -> Any:
            wrong = re.sub(r"(a=fingerprint:\S+) ..:", r"\1 00:", text)
            return await posting(app)(path, wrong)

        await viewer.start(post, "/whep/show")
        assert viewer.answer.status == 201
        async with asyncio.timeout(8):
            while app.sessions:  # noqa: ASYNC110 - the end comes from the stack
                await asyncio.sleep(0.05)
        assert not app.channels
        await viewer.peer.close()
