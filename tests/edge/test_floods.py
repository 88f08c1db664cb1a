"""What clients of HTTP/2 and TLS send to tire a server leaves it alive, small and of use."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("granian", reason="granian is not installed")

from streamgen_edge.web import Web
from tests.certificates import connected, needs_openssl
from tests.edge.frames import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Talk,
    frame,
    head,
    settings,
)
from tests.edge.test_web import GET, anywhere, serving

pytestmark = needs_openssl
LARGE, SMALL = [bytes(1 << 20)] * 4, [b"ok"]
"""A segment of HLS, and a playlist: the same bytes for all who ask."""
GROWTH = 64 << 20
"""Bytes that a flood may make the server larger by; what the floods send is much more."""


class Plays:
    """An application with a large file and a small one, that counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.busy = 0
        self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            parts = LARGE if scope["path"] == "/large" else SMALL
            length = [(b"content-length", b"%d" % sum(map(len, parts)))]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            for part in parts[:-1]:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": parts[-1]})
        finally:
            self.busy -= 1


def rss_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


class Other:
    """Another viewer, who asks again and again on one connection."""

    def __init__(self, port: int) -> None:
        self._talk = Talk(port)
        self._stop = threading.Event()
        self.served = 0
        self.longest_s = 0.0
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> Other:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._talk.close()

    def _play(self) -> None:
        for stream in range(1, 1 << 20, 2):
            if self._stop.is_set():
                return
            began = time.monotonic()
            self._talk.ask(stream, "/small")
            if not any(kind == DATA for kind, _, _, _ in self._talk.heard()):
                return
            self.served += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self._stop.wait(0.02)


def pings() -> Iterator[bytes]:
    yield frame(PING, 0, 0, bytes(8)) * 1000


def settings_again() -> Iterator[bytes]:
    yield settings(window=65_535) * 1000


def empty_frames() -> Iterator[bytes]:
    yield frame(HEADERS, 4, 1, head("/small", "POST"))
    while True:
        yield frame(DATA, 0, 1) * 1000


def continuations() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, head("/small"))
    while True:
        yield frame(CONTINUATION, 0, 1, b"\x00\x01a\x7f\x81\x7d" + b"x" * 16_000)


def empty_continuations() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, head("/small"))
    while True:
        yield frame(CONTINUATION, 0, 1) * 1000


def resets() -> Iterator[bytes]:
    for first in range(1, 1 << 28, 200):
        yield b"".join(
            frame(HEADERS, 5, stream, head("/small")) + frame(RST_STREAM, 0, stream, bytes(4))
            for stream in range(first, first + 200, 2)
        )


def windows() -> Iterator[bytes]:
    yield frame(WINDOW_UPDATE, 0, 0, b"\x00\x00\x00\x01") * 1000


def bomb() -> Iterator[bytes]:
    """One field goes into the table, and is named many thousand times (HPACK)."""
    field = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000
    yield frame(HEADERS, 5, 1, head("/small") + field)
    for stream in range(3, 1 << 28, 2):
        yield frame(HEADERS, 5, stream, head("/small") + b"\xbe" * 15_000)


FLOODS: list[Callable[[], Iterator[bytes]]] = [
    *(pings, settings_again, empty_frames, continuations, empty_continuations),
    *(resets, windows, bomb),
]


def flooded(port: int, flood: Callable[[], Iterator[bytes]], seconds: float) -> int:
    """Send as fast as goes until the server ends it, and read nothing; bytes that were taken."""
    talk, sent = Talk(port), 0
    talk.sock.settimeout(0.5)
    until = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < until:
            for data in flood():
                talk.sock.sendall(data)
                sent += len(data)
                if time.monotonic() > until:
                    break
    talk.close()
    return sent


