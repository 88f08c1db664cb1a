"""Our RTMP client against servers of every kind, most of them bad."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from streamgen_edge.certificate import tls_context
from streamgen_edge.push import reach, rtmp
from streamgen_edge.push.rtmp import RtmpPush, opened
from streamgen_edge.push.target import Failure
from streamgen_edge.rtmp import RtmpServer, amf0
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import PING_REQUEST, chunk_size, command, user_control
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.messages import COMMAND, USER_CONTROL
from tests.certificates import certified, needs_openssl
from tests.edge.push.show import LOOPBACK, recorded
from tests.edge.rtmp.basket import Owner
from tests.edge.rtmp.peer import LOCAL, until
from tests.edge.webrtc.peers import looped

KEY = "k3y-canary"
REJECTED = "NetConnection.Connect.Rejected"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def order(url: str, allow: tuple[str, ...] = LOOPBACK.allow) -> dict[str, Any]:
    sound = {"config": "1190", "rate_hz": 48_000, "channels": 2, "bitrate_bps": 128_000}
    more = {"token": None, "rate": 30.0, "bitrate_bps": 200_000, "sound": sound}
    return {"url": url, "allow": list(allow), **more}


@asynccontextmanager
async def target(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server that does with each connection what it likes; its port."""
    open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def talked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open[writer] = asyncio.current_task()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)

    server = await asyncio.start_server(talked, host, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer, task in open.items():
            writer.transport.abort()
            if task is not None:
                await asyncio.wait([task], timeout=10)
        await server.wait_closed()


async def failure(port: int, scheme: str = "rtmp", **more: Any) -> Failure:
    with pytest.raises(Failure) as failed:
        await opened(order(f"{scheme}://127.0.0.1:{port}/live/{KEY}", **more))
    assert KEY not in str(failed.value)
    return failed.value


async def shaken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's side of the handshake."""
    asked = await reader.readexactly(1537)
    writer.write(b"\3" + bytes(1536) + asked[1:])
    await reader.readexactly(1536)


class Scripted:
    """A server that answers commands by their names."""

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self.answers = answers
        self.heard: list[list[Any]] = []
        self.pongs: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shaken(reader, writer)
        chunks = Chunks(Limits(), proven=True)
        while data := await reader.read(65_536):
            for message in chunks.feed(data):
                if message.kind == USER_CONTROL:
                    self.pongs.append(bytes(message.body))
                if message.kind == COMMAND:
                    said = amf0.decode(message.body)
                    self.heard.append(said)
                    for answer in self.answers.get(said[0], []):
                        writer.write(answer)
        writer.close()


def error(*values: Any) -> bytes:
    """The answer to `connect`."""
    return command(0, ["_error", 1, None, *values])


def result(transaction: int, *values: Any) -> bytes:
    return command(0, ["_result", transaction, None, *values])


def info(code: str, level: str = "status", **more: Any) -> dict[str, Any]:
    return {"level": level, "code": code, "description": f"about {KEY}", **more}


def status(code: str, level: str = "status") -> bytes:
    return command(1, ["onStatus", 0, None, info(code, level)])


TAKES = {
    "connect": [chunk_size(), result(1, info("NetConnection.Connect.Success"))],
    "createStream": [command(0, ["onBWDone", 0, None]), result(4, 1)],
    "publish": [status("NetStream.Publish.Start")],
}


async def sent(push: RtmpPush, number: int = 60) -> None:
    for packet in recorded()[1][:number]:
        await push.send([packet])


@looped
async def test_a_wrong_key_is_a_refusal_and_the_servers_own_words_are_not_repeated() -> None:
    server = RtmpServer(LOCAL, Owner(token="another"))
    await server.start()
    refused = await failure(server.port)
    await server.close()
    assert refused.refused and "NetStream.Publish.Denied" in str(refused)


@pytest.mark.parametrize(
    "name, answer, words",
    [
        ("connect", error(info(REJECTED, "error")), f"refuses the stream {REJECTED}"),
        ("connect", error(info(f"Own.{KEY}", "error")), "refuses the stream"),
        ("connect", error(), "refuses the stream"),
        ("createStream", result(4, "one"), "gives no stream"),
        ("createStream", result(4), "gives no stream"),
        ("publish", status("NetStream.Publish.BadName", "error"), "NetStream.Publish.BadName"),
        ("publish", command(0, ["close", 0, None]), "closed the stream"),
    ],
)
def test_every_refusal_has_its_reason(name: str, answer: bytes, words: str) -> None:
    @looped
    async def run() -> None:
        async with target(Scripted({**TAKES, name: [answer]})) as port:
            assert words in str(await failure(port))

    run()


async def _hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await shaken(reader, writer)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


async def _speaks_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await shaken(reader, writer)
    writer.write(b"\xff" * 4096)
    await reader.read()


@pytest.mark.parametrize(
    "talk, words",
    [
        (_hangs_up, "closed the connection"),
        (_resets, "the connection"),
        (_speaks_http, "does not speak RTMP"),
        (_speaks_nonsense, "does not speak RTMP as it should"),
    ],
)
def test_a_server_that_is_none_is_said_so(talk: Talk, words: str) -> None:
    @looped
    async def run() -> None:
        async with target(talk) as port:
            failed = await failure(port)
            assert words in str(failed) and not failed.refused

    run()


@looped
async def test_nobody_there_is_no_lasting_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failed = await failure(port)
    assert str(failed) == "the target refuses connections" and not failed.refused


def test_a_server_that_accepts_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtmp, "OPENS_S", 0.2)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    @looped
    async def run() -> None:
        async with target(silent) as port:
            assert str(await failure(port)) == "the target does not answer"

    run()


