"""Both HTTP servers of an edge: they free who waits for nothing, and a new certificate drops
nobody."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("granian", reason="granian is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from streamgen.errors import ConfigError
from streamgen_edge.crowd import Crowd
from streamgen_edge.hls import hls_app, http2
from streamgen_edge.settings import Http, Tls
from streamgen_edge.web import Web, web_server
from tests.certificates import certified, connected, needs_openssl, shown
from tests.deliver.live_packets import live_video
from tests.edge.hls.conftest import SESSION, everybody, packaged

GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
BOTH = pytest.mark.parametrize("secure", [False, pytest.param(True, marks=needs_openssl)])


class Slow:
    """An application that answers when told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if scope["path"] == "/slow":
            await self.go.wait()
        head = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok"})


def anywhere(folder: Path | None, listen: str = "127.0.0.1:0") -> Http:
    """On a free port; with a certificate made in `folder`."""
    if folder is None:
        return Http(listen=listen)
    cert, key = certified(folder, "a")
    return Http(listen=listen, tls=Tls(cert=cert, key=key))


@asynccontextmanager
async def serving(app: Any, http: Http, crowd: Crowd | None = None) -> AsyncIterator[Web]:
    web = web_server(app, http, crowd)
    await web.start()
    try:
        yield web
    finally:
        await web.close(3)
        assert web.ended.is_set()


async def opened(web: Web, secure: bool) -> Any:
    anyone = None
    if secure:
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", web.port, ssl=anyone)


async def left(writer: asyncio.StreamWriter) -> None:
    """Gone without a word."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def until(holds: Callable[[], Any], seconds: float = 5) -> None:
    async def poll() -> None:
        while not holds():  # noqa: ASYNC110 - what happens is in another object's hands
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), seconds)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@BOTH
def test_a_player_that_leaves_frees_the_place_where_it_waited(tmp_path: Path, secure: bool) -> None:
    async def test() -> None:
        packager = packaged((live_video("video/180p", size=(320, 180), seconds=4),), until_s=3.7)
        app = hls_app({"cam": packager}, everybody)
        async with serving(app, anywhere(tmp_path if secure else None)) as web:
            writers = []
            for _ in range(3):
                _, writer = await opened(web, secure)
                path = f"/hls/cam/{SESSION}/180p/index.m3u8?_HLS_msn=4&_HLS_part=2"
                writer.write(GET % path.encode())
                writers.append(writer)
            room = app._room(packager)
            await until(lambda: room.held == 3)
            for writer in writers[:2]:
                await left(writer)
            await until(lambda: room.held == 1, 0.8)
            packager.end()
            await until(lambda: room.held == 0)
            await left(writers[2])

    run(test)


@BOTH
def test_what_was_asked_before_the_end_is_answered(tmp_path: Path, secure: bool) -> None:
    async def test() -> None:
        app = Slow()
        async with serving(app, anywhere(tmp_path if secure else None)) as web:
            reader, writer = await opened(web, secure)
            writer.write(GET % b"/slow")
            await until(lambda: app.asked == 1)
            asyncio.get_running_loop().call_later(0.3, app.go.set)
        assert (await reader.read()).endswith(b"\r\n\r\nok")
        await left(writer)

    run(test)


@BOTH
def test_an_answer_that_never_comes_does_not_hold_up_the_end(tmp_path: Path, secure: bool) -> None:
    async def test() -> None:
        app = Slow()
        web = web_server(app, anywhere(tmp_path if secure else None))
        await web.start()
        _, writer = await opened(web, secure)
        writer.write(GET % b"/slow")
        await until(lambda: app.asked == 1)
        await asyncio.wait_for(web.close(0.5), 5)
        app.go.set()
        await left(writer)

    run(test)


@BOTH
def test_an_address_that_is_taken_is_refused_in_one_line(tmp_path: Path, secure: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        http = anywhere(tmp_path if secure else None, listen)
        with pytest.raises(ConfigError, match=f"http cannot listen at {listen}: Address already"):
            web_server(Slow(), http)


@needs_openssl
def test_two_servers_do_not_share_a_port(tmp_path: Path) -> None:
    async def test() -> None:
        http = anywhere(tmp_path)
        async with serving(Slow(), http) as web:
            http = http.model_copy(update={"port": web.port})
            with pytest.raises(ConfigError, match="Address already in use"):
                web_server(Slow(), http)

    run(test)


class Visitors:
    """Threads that connect anew, ask once and leave, again and again."""

    def __init__(self, port: int, number: int = 2) -> None:
        self._port = port
        self._stop = threading.Event()
        self.seen: list[str] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._visit) for _ in range(number)]

    async def __aenter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def _visit(self) -> None:
        while not self._stop.is_set():
            try:
                with connected(self._port) as client:
                    self.seen.append(shown(client))
                    client.sendall(GET % b"/")
                    if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                        self.failures.append("no answer")
            except OSError as error:
                self.failures.append(str(error))

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 10)


@needs_openssl
def test_a_new_certificate_is_for_new_connections_and_drops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "HANDSHAKES_S", 1.0)
    names = [certified(tmp_path, name) for name in ("one", "two", "three")]
    pems = [ssl.PEM_cert_to_DER_cert(cert.read_text()) for cert, _ in names]

    async def test() -> None:
        app = Slow()
        async with serving(
            app, Http(listen="127.0.0.1:0", tls=Tls(cert=names[0][0], key=names[0][1]))
        ) as web:
            reader, writer = await opened(web, True)
            writer.write(GET % b"/slow")  # asked before, answered after
            await until(lambda: app.asked == 1)
            half = socket.create_connection(("127.0.0.1", web.port))  # its handshake is to come
            async with Visitors(web.port) as visitors:
                await until(lambda: len(visitors.seen) > 20, 20)
                for secrets in names[1:]:
                    await web.renew(*secrets)
                    before = len(visitors.seen)
                    await until(lambda before=before: len(visitors.seen) > before + 20, 20)
                    fresh = await asyncio.to_thread(connected, web.port)
                    assert shown(fresh) == ssl.DER_cert_to_PEM_cert(pems[names.index(secrets)])
                    fresh.close()
                    if half.fileno() >= 0:
                        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
                        late = await asyncio.to_thread(anyone.wrap_socket, half)
                        assert shown(late) == ssl.DER_cert_to_PEM_cert(pems[0])
                        late.close()
                app.go.set()
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 5)
                assert answer.startswith(b"HTTP/1.1 200")
                await left(writer)
            assert visitors.failures == []
            print(len(visitors.seen), "visits")

    run(test)


@needs_openssl
def test_a_certificate_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    http = anywhere(tmp_path)
    assert http.tls is not None
    cert, key = http.tls.cert, http.tls.key
    other, _ = certified(tmp_path, "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")

    async def test() -> None:
        async with serving(Slow(), http) as web:
            for wrong in ((other, key), (nonsense, key), (tmp_path / "nowhere", key)):
                with pytest.raises(ConfigError, match=str(wrong[0])):
                    await web.renew(*wrong)
            client = await asyncio.to_thread(connected, web.port, "h2", "http/1.1")
            assert client.selected_alpn_protocol() == "h2"
            assert shown(client) == ssl.DER_cert_to_PEM_cert(
                ssl.PEM_cert_to_DER_cert(cert.read_text())
            )
            with suppress(OSError):
                client.close()

    run(test)