def serve(folder: Path, test: Callable[[Web, Plays], None]) -> None:
    """Run `test` in a thread beside a server."""

    async def main() -> None:
        plays = Plays()
        async with serving(plays, anywhere(folder)) as web:
            await asyncio.to_thread(test, web, plays)

    asyncio.run(main())


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_leaves_the_server_alive_and_small_and_others_served(
    tmp_path: Path, flood: Callable[[], Iterator[bytes]]
) -> None:
    def test(web: Web, plays: Plays) -> None:
        with Other(web.port) as other:
            before = rss_bytes()
            sent = flooded(web.port, flood, 1.0)
            grown, served = rss_bytes() - before, other.served
            until = time.monotonic() + 10
            while other.served < served + 3 and time.monotonic() < until:
                time.sleep(0.01)
            print(flood.__name__, sent, "sent", grown, "grown", other.longest_s, "s", plays.most)
            assert other.served >= served + 3
        assert grown < GROWTH
        assert plays.most <= 300

    serve(tmp_path, test)


@pytest.mark.parametrize("window", [0, 1, None])
def test_who_does_not_read_holds_little_and_holds_up_nobody(
    tmp_path: Path, window: int | None
) -> None:
    def test(web: Web, plays: Plays) -> None:
        before, talks = rss_bytes(), []
        for _ in range(4):
            talk = Talk(web.port, window=window)
            for stream in range(1, 65, 2):  # 512 MiB in all, if it were held
                talk.ask(stream, "/large")
            talks.append(talk)
        until = time.monotonic() + 5
        while plays.asked < 4 * 32 and time.monotonic() < until:
            time.sleep(0.01)
        assert plays.asked == 4 * 32
        with Other(web.port) as other:
            until = time.monotonic() + 10
            while other.served < 10 and time.monotonic() < until:
                time.sleep(0.01)
            assert other.served >= 10
        grown = rss_bytes() - before
        print("window", window, grown)
        for talk in talks:
            talk.close()
        until = time.monotonic() + 5
        while plays.busy and time.monotonic() < until:
            time.sleep(0.01)
        assert plays.busy == 0 and grown < GROWTH

    serve(tmp_path, test)


def test_what_is_no_http2_is_told_so_and_ended(tmp_path: Path) -> None:
    nonsense = [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, 5, 2, head("/small")),
        frame(PING, 0, 0, b"x"),
        frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        frame(DATA, 8, 1, b"\xff"),
        b"\xff\xff\xff" + bytes(6),
        b"\xff" * 256,
    ]

    def test(web: Web, _: Plays) -> None:
        for said in nonsense:
            talk = Talk(web.port)
            talk.say(said)
            talk.sock.settimeout(5)
            kinds = [kind for kind, _, _, _ in talk.heard()]
            talk.close()
            assert GOAWAY in kinds, said[:20]

    serve(tmp_path, test)


def test_tls_is_not_negotiated_again(tmp_path: Path) -> None:
    """What a client pays for it is little, and what a server pays is much."""
    openssl = shutil.which("openssl")
    assert openssl is not None

    def test(web: Web, plays: Plays) -> None:
        place = f"127.0.0.1:{web.port}"
        client = subprocess.Popen(
            [openssl, "s_client", "-tls1_2", "-msg", "-connect", place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert client.stdin is not None and client.stdout is not None
        with client:
            said = b""
            while b"Extended master secret" not in said:  # it is connected
                said += client.stdout.readline()
            client.stdin.write(b"R\n")
            client.stdin.flush()
            while said.count(b"ClientHello") < 2:
                said += client.stdout.readline()
            with suppress(subprocess.TimeoutExpired):  # the first time it took a few ms
                client.wait(1.5)
            client.kill()
            said += client.stdout.read()
        assert said.count(b"ServerHello,") + said.count(b"ServerHello\n") == 1, said
        assert plays.asked == 0
        with connected(web.port) as sock:
            sock.sendall(GET % b"/small")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")

    serve(tmp_path, test)


def test_plain_http_on_the_port_of_tls_and_records_that_lie_are_refused(tmp_path: Path) -> None:
    def test(web: Web, plays: Plays) -> None:
        for said in (GET % b"/", b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\x80\x2e\x01\x00\x02"):
            with socket.create_connection(("127.0.0.1", web.port), 15) as sock:
                with suppress(OSError):
                    sock.sendall(said)
                    sock.shutdown(socket.SHUT_WR)
                heard = b""
                with suppress(ConnectionError):
                    while more := sock.recv(4096):
                        heard += more
                assert not heard.startswith(b"HTTP/")
        assert plays.asked == 0

    serve(tmp_path, test)
