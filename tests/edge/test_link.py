"""The edge's end of the link: workers come and go, streams do not wait for one another."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from streamgen.control.guests import Guests
from streamgen.control.keys import LinkKey, new_key
from streamgen.control.wire import Place, control_address, media_address, prepare, prove
from streamgen.errors import ConfigError
from streamgen.media.credit import Item, Outflow, time_ms
from streamgen.media.envelope import Envelope, opened, seal
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.door import Door
from streamgen_edge.link import Link, Remote
from tests.ports import free_port

BASE = Fraction(1, 1000)


class Seat:
    """A stream's attachment that remembers what it is told."""

    def __init__(self, term: int = 1, window_bytes: int = 1 << 20) -> None:
        self.term = term
        self.outflow: Outflow | None = Outflow(
            lambda item, why: self.dropped.append(why),
            videos=frozenset({0}),
            window_bytes=window_bytes,
        )
        self.dropped: list[str] = []
        self.messages: list[Mapping[str, Any]] = []
        self.envelopes: list[Envelope] = []
        self.gone = False
        self.error = ""
        self.breaks: Exception | None = None

    def told(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "told":
            raise IndexError
        self.messages.append(message)

    def received(self, envelope: Envelope) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.envelopes.append(envelope)

    def tell(self) -> None:
        if self.breaks is not None:
            raise self.breaks

    def lost(self) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.gone = True

    def failed(self, error: str) -> None:
        self.error = error

    def put(self, at: int, size: int = 100) -> None:
        packet = Packet(bytes(size), at, at, 0, BASE, at == 0, "video/0")
        assert self.outflow is not None
        self.outflow.put(Item(0, packet, 0, size, time_ms(packet)), 0)


class FakeWorker:
    """The other end: two DEALER sockets."""

    def __init__(self, folder: Path, name: str) -> None:
        self.context = zmq.asyncio.Context()
        self.media, self.control = (
            self.connected(address, name) for address in (media_address, control_address)
        )

    def connected(self, address: Callable[[Path], str], name: str) -> Any:
        socket: Any = self.context.socket(zmq.DEALER)
        prepare(socket, control=address is control_address)
        socket.setsockopt(zmq.IDENTITY, name.encode())
        socket.connect(address(self.folder))
        return socket

    folder: Path

    async def say(self, **message: Any) -> None:
        await self.control.send(json.dumps(message).encode())

    def close(self) -> None:
        self.media.close()
        self.control.close()
        self.context.term()


@asynccontextmanager
async def joined(folder: Path, *names: str) -> AsyncIterator[tuple[Link, list[FakeWorker]]]:
    FakeWorker.folder = folder
    async with Link(folder) as link:
        workers = [FakeWorker(folder, name) for name in names]
        try:
            for worker, name in zip(workers, names, strict=True):
                await worker.say(type="hello", worker=name, pid=os.getpid())
            await until(lambda: len(link.workers) == len(names))
            yield link, workers
        finally:
            for worker in workers:
                worker.close()


async def until(holds: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not holds():  # noqa: ASYNC110 - what happens is in another object's hands
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 5)


def run(folder: Path, *names: str) -> Callable[[Callable[..., Awaitable[None]]], None]:
    """Run a test with a link and fake workers of these names."""

    def runs(test: Callable[..., Awaitable[None]]) -> None:
        async def main() -> None:
            async with joined(folder, *names) as (link, workers):
                await test(link, *workers)

        asyncio.run(main())

    return runs


def test_a_stream_without_credit_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        stalled, flowing = Seat(window_bytes=100), Seat()
        seen = link.workers["w"]
        seen.streams[1, 1], seen.streams[2, 1] = stalled, flowing
        for at in range(0, 400, 40):
            stalled.put(at)
            flowing.put(at)
        link.pump(seen)
        got: dict[int, int] = {}
        for _ in range(11):
            header, payload = await asyncio.wait_for(worker.media.recv_multipart(), 5)
            one = opened(header, payload)
            got[one.stream] = got.get(one.stream, 0) + 1
        assert got == {1: 1, 2: 10}

    run(tmp_path, "w")(test)


def test_more_than_a_socket_holds_leaves_when_the_worker_reads_on(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        seat = Seat(window_bytes=64 << 20)
        link.workers["w"].streams[1, 1] = seat
        for at in range(0, 8000, 40):
            seat.put(at, size=100_000)
        link.pump(link.workers["w"])
        times = []
        for _ in range(200):
            header, payload = await asyncio.wait_for(worker.media.recv_multipart(), 5)
            times.append(opened(header, payload).packet.pts)
        assert times == list(range(0, 8000, 40))

    run(tmp_path, "w")(test)


def test_messages_of_former_terms_are_dropped_and_counted(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        seat = Seat(term=2)
        link.workers["w"].streams[1, 2] = seat
        packet = Packet(b"data", 5, 5, 0, BASE, True, "")
        for term in (1, 2):
            await worker.media.send_multipart((seal(packet, stream=1, term=term, track=0), b"data"))
            await worker.say(type="stats", stream=1, term=term, stats={})
        await until(lambda: seat.envelopes and seat.messages)
        assert [e.term for e in seat.envelopes] == [2]
        assert [m["term"] for m in seat.messages] == [2]
        assert link.old == 2

    run(tmp_path, "w")(test)


def test_what_is_not_understood_harms_nobody(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        seat = Seat()
        link.workers["w"].streams[1, 1] = seat
        for junk in (b"", b"{", b"[]", b'{"type": 5}', b'{"type": "beat"}', b"\xff" * 100):
            await worker.control.send(junk)
        wrong = {"type": "credit", "stream": 1, "term": 1, "bytes": 0, "ms": 10**400}
        await worker.say(**wrong)
        await worker.say(**{**wrong, "ms": "x"})
        await worker.say(type="told", stream=1, term=1)  # the seat finds nothing at this place
        for parts in ((b"x",), (b"x", b"y"), (b"", b"", b"", b"")):
            await worker.media.send_multipart(parts)
        await worker.say(type="stats", stream=1, term=1, stats={})
        await until(lambda: seat.messages)
        assert seat.envelopes == []

    run(tmp_path, "w")(test)


def test_a_stream_that_breaks_ends_alone(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        bad, beaten, good = Seat(), Seat(), Seat()
        link.workers["w"].streams.update({(1, 1): bad, (2, 1): good})
        bad.breaks = RuntimeError("of the stream")
        packet = Packet(b"data", 5, 5, 0, BASE, True, "")
        for number in (1, 2):
            header = seal(packet, stream=number, term=1, track=0)
            await worker.media.send_multipart((header, b"data"))
        await until(lambda: good.envelopes)
        assert "of the stream" in bad.error
        beaten.breaks = RuntimeError("at a beat")
        link.workers["w"].streams.update({(1, 1): beaten})
        await until(lambda: beaten.error)
        link.lose("w")
        assert good.gone
        assert not link.broken.is_set()
        assert good.error == ""

    run(tmp_path, "w")(test)


def test_a_packet_of_impossible_times_ends_its_stream_alone(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        bad, good = Seat(), Seat()
        link.workers["w"].streams.update({(1, 1): bad, (2, 1): good})
        bad.put(1 << 80)
        good.put(0)
        link.pump(link.workers["w"])
        assert bad.error
        assert (await worker.media.recv_multipart())[1] == bytes(100)

    run(tmp_path, "w")(test)


def test_streams_of_a_dead_worker_are_told_and_the_other_is_the_idlest(tmp_path: Path) -> None:
    async def test(link: Link, one: FakeWorker, two: FakeWorker) -> None:
        seat = Seat()
        link.workers["one"].streams[1, 1] = seat
        idlest = link.idlest()
        assert idlest is not None and idlest.name == "two"
        link.lose("one", pid=1)  # that was an older process of this name
        assert not seat.gone
        link.lose("one", pid=os.getpid())
        assert seat.gone and set(link.workers) == {"two"}
        assert link.idlest(avoid="two") is link.workers["two"]  # there is no other

    run(tmp_path, "one", "two")(test)


def test_the_stream_that_a_worker_is_stuck_in_hears_why_and_all_of_its_streams_move(
    tmp_path: Path,
) -> None:
    async def test(link: Link, one: FakeWorker, two: FakeWorker) -> None:
        cause, other, elsewhere = Seat(), Seat(), Seat()
        link.workers["one"].streams |= {(1, 1): cause, (2, 1): other}
        link.workers["two"].streams[3, 1] = elsewhere
        why = {"reason": "encoder h264 of rung 90p has not come back", "what": "encoder h264"}
        await one.say(type="stuck", stream=1, term=cause.term, **why)
        await until(lambda: "one" not in link.workers)
        assert [message["reason"] for message in cause.messages] == [why["reason"]]
        assert cause.gone and other.gone and not elsewhere.gone and not other.messages

    run(tmp_path, "one", "two")(test)


def test_a_worker_whose_packets_come_is_alive_without_a_beat_and_one_of_whom_nothing_comes_is_not(
    tmp_path: Path,
) -> None:
    async def test(link: Link, frozen: FakeWorker, one: FakeWorker, two: FakeWorker) -> None:
        for name in link.workers:
            link.workers[name].streams[1, 1] = Seat()
        packet = Packet(b"data", 5, 5, 0, BASE, True, "")
        sent = (seal(packet, stream=1, term=1, track=0), b"data")
        while len(link.workers) == 3:
            await one.media.send_multipart(sent)
            await two.media.send_multipart(sent)
            await asyncio.sleep(0.02)
        assert set(link.workers) == {"one", "two"}

    run(tmp_path, "frozen", "one", "two")(test)


def test_a_worker_started_again_under_its_name_is_another_one(tmp_path: Path) -> None:
    async def test(link: Link, worker: FakeWorker) -> None:
        seat = Seat()
        link.workers["w"].streams[1, 1] = seat
        await worker.say(type="beat", worker="w", pid=12345)
        await until(lambda: seat.gone)
        assert link.workers["w"].pid == 12345

    run(tmp_path, "w")(test)


def stranger(context: zmq.asyncio.Context, place: Place, prove_with: LinkKey | None) -> Any:
    """Says hello at the control socket of a place with keys."""
    one: Any = context.socket(zmq.DEALER)
    prepare(one, control=True)
    if prove_with is not None:
        prove(one, prove_with, edge=prove_with.public)  # that is not the edge's
    one.setsockopt(zmq.IDENTITY, b"odd")
    one.connect(place.control)
    return one


def test_without_keys_or_with_the_wrong_edge_s_nobody_is_heard(tmp_path: Path) -> None:
    key, other = new_key(tmp_path / "a.key"), new_key(tmp_path / "b.key")
    telemetry = Telemetry()
    place = Place.at(f"127.0.0.1:{free_port(2)}")

    async def test() -> None:
        remote = Remote(place, key, Guests([other.public], telemetry))
        async with Link(None, remote) as link:
            context = zmq.asyncio.Context()
            odd = [stranger(context, place, one) for one in (None, other)]
            for one in odd:
                await one.send(b'{"type": "hello", "worker": "odd", "pid": 1}')
            known: Any = context.socket(zmq.DEALER)
            prepare(known, control=True)
            prove(known, other, edge=key.public)
            known.setsockopt(zmq.IDENTITY, b"known")
            known.connect(place.control)
            await known.send(b'{"type": "hello", "worker": "known", "pid": 1}')
            await until(lambda: link.workers)
            await asyncio.sleep(0.5)
            assert set(link.workers) == {"known"}
            known.close()
            await until(lambda: not link.workers)  # the connection is gone: no need for silence
            for one in odd:
                one.close()
            context.term()

    asyncio.run(test())


def test_a_place_for_others_is_not_opened_without_a_key(tmp_path: Path) -> None:
    context = zmq.asyncio.Context()
    with pytest.raises(ConfigError, match="without a key"):
        Door(context, Place.at("127.0.0.1:7000"), None)
    port = free_port(2)
    with (
        socket.create_server(("127.0.0.1", port + 1)),
        pytest.raises(ConfigError, match=f"{port + 1}: Address already in use"),
    ):
        Door(context, Place.at(f"127.0.0.1:{port}"), new_key(tmp_path / "a.key"))
    context.term()
