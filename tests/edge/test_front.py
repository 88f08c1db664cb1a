"""Requests go where they belong, and a foreign name goes nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from streamgen_edge.app import Front
from streamgen_edge.feed import MOST_BYTES, Feed
from streamgen_edge.settings import Http
from tests.edge.test_gop import picture


def answering(text: bytes) -> Callable[..., Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    return app


def asked(path: str, *hosts: bytes | None, **others: bytes) -> tuple[int, bytes]:
    http = Http(hosts=("localhost", "tv.example"))
    front = Front(*map(answering, (b"hls", b"webrtc", b"page", b"rest")), http)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host) for host in hosts if host is not None]
    headers += [(name.encode(), value) for name, value in others.items()]
    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(front(scope, send, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LOCALHOST:8080", b"tv.example", b"127.0.0.1:8080", b"[::1]:8080"],
)
def test_known_names_and_addresses_are_served(host: bytes) -> None:
    assert asked("/hls/a/index.m3u8", host) == (200, b"hls")
    assert asked("/whep/a", host) == asked("/whip/a", host) == (200, b"webrtc")
    assert asked("/", host) == asked("/page/main.js", host) == (200, b"page")
    assert asked("/v1/streams", host) == asked("/pages", host) == (200, b"rest")


@pytest.mark.parametrize("host", [b"evil.example", b"localhost.evil.example:80", b"127.0.0.1.x"])
def test_a_foreign_name_is_refused_everywhere(host: bytes) -> None:
    assert asked("/hls/a/index.m3u8", host)[0] == 421
    assert asked("/", host)[0] == asked("/v1/streams", host)[0] == 421


@pytest.mark.parametrize("hosts", [(), (b"",), (b"localhost", b"localhost")])
def test_without_a_name_there_is_health_and_nothing_else(hosts: tuple[bytes, ...]) -> None:
    assert asked("/hls/a/index.m3u8", *hosts)[0] == asked("/v1/streams", *hosts)[0] == 421
    assert asked("/healthz", *hosts) == asked("/readyz", *hosts) == (200, b"rest")


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"http://localhost:9", b"["])
def test_pages_of_other_sites_may_let_people_watch_and_nothing_else(origin: bytes) -> None:
    for path in ("/", "/page/main.js", "/v1/streams", "/v1/events", "/docs", "/metrics"):
        assert asked(path, b"localhost:8080", origin=origin)[0] == 403
    assert asked("/hls/a/index.m3u8", b"localhost:8080", origin=origin) == (200, b"hls")
    assert asked("/whep/a", b"localhost:8080", origin=origin) == (200, b"webrtc")


def test_the_own_page_may_do_everything() -> None:
    origin = b"https://tv.example"  # as it is behind a proxy that has the certificate
    assert asked("/v1/streams", b"tv.example", origin=origin) == (200, b"rest")


def test_what_the_api_reads_is_bounded() -> None:
    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    async def endless() -> Any:
        return {"type": "http.request", "body": bytes(4096), "more_body": True}

    front = Front(*map(answering, (b"hls", b"webrtc", b"page")), reading, Http())
    with pytest.raises(HTTPException, match="1048576 bytes"):
        asked = {"type": "http", "path": "/v1", "headers": [(b"host", b"localhost")]}
        asyncio.run(front(asked, endless, endless))


def test_a_subscriber_begins_with_a_key_frame_and_a_slow_one_skips_to_the_next() -> None:
    async def test() -> None:
        feed = Feed()
        slow, quick = feed.subscribe("video/0"), feed.subscribe("video/0")
        feed.put(picture(0))
        feed.put(picture(1, key=True))
        assert [(await anext(one)).pts for one in (slow, quick)] == [1, 1]
        for at in range(2, 7):
            feed.put(picture(at, size=MOST_BYTES // 4))
            assert (await anext(quick)).pts == at
        feed.put(picture(7))
        feed.put(picture(8, key=True))
        assert (await anext(slow)).pts == 8
        assert slow.dropped > quick.dropped == 1
        assert [(await anext(quick)).pts for _ in range(2)] == [7, 8]
        feed.end()
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        slow.close()
        assert len(feed) == 1

    asyncio.run(test())
