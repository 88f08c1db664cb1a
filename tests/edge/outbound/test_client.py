"""A request to another server: it ends in time, whatever the other does, and goes nowhere else."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")


from streamgen_edge.outbound.client import Answer, Client
from streamgen_edge.outbound.resolving import Forbidden, OutboundError
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from tests.edge.outbound.servers import HOME, Authority, answers, reset, says, serving, silence
from tests.edge.webrtc.peers import looped

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


async def at_home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def get(url: str, client: Client | None = None, **limits: Any) -> Answer:
    limits = {"within_s": 20.0, "most_bytes": 1000, **limits}
    return await (client or Client(HOME)).get(Url.of(url), **limits)


async def failure(url: str, client: Client | None = None, **limits: Any) -> str:
    with pytest.raises(OutboundError) as caught:
        await get(url, client, **limits)
    assert "behind-the-host" not in str(caught.value)
    return caught.value.reason


@looped
async def test_a_request_is_answered() -> None:
    async with serving(answers(200, body=b'{"a": 1}')) as service:
        assert await get(service.url) == Answer(200, b'{"a": 1}')
        body, signed = b'{"x": 2}', {"webhook-id": "m"}
        url = Url.of(service.url)
        assert await Client(HOME).post(url, body, signed, within_s=20) == 200
    asked, told = service.heard
    assert asked.line == "GET /ask?secret=behind-the-host HTTP/1.1"
    assert asked.headers["host"] == f"127.0.0.1:{service.port}"
    assert told.line.startswith("POST ") and told.body == body
    assert told.headers["webhook-id"] == "m"
    assert told.headers["content-type"] == "application/json"


@looped
async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answers(200)) as service, serving(answers(204)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await get(service.url)).status == 200
        assert not proxy.connections


@looped
async def test_an_address_inside_is_not_connected_to() -> None:
    async with serving(answers(200)) as service:
        said = await failure(service.url, Client(OutboundSettings()))
        assert "a loopback address" in said
        assert service.connections == 0


@looped
async def test_a_name_that_turns_inside_while_it_is_connected_is_not_followed() -> None:
    asked = []

    async def turning(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    async with serving(answers(200)) as service:  # at 127.0.0.1 only
        client = Client(OutboundSettings(allow=("127.0.0.2",)), turning)
        assert "refused" in await failure(f"http://turning.example:{service.port}/", client)
        assert asked == ["turning.example"] and service.connections == 0


@looped
async def test_what_was_allowed_may_change() -> None:
    async with serving(answers(200)) as service:
        client = Client(OutboundSettings())
        await failure(service.url, client)
        client.use(HOME)
        assert (await get(service.url, client)).good


@looped
async def test_without_tls_nothing_leaves_the_own_network() -> None:
    async def outside(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8"]

    client = Client(OutboundSettings(), outside)
    with pytest.raises(Forbidden, match="without TLS"):
        await get("http://plain.example/", client, within_s=5)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@looped
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with serving(answers(200)) as inner, serving(answers(200)) as outer:
        outer.behave = answers(status, headers=f"location: {inner.url}\r\n")
        assert (await get(outer.url)).status == status
        outer.behave = answers(status, headers=f"location: {outer.url}\r\n")  # a loop
        assert (await get(outer.url)).status == status
        assert inner.connections == 0 and outer.connections == 2


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (silence, "no answer within 0.5 s"),
        (says(HEAD, b"x: y\r\n", pause_s=0.05, last_forever=True), "no answer within 0.5 s"),
        (
            says(HEAD + b"content-length: 900\r\n\r\n", b"x", pause_s=0.1, last_forever=True),
            "no answer within 0.5 s",
        ),
        (says(b"HTTP/1.1 100 C\r\n\r\n", pause_s=0.01, last_forever=True), "no answer within"),
    ],
)
@looped
async def test_what_is_slow_ends_in_time(behave: Any, reason: str) -> None:
    async with serving(behave) as service:
        began = time.monotonic()
        assert reason in await failure(service.url, within_s=0.5)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (reset, "reset|broke off"),
        (says(b""), "broke off"),
        (says(b"220 smtp.example ESMTP\r\n"), "no HTTP"),
        (says(HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabc"), "no HTTP"),
        (says(HEAD + b"content-length: 50\r\n\r\nabc"), "broke off"),
        (says(HEAD + b"content-length: 5000\r\n\r\n" + b"a" * 5000), "longer than 1000 bytes"),
        (says(HEAD + b"\r\n", b"a" * 600, last_forever=True), "longer than 1000 bytes"),
        (says(HEAD, b"x: " + b"y" * 999 + b"\r\n", last_forever=True), "no HTTP"),
        (
            says(CHUNKED, b"5\r\naaaaa\r\n", last_forever=True),
            "longer than 1000 bytes",
        ),
        (says(CHUNKED, b"9" * 99, last_forever=True), "no HTTP"),
        (says(b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), "broke off|no HTTP"),
    ],
)  # fmt: skip
@looped
async def test_what_is_no_answer_is_said_and_not_repeated(behave: Any, reason: str) -> None:
    async with serving(behave) as service:
        said = await failure(service.url)
        assert any(one in said for one in reason.split("|")), said
        assert "smtp" not in said


@looped
async def test_an_endless_body_is_not_waited_for_where_only_the_status_counts() -> None:
    async with serving(says(HEAD + b"\r\n", b"a" * 99, last_forever=True)) as service:
        assert await Client(HOME).post(Url.of(service.url), b"", {}, within_s=20) == 200


@looped
async def test_where_nobody_listens_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    assert "refused" in await failure(f"http://127.0.0.1:{port}/")


@looped
async def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with serving(answers(200)) as service:
        url = f"http://two.example:{service.port}/"
        assert (await get(url, Client(HOME, two))).good
        assert service.heard[0].headers["host"] == f"two.example:{service.port}"


@looped
async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    assert "no answer" in await failure(
        "https://slow.example/", Client(HOME, hanging), within_s=0.1
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@looped
async def test_a_certificate_must_be_for_the_name(authority: Authority, tmp_path: Path) -> None:
    tls = authority.context(tmp_path, "right.example", "127.0.0.1")
    names = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    client = Client(HOME, at_home, authority.believed)
    async with serving(answers(200), tls) as service:
        assert (await get(f"https://right.example:{service.port}/", client)).good
        assert (await get(f"https://127.0.0.1:{service.port}/", client)).good
        assert names == ["right.example", None]
        for host in ("wrong.example", "localhost"):
            said = await failure(f"https://{host}:{service.port}/", client)
            assert "certificate" in said and host in said
        assert len(service.heard) == 2  # nothing was told to the wrong one


@looped
async def test_a_certificate_must_hold(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.new()
    for signer, days, believed, reason in (
        (stranger, 1, authority.believed, "certificate"),
        (authority, -1, authority.believed, "expired"),
        (authority, 1, None, "certificate"),  # by this machine's own list
    ):
        tls = signer.context(tmp_path, "right.example", days=days)
        async with serving(answers(200), tls) as service:
            client = Client(HOME, at_home, believed)
            assert reason in await failure(f"https://right.example:{service.port}/", client)
            assert not service.heard


@looped
async def test_no_tls_is_no_answer() -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 no\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "TLS" in await failure(f"https://right.example:{port}/", Client(HOME, at_home))
