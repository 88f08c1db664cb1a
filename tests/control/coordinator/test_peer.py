"""A peer finds the leader, tells it all there is, and listens to nobody older."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamgen.control.coordinator import peer as peer_module
from streamgen.control.coordinator.commands import Drained, Warm
from streamgen.control.coordinator.events import NodeReport, StreamReleased, StreamWanted
from streamgen.control.coordinator.messages import (
    Beat,
    FromCoordinator,
    HeardLater,
    Letter,
    ToCoordinator,
)
from streamgen.control.coordinator.peer import Peer
from streamgen.control.coordinator.switchboard import Caller, Switchboard
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry
from tests.control.coordinator.acting import until, work


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass
class Post:
    """A coordinator's wire, and all that came over it."""

    folder: Path
    said: list[ToCoordinator | FromCoordinator] = field(default_factory=list)
    alive: int = 0

    def _heard(self, caller: Caller, letter: Letter | None) -> None:
        assert (caller.kind, caller.name) == ("edge", "edge-1")
        if letter is None:
            self.alive += 1
        else:
            self.said.append(letter.message)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Post]:
        wire = Switchboard(str(self.folder), None, None, self._heard, now_ms, Telemetry())
        async with wire as self.wire:
            task = asyncio.create_task(wire.run())
            yield self
            task.cancel()
            await asyncio.wait([task])

    def tell(self, message: FromCoordinator, leader: int) -> None:
        assert self.wire.say("edge", "edge-1", message, leader)

    async def hears(self, *messages: object) -> None:
        await until(lambda: self.said == list(messages), f"hears {messages}, and nothing else")


HELLO = StreamWanted(work("s"), None, 7)


def report(number: int) -> NodeReport:
    return NodeReport(f"node-{number}", ())


@asynccontextmanager
async def edge(
    *posts: Post, heard: Callable[[FromCoordinator], None] = lambda command: None
) -> AsyncIterator[Peer]:
    peer = Peer(
        "edge-1",
        kind="edge",
        places=[str(post.folder) for post in posts],
        key=None,
        coordinator_key=None,
        heard=heard,
        hello=lambda: HELLO,
    )
    task = asyncio.create_task(peer.run())
    yield peer
    task.cancel()
    await asyncio.wait([task])
    peer.say(HELLO)  # nobody hears it, and nothing happens


def test_each_new_leader_is_told_all_there_is_and_former_ones_are_not_obeyed(
    tmp_path: Path,
) -> None:
    async def trial() -> None:
        heard: list[FromCoordinator] = []
        async with (
            Post(tmp_path / "a").open() as a,
            Post(tmp_path / "b").open() as b,
            edge(a, b, heard=heard.append) as peer,
        ):
            await until(lambda: a.alive > 0 and b.alive > 0, "both hear that it lives")
            peer.say(report(1))
            assert peer.leader is None and not a.said
            a.tell(Beat(), 0)  # it stands by
            a.tell(Beat(), 1)
            await a.hears(HELLO)
            assert peer.leader == 1
            peer.say(report(2))
            await a.hears(HELLO, report(2))
            b.tell(Warm("x", ("later",)), 2)
            await b.hears(HELLO)
            assert peer.leader == 2
            a.tell(Warm("x", ("older",)), 1)
            a.tell(Beat(), 1)
            b.tell(Drained("x"), 2)
            await until(lambda: len(heard) == 2, "two commands")
            assert heard == [Warm("x", ("later",)), Drained("x")]
            peer.say(report(3))
            peer.say(report(3))
            await b.hears(HELLO, report(3), report(3))
            b.tell(Beat(unknown=True), 2)
            await b.hears(HELLO, report(3), report(3), HELLO)
            # Who is not listened to is told why, each time.
            await a.hears(HELLO, report(2), HeardLater(2), HeardLater(2))

    asyncio.run(trial())


def test_only_what_a_hello_cannot_tell_waits_for_a_leader(tmp_path: Path) -> None:
    async def trial() -> None:
        async with Post(tmp_path / "a").open() as a, edge(a) as peer:
            await until(lambda: a.alive > 0, "it is heard")
            for event in (report(1), StreamReleased("gone"), StreamReleased("s")):
                peer.say(event)
            await asyncio.sleep(0)
            a.tell(Beat(), 5)
            await a.hears(StreamReleased("gone"), HELLO)

    asyncio.run(trial())


def test_a_leader_who_takes_nothing_is_told_all_anew_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "MOST_WAITING", 5)

    async def trial() -> None:
        async with edge(Post(tmp_path / "a")) as peer:
            first = Post(tmp_path / "a")
            async with first.open():
                await until(lambda: first.alive > 0, "it is heard")
                first.tell(Beat(), 1)
                await first.hears(HELLO)

            def talk() -> None:
                for number in range(100):
                    peer.say(report(number))

            threads = [threading.Thread(target=talk) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            second = Post(tmp_path / "a")
            async with second.open():
                await until(lambda: second.alive > 0, "it is heard again")
                second.tell(Beat(unknown=True), 1)
                await until(lambda: HELLO in second.said, "all is told")
                assert len(second.said) <= 12
                peer.say(report(7))
                await until(lambda: second.said[-1] == report(7), "and it goes on")

    asyncio.run(trial())


def test_a_folder_is_one_coordinators_and_nobody_else_may_enter_it(tmp_path: Path) -> None:
    async def trial() -> None:
        async with Post(tmp_path / "a").open():
            assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
            with pytest.raises(ConfigError, match="a standby has a folder of its own"):
                async with Post(tmp_path / "a").open():
                    raise AssertionError
        async with Post(tmp_path / "a").open():
            pass
        (tmp_path / "b").mkdir(mode=0o755)
        (tmp_path / "b").chmod(0o755)
        with pytest.raises(ConfigError, match="others may enter"):
            async with Post(tmp_path / "b").open():
                raise AssertionError

    asyncio.run(trial())


@pytest.mark.parametrize("place", ["127.0.0.1:7100", "tcp://[::1]:7100", "nowhere", "host:0"])
def test_nobody_talks_without_keys_or_to_nowhere(place: str) -> None:
    with pytest.raises(ConfigError, match=r"key|not where a coordinator is"):
        Peer(
            "n",
            kind="worker",
            places=[place],
            key=None,
            coordinator_key=None,
            heard=lambda command: None,
            hello=lambda: HELLO,
        )
