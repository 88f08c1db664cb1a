"""Clients that say what they have to say by bits, for ever, or not at all are not waited for."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="granian is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from fastapi import FastAPI, Request

from streamgen_edge import app as front
from streamgen_edge.app import Front
from streamgen_edge.crowd import Crowd
from streamgen_edge.hls import http2, protocol
from streamgen_edge.settings import Http
from streamgen_edge.web import Web
from tests.certificates import connected, needs_openssl
from tests.edge.frames import DATA, PREFACE, Talk, frame
from tests.edge.test_web import BOTH, anywhere, serving

POST = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n%b\r\n\r\n"
LONG = b"content-length: 1000000"
CHUNKED = b"transfer-encoding: chunked"
ENDED_S = 5.0


def api() -> FastAPI:
    """Reads bodies as the API does, but for /early, which answers at once."""
    rest = FastAPI()

    @rest.post("/reads")
    async def reads(request: Request) -> int:
        return len(await request.body())

    @rest.post("/early", status_code=401)
    async def early() -> None:
        return None

    @rest.get("/ok")
    async def ok() -> str:
        return "ok"

    return rest


def whole() -> Front:
    rest = api()
    return Front(rest, rest, rest, rest, Http())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit of time is short."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.6)
    monkeypatch.setattr(protocol, "BODY_S", 0.8)
    monkeypatch.setattr(front, "BODY_S", 0.4)
    monkeypatch.setattr(http2, "IDLE_S", 0.6)
    monkeypatch.setattr(http2, "SWEEP_S", 0.1)
    monkeypatch.setattr(http2, "HTTP1", replace(http2.HTTP1, header_read_timeout=600))


def serve(folder: Path | None, test: Callable[[Web], None], crowd: Crowd | None = None) -> None:
    """Run `test` in a thread beside a server."""

    async def main() -> None:
        async with serving(whole(), anywhere(folder), crowd) as web:
            await asyncio.to_thread(test, web)

    asyncio.run(main())


@contextmanager
def door(web: Web, secure: bool) -> Iterator[socket.socket]:
    place = ("127.0.0.1", web.port)
    with connected(web.port) if secure else socket.create_connection(place, 10) as sock:
        yield sock


def ended_while_saying(sock: socket.socket, bit: bytes) -> float:
    """Say this again and again until the server has had enough; after how long."""
    began = time.monotonic()
    sock.settimeout(0.05)
    while time.monotonic() < began + ENDED_S:
        try:
            sock.sendall(bit)
            if not sock.recv(65_536):
                break
        except TimeoutError:
            continue
        except OSError:  # reset, or an end that TLS was not told of
            break
    return time.monotonic() - began


BITS = {
    "head": (b"GET /ok HTTP/1.1\r\nhost: localhost\r\n", b"x: y\r\n"),
    "line": (b"G", b"E"),
    "early": (POST % (b"/early", LONG), b"x"),
    "read": (POST % (b"/reads", LONG), b"x"),
    "early chunks": (POST % (b"/early", CHUNKED), b"1\r\nx\r\n"),
    "read chunks": (POST % (b"/reads", CHUNKED), b"1\r\nx\r\n"),
    "early continued": (POST % (b"/early", LONG + b"\r\nexpect: 100-continue"), b"x"),
}


@BOTH
def test_who_says_a_request_by_bits_is_not_waited_for(tmp_path: Path, secure: bool) -> None:
    def test(web: Web) -> None:
        def by_bits(what: str) -> None:
            said, bit = BITS[what]
            with door(web, secure) as sock:
                sock.sendall(said)
                assert ended_while_saying(sock, bit) < ENDED_S, what

        with ThreadPoolExecutor(len(BITS)) as threads:
            list(threads.map(by_bits, BITS))

    serve(tmp_path if secure else None, test)


@BOTH
def test_a_body_that_the_api_waits_for_in_vain_is_said_to_be_late(
    tmp_path: Path, secure: bool
) -> None:
    def test(web: Web) -> None:
        with door(web, secure) as sock:
            sock.sendall(POST % (b"/reads", LONG) + b"[1,")
            assert b" 408 " in sock.recv(65_536).partition(b"\r\n")[0]

    serve(tmp_path if secure else None, test)


HEADS = {
    "field": b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    "line": b"GET /ok?" + b"z" * 200_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "fields": b"GET /ok HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 40_000 + b"\r\n",
    "no end": b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 2_000_000,
}


@BOTH
def test_a_head_too_large_is_refused(tmp_path: Path, secure: bool) -> None:
    def test(web: Web) -> None:
        for what, head in HEADS.items():
            with door(web, secure) as sock:
                heard = b""
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                with suppress(OSError):  # the server need not read all of it
                    sock.sendall(head)
                with suppress(OSError):
                    heard = sock.recv(65_536)
                assert b" 200 " not in heard.partition(b"\r\n")[0], what
                assert ended_while_saying(sock, b"") < ENDED_S, what

    serve(tmp_path if secure else None, test)


@BOTH
def test_a_body_after_the_answer_is_not_taken_for_long(tmp_path: Path, secure: bool) -> None:
    def test(web: Web) -> None:
        with door(web, secure) as sock:
            sock.sendall(POST % (b"/early", b"content-length: 1000000000"))
            sent = 0
            with suppress(OSError):
                while sent < 256 << 20:
                    sock.sendall(bytes(65_536))
                    sent += 65_536
            assert sent < 32 << 20

    serve(tmp_path if secure else None, test)


def test_requests_one_after_the_other_are_served_however_long_that_goes_on() -> None:
    def test(web: Web) -> None:
        with door(web, False) as sock:
            until = time.monotonic() + 2  # all limits together
            while time.monotonic() < until:
                for body in (b"", b"x" * 100_000):
                    sock.sendall(POST % (b"/reads", b"content-length: %d" % len(body)) + body)
                    assert b" 200 " in sock.recv(65_536).partition(b"\r\n")[0]
                sock.sendall(b"GET /ok HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\n\r\n" * 3)
                heard = b""
                while heard.count(b'"ok"') < 3:
                    heard += sock.recv(65_536)
                time.sleep(0.2)

    serve(None, test)


def test_a_large_body_does_not_count_for_the_head_behind_it() -> None:
    def test(web: Web) -> None:
        head = POST % (b"/reads", b"content-length: 200000")
        after = b"GET /ok HTTP/1.1\r\nhost: local"
        with door(web, False) as sock:
            for _ in range(5):
                sock.sendall(head + bytes(200_000) + after)
                assert b" 200 " in sock.recv(65_536).partition(b"\r\n")[0]
                sock.sendall(b"host\r\n\r\n")
                heard = b""
                while b'"ok"' not in heard:
                    more = sock.recv(65_536)
                    assert more
                    heard += more

    serve(None, test)


def read_to_end(sock: socket.socket) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while sock.recv(65_536):
            pass


@needs_openssl
def test_who_says_nothing_over_tls_is_ended_and_who_talks_stays(tmp_path: Path) -> None:
    def test(web: Web) -> None:
        silent, halfway, polite = connected(web.port), Talk(web.port), Talk(web.port)
        prefaced = connected(web.port, "h2")
        prefaced.sendall(PREFACE[:10])
        halfway.ask(1, "/early", "POST", end=False)
        answered = 0
        for stream in range(1, 24, 2):
            polite.ask(stream, "/ok")
            answered += next(True for kind, _, _, _ in polite.heard() if kind == DATA)
            time.sleep(0.1)
        for sock in (silent, halfway.sock, prefaced):
            sock.settimeout(ENDED_S)
            read_to_end(sock)
            sock.close()
        assert answered == 12
        polite.close()

    serve(tmp_path, test)


@needs_openssl
def test_an_address_with_too_many_connections_over_tls_loses_the_newest(tmp_path: Path) -> None:
    def test(web: Web) -> None:
        first = [Talk(web.port) for _ in range(3)]
        time.sleep(0.3)  # seen
        more = [Talk(web.port) for _ in range(2)]
        for talk in more:
            talk.sock.settimeout(ENDED_S)
            read_to_end(talk.sock)
        for talk in first:
            talk.ask(1, "/ok")
            assert any(kind == DATA for kind, _, _, _ in talk.heard())
        for talk in (*first, *more):
            talk.close()

    serve(tmp_path, test, Crowd("connections.http", lambda: 3))


@needs_openssl
def test_a_stream_of_http2_that_was_answered_takes_no_more(tmp_path: Path) -> None:
    """Its window is never opened again, so that nothing more than that can come."""

    def test(web: Web) -> None:
        talk = Talk(web.port)
        talk.ask(1, "/early", "POST", end=False)
        kinds = []
        for kind, _, stream, _ in talk.heard():
            kinds.append(kind)
            if stream == 1 and kind == 3:
                break
        assert 1 in kinds
        for _ in range(20):
            talk.say(frame(DATA, 0, 1, b"x"))
        talk.ask(3, "/ok")
        assert any(kind == DATA and stream == 3 for kind, _, stream, _ in talk.heard())
        talk.close()

    serve(tmp_path, test)
