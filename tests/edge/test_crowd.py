"""One address gets so much and no more, and is told why."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from streamgen_edge.app import Front
from streamgen_edge.crowd import Crowd, Refusals, customer
from streamgen_edge.hls import protocol
from streamgen_edge.settings import Http
from streamgen_edge.web import MOST_SURPLUS, PlainServer

GET = b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
        ("", ""),
    ],
)
def test_a_customer_is_an_address_or_a_network(address: str, name: str) -> None:
    assert customer(address) == name


def test_an_address_that_has_enough_leaves_room_for_others() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    most = [2]
    refusals = Refusals(lambda *what: counts.update([what]))
    crowd = Crowd("connections.http", lambda: most[0], refusals, in_all=4)
    assert crowd.enter("a") and crowd.enter("a") and not crowd.enter("a")
    assert crowd.enter("b")
    most[0] = 3  # the configuration was read again
    assert crowd.enter("a") and crowd.number == 4
    assert not crowd.enter("c")  # in all
    crowd.leave("b")
    assert crowd.enter("c")
    assert counts == {("refused", "connections.http"): 2}


def test_the_log_hears_of_a_flood_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    refusals = Refusals(clock_s=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(500):
            refusals.add("streams")
        now[0] += 11
        refusals.add("streams")
        refusals.add("viewers")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "limits.streams is reached: 1 refused",
        "limits.streams is reached: 500 refused",
        "limits.viewers is reached: 1 refused",
    ]


class Held:
    """Answers, those of /held when told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if scope["path"] == "/hls/held":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def until(holds: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not holds():  # noqa: ASYNC110 - what happens is in another object's hands
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 5)


Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def left(*opened: Opened) -> None:
    for _, writer in opened:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def answered(opened: Opened, path: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and all that follows, when this is asked on a connection that then ends."""
    reader, writer = opened
    writer.write(GET % path)
    data = await asyncio.wait_for(reader.read(), 5)
    await left(opened)
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head, body


def test_a_connection_too_many_is_told_so_and_ends_and_health_is_told_to_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "SURPLUS_S", 0.3)

    async def main() -> None:
        held = Held()
        front = Front(held, held, held, held, Http(), Crowd())
        crowd = Crowd("connections.http", lambda: 2)
        web = PlainServer(front, "127.0.0.1", 0, crowd)
        await web.start()
        place = ("127.0.0.1", web.port)
        try:
            some = [await asyncio.open_connection(*place) for _ in range(2)]
            await until(lambda: crowd.number == 2)
            opened = await asyncio.open_connection(*place)
            status, head, body = await answered(opened, b"/hls/x")
            assert status == 503 and b"retry-after: 5" in head
            assert "connections" in json.loads(body)["detail"]
            opened = await asyncio.open_connection(*place)
            assert (await answered(opened, b"/healthz"))[0] == 200
            opened = await asyncio.open_connection(*place)
            assert await asyncio.wait_for(opened[0].read(), 5) == b""  # it did not ask
            elsewhere = await asyncio.open_connection(*place, local_addr=("127.0.0.2", 0))
            asked = b"/ HTTP/1.1\r\nconnection: close\r\nx:"
            assert (await answered(elsewhere, asked))[0] == 200
            await left(opened, *some)
            await until(lambda: crowd.number == 0)
        finally:
            await web.close(1)

    asyncio.run(main())


def test_beyond_those_that_are_told_so_connections_are_closed_at_once() -> None:
    async def main() -> None:
        held = Held()
        web = PlainServer(held, "127.0.0.1", 0, Crowd("", lambda: 1))
        await web.start()
        try:
            opened = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(300)]
            ends = [asyncio.create_task(reader.read()) for reader, _ in opened]
            done, late = await asyncio.wait(ends, timeout=1)
            assert len(done) >= 300 - 1 - MOST_SURPLUS
            for task in late:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await left(*opened)
        finally:
            await web.close(1)

    asyncio.run(main())


def test_requests_of_one_address_at_a_time_are_counted_whatever_carries_them() -> None:
    async def main() -> None:
        held = Held()
        crowd = Crowd("connections.http", lambda: 2)
        front = Front(held, held, held, held, Http(), crowd)

        async def ask(path: str, address: str) -> int:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"host", b"localhost")]
            scope = {"type": "http", "path": path, "headers": headers, "client": (address, 1)}
            await front(scope, send, send)
            return int(sent[0]["status"])

        waiting = [asyncio.create_task(ask("/hls/held", "192.0.2.1")) for _ in range(2)]
        await until(lambda: held.asked == 2)
        assert await ask("/hls/x", "192.0.2.1") == 503
        assert await ask("/hls/x", "192.0.2.2") == 200
        assert await ask("/readyz", "192.0.2.1") == 200
        held.go.set()
        assert await asyncio.gather(*waiting) == [200, 200]
        assert await ask("/hls/x", "192.0.2.1") == 200 and crowd.number == 0

    asyncio.run(main())
