"""Without keys the API belongs to this machine, and a proxy here does not hand that on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from fastapi import HTTPException, Request

from streamgen_edge.auth.access import Access
from streamgen_edge.auth.administering import administrator
from streamgen_edge.auth.settings import Auth

KEY = "k" * 32


@dataclass(frozen=True)
class Guarded:
    access: Access


def status(
    *headers: tuple[bytes, bytes],
    client: str = "127.0.0.1",
    keys: dict[str, str] | None = None,
    version: str = "1.1",
) -> int:
    """Of one request; 200 where it is let in."""
    admin = administrator(Guarded(Access(Auth(admin_keys=keys or {}), None)))
    scope = {"type": "http", "method": "GET", "headers": headers, "client": (client, 1)}
    scope["http_version"] = version
    try:
        asyncio.run(admin(Request(scope)))
    except HTTPException as refused:
        return refused.status_code
    return 200


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8080", b"[::1]:8080", b"127.1.2.3"])
def test_this_machine_may_where_nobody_was_named(host: bytes) -> None:
    assert status((b"host", host)) == 200
    assert status((b"host", host), client="192.0.2.1") == 403


@pytest.mark.parametrize("host", [b"tv.example", b"192.0.2.1", b""])
def test_what_was_sent_to_another_name_is_not_of_this_machine(host: bytes) -> None:
    assert status((b"host", host)) == 403


@pytest.mark.parametrize(
    "header",
    [
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"forwarded", b"for=127.0.0.1"),
        (b"via", b"1.1 proxy"),
        (b"x-real-ip", b"127.0.0.1"),
        (b"x-forwarded", b""),
        (b"x-forwarded-prefix", b"/live"),
        (b"x-forwarded-client-cert", b"by=x"),
        (b"x-original-forwarded-for", b"192.0.2.1"),
        (b"x-envoy-external-address", b"192.0.2.1"),
        (b"cf-ray", b"1"),
        (b"cdn-loop", b"cloudflare"),
        (b"x-amzn-trace-id", b"Root=1"),
        (b"client-ip", b"192.0.2.1"),
        (b"proxy-connection", b"keep-alive"),
    ],
)
def test_what_a_proxy_sends_on_is_not_of_this_machine(header: tuple[bytes, bytes]) -> None:
    assert status((b"host", b"localhost"), header) == 403
    bearer = (b"authorization", b"Bearer " + KEY.encode())
    assert status((b"host", b"localhost"), header, bearer, keys={"me": KEY}) == 200


def test_other_headers_say_nothing_of_proxies() -> None:
    for name in (b"user-agent", b"x-request-id", b"x-requested-with", b"viewport-width"):
        assert status((b"host", b"localhost"), (name, b"1")) == 200


def test_a_proxy_that_says_nothing_of_itself_is_known_by_its_old_http() -> None:
    assert status((b"host", b"127.0.0.1:8080"), version="1.0") == 403
    assert status((b"host", b"127.0.0.1:8080"), version="2") == 200


def test_a_page_of_another_site_may_not_even_look() -> None:
    here = (b"host", b"localhost:8080")
    assert status(here, (b"sec-fetch-site", b"cross-site")) == 403
    assert status(here, (b"sec-fetch-site", b"same-site")) == 403
    assert status(here, (b"origin", b"http://localhost:3000")) == 403
    assert status(here, (b"sec-fetch-site", b"same-origin")) == 200
    bearer = (b"authorization", b"Bearer " + KEY.encode())
    assert status(here, (b"origin", b"http://evil.example"), bearer, keys={"me": KEY}) == 403