def test_a_server_that_hung_has_the_stream_by_a_new_connection_and_not_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtmp, "OPENS_S", 60.0)
    monkeypatch.setattr(reach, "HEARS_S", 0.05)
    server, lost, closed = Scripted(TAKES), 3, 0

    async def hung(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost, closed
        if not lost:
            await server(reader, writer)
            return
        lost -= 1
        await reader.read()  # until it is left: what was said before it is back is never answered
        closed += 1

    @looped
    async def run() -> None:
        async with target(hung) as port:
            push = await opened(order(f"rtmp://127.0.0.1:{port}/live/{KEY}"))
            await until(lambda: closed == 3)
            assert [said[0] for said in server.heard].count("publish") == 1
            await push.close()

    run()


def test_a_target_that_takes_nothing_is_left_and_sending_waits_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtmp, "STALLED_S", 0.3)
    monkeypatch.setattr(rtmp, "BUFFER", 4096)
    monkeypatch.setattr(reach, "SEND_BUFFER", 4096)

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Scripted(TAKES)
        talk = asyncio.ensure_future(server(reader, writer))
        while not any(said[0] == "publish" for said in server.heard):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await talk

    @looped
    async def run() -> None:
        async with target(hangs) as port:
            push = await opened(order(f"rtmp://127.0.0.1:{port}/live/{KEY}"))
            with pytest.raises(Failure, match="too slow"):
                while True:
                    await sent(push)
            await push.abort()

    run()


@looped
async def test_pings_are_answered_and_what_ends_the_stream_is_heard() -> None:
    server = Scripted({**TAKES, "publish": [*TAKES["publish"], user_control(PING_REQUEST, 77)]})
    async with target(server) as port:
        push = await opened(order(f"rtmp://127.0.0.1:{port}/live/{KEY}"))
        server.answers["FCUnpublish"] = [status("NetStream.Unpublish.Success")]
        ends = asyncio.create_task(push.lost())
        await until(lambda: server.pongs)
        assert server.pongs == [b"\0\x07" + (77).to_bytes(4, "big")]
        assert server.heard[-1][3:] == [KEY, "live"]
        await push.close()
        assert (await asyncio.wait_for(ends, 10)) is not None
        await until(lambda: server.heard[-1][0] == "deleteStream")


@looped
async def test_a_server_that_is_about_to_stop_is_left_without_a_grudge() -> None:
    reconnect = command(0, ["onStatus", 0, None, info("NetConnection.Connect.ReconnectRequest")])
    server = Scripted({**TAKES, "publish": [*TAKES["publish"], reconnect]})
    async with target(server) as port:
        push = await opened(order(f"rtmp://127.0.0.1:{port}/live/{KEY}"))
        lost = await asyncio.wait_for(push.lost(), 10)
        assert str(lost) == "the target asks to come again" and not lost.refused
        await push.abort()


def redirect(url: str) -> list[bytes]:
    more = {"ex": {"code": 302, "redirect": url}}
    return [chunk_size(), error(info(REJECTED, "error", **more))]


@looped
async def test_a_redirect_is_followed_with_the_key() -> None:
    owner = Owner()
    server = RtmpServer(LOCAL, owner)
    await server.start()
    there = redirect(f"rtmp://127.0.0.1:{server.port}/live")
    async with target(Scripted({"connect": there})) as port:
        push = await opened(order(f"rtmp://127.0.0.1:{port}/edge/{KEY}"))
        await sent(push)
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 10)
        assert owner.basket.publisher.request.stream == KEY
        await push.close()
    await server.close()


@pytest.mark.parametrize(
    "there, words",
    [
        ("rtmp://169.254.169.254/live", "metadata"),
        ("rtmp://10.1.2.3/live", "private"),
        ("rtmp://[::1]/live", "loopback"),
        ("rtmp://[::ffff:10.1.2.3]/live", "private"),
        ("file:///etc", "no address"),
        ("http://127.0.0.1/live", "where it is not safe"),
    ],
)
def test_a_redirect_into_the_own_network_is_refused(there: str, words: str) -> None:
    @looped
    async def run() -> None:
        async with target(Scripted({"connect": redirect(there)})) as port:
            failed = await failure(port)
            assert failed.refused and words in str(failed)

    run()


@looped
async def test_servers_that_send_to_each_other_are_left() -> None:
    server = Scripted({})
    async with target(server) as port:
        server.answers["connect"] = redirect(f"rtmp://127.0.0.1:{port}/live")
        assert "from place to place" in str(await failure(port))
    assert len(server.heard) == rtmp.MOST_HOPS


@looped
async def test_a_private_address_is_refused_before_anything_is_connected() -> None:
    asked: list[object] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.close()

    async with target(note) as port:
        failed = await failure(port, allow=())
    assert failed.refused and "a loopback address" in str(failed)
    assert "outbound.allow" in str(failed) and not asked


@needs_openssl
def test_rtmps_needs_a_certificate_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = certified(tmp_path, "localhost"), certified(tmp_path, "other.example")

    async def tried(cert: Path, key: Path, believed: Path) -> RtmpPush:
        monkeypatch.setenv("SSL_CERT_FILE", str(believed))
        server = RtmpServer(LOCAL, Owner(), tls=tls_context(str(cert), str(key)))
        await server.start()
        try:
            return await opened(order(f"rtmps://localhost:{server.port}/live/cam"))
        finally:
            await server.close()

    @looped
    async def run() -> None:
        for cert, key, believed in ((*right, wrong[0]), (*wrong, wrong[0])):
            with pytest.raises(Failure, match="certificate is not valid for its name"):
                await tried(cert, key, believed)
        await (await tried(*right, right[0])).abort()

    run()
