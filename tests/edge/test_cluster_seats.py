"""What an edge says to the coordinators of its streams, and which worker these get by it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgen.control.coordinator.commands import Assign, Command, Move, Refuse, Wait
from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.events import (
    StreamAttached,
    StreamEnds,
    StreamLost,
    StreamReleased,
    StreamWanted,
)
from streamgen.control.holdings import read
from streamgen.control.keys import new_key
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.media.envelope import seal
from streamgen.media.packet import Packet
from streamgen_edge.cluster.joined import Joined
from streamgen_edge.cluster.seats import PATIENCE_MS, ClusterSeats
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.serve import children
from streamgen_edge.settings import LinkSettings, Server
from tests.edge.test_link import FakeWorker, joined, until
from tests.edge.test_stream import Ends, asked, pictures, seated

WORK = Work("x", Profile("plain-720p30", (Resources(cpu_ms=400),)), Standing.LIVE_PAID)


def word(node: str, epoch: int) -> Assign:
    return Assign(WORK, node, epoch, f"token-{epoch}", Cut.NOTHING)


class Scene:
    """A stream at an edge with two workers, and a coordinator that says what a test says."""

    def __init__(self, link: Any) -> None:
        self.link = link
        self.said: list[Any] = []
        self.leader: int | None = 1
        self.seats = ClusterSeats(link, EdgeRegistered("edge-a", "/run/link"))
        self.seats.say = self.said.append
        self.seats.leads = lambda: self.leader
        self.claim = self.seats.of("x", lambda: WORK)
        self.ends = Ends(link, self.claim)

    def says(self, command: Command) -> None:
        self.seats.heard(command)


def run(folder: Path, test: Any) -> None:
    async def main() -> None:
        async with joined(folder, "one", "two") as (link, workers):
            await test(Scene(link), *workers)

    asyncio.run(main())


def test_a_stream_gets_the_worker_of_the_coordinators_word(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        assert scene.said == [StreamWanted(WORK, PATIENCE_MS, 0)]
        assert "word" in scene.claim.why
        scene.says(word("two", 5))
        message = await seated(two)
        assert read(message["grant"]) == word("two", 5)
        await until(lambda: scene.ends.stream.tenure.live)
        assert scene.claim.why == ""
        scene.says(word("two", 5))  # said again
        assert scene.ends.stream.tenure.live
        await show(two, message, 1)
        await until(lambda: StreamAttached("x", "two", 5) in scene.said)
        assert scene.seats.hello()[1] == StreamWanted(WORK, PATIENCE_MS, 5)
        scene.ends.stream.end()
        await asked(two, "beat")
        scene.ends.stream.tenure.worker_ended("")
        assert scene.said[-1] == StreamReleased("x")
        assert scene.seats.hello() == (EdgeRegistered("edge-a", "/run/link"),)

    run(tmp_path, test)


async def show(worker: FakeWorker, attach: dict[str, Any], number: int) -> None:
    """The worker sends a picture."""
    packet = Packet(b"idr", 3600 * number, 3600 * number, 0, Fraction(1, 90_000), True, "")
    header = seal(packet, stream=attach["stream"], term=attach["term"], track=0)
    await worker.media.send_multipart((header, packet.data))


def test_a_worker_that_is_kept_ready_hears_which_networks_that_is_about(tmp_path: Path) -> None:
    profile = replace(WORK.profile, models=frozenset({"wave@640x360", "starry@640x360"}))
    work = replace(WORK, profile=profile)

    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(replace(word("one", 5), work=work))
        await seated(one)
        tenure = scene.ends.stream.tenure
        await until(lambda: tenure.live)
        for worker in scene.link.workers.values():
            tenure.warm(worker)
        message, head = await asked(two, "warm")
        assert message["models"] == ["starry@640x360", "wave@640x360"] and head
        tenure.release(over=True)

    run(tmp_path, test)


def test_what_a_stream_wants_is_said_again_where_it_did_not_count_before(tmp_path: Path) -> None:
    """Another edge was its home then, as far as the coordinator knew."""

    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.seats.want_again("x")
        scene.seats.want_again("never heard of")
        assert scene.said == []
        scene.ends.picture(0, key=True)
        scene.seats.want_again("x")
        assert scene.said == [StreamWanted(WORK, PATIENCE_MS, 0)] * 2

    run(tmp_path, test)


def test_a_stream_whose_worker_broke_off_waits_for_another_word(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(word("one", 5))
        await seated(one)
        await until(lambda: scene.ends.stream.tenure.live)
        scene.ends.stream.tenure.worker_lost()
        assert scene.said[-1] == StreamLost("x", 5, "one broke it off", False)
        scene.leader = None
        assert "no coordinator leads" in scene.claim.why
        assert scene.seats.hello()[1] == StreamWanted(WORK, PATIENCE_MS, 0)
        scene.says(word("one", 5))  # the coordinator has not heard it
        assert scene.said[-1] == StreamLost("x", 5, "it broke off")
        scene.says(word("two", 6))
        assert read((await asked(two, "attach"))[0]["grant"]).epoch == 6

    run(tmp_path, test)


def test_who_broke_a_stream_off_is_asked_again_while_nobody_leads(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(word("one", 5))
        await seated(one)
        await until(lambda: scene.ends.stream.tenure.live)
        scene.leader = None
        scene.ends.stream.tenure.worker_lost()
        assert read((await seated(one))["grant"]) == word("one", 5)
        await until(lambda: scene.ends.stream.tenure.live)
        scene.ends.stream.tenure.release(over=True)

    run(tmp_path, test)


def test_a_stream_that_is_moved_runs_on_until_its_next_worker_is_here(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(word("one", 5))
        await seated(one)
        await until(lambda: scene.ends.stream.tenure.live)
        scene.says(Move(WORK, "three", 6, "token-6", Cut.NOTHING, "one"))
        scene.ends.picture(40)
        assert (await pictures(one, 2))[-1].packet.data == b"unit40"
        assert "three" in scene.claim.why
        three = FakeWorker(FakeWorker.folder, "three")
        await three.say(type="hello", worker="three", pid=1)
        await asked(three, "attach")
        scene.ends.picture(80)
        assert (await pictures(one, 1))[-1].packet.data == b"unit80"  # it may take seconds there
        await three.say(type="ended", stream=7, term=2, error="no encoder", stats=None)
        await until(lambda: scene.said[-1] == StreamLost("x", 6, "three broke it off"))
        scene.ends.picture(120)
        await pictures(one, 1)
        scene.says(Move(WORK, "three", 7, "token-7", Cut.NOTHING, "one"))
        message = await seated(three)
        await pictures(three, 4)  # what was so far, to be decoded
        for at in range(160, 1160, 40):
            scene.ends.picture(at)
        assert StreamAttached("x", "three", 7) not in scene.said  # the former one is not done
        await one.say(type="ended", stream=7, term=1, error="", stats=None)
        await until(lambda: StreamAttached("x", "three", 7) in scene.said)
        live = scene.ends.stream.tenure.live
        assert live is not None and live.term == message["term"]
        three.close()

    run(tmp_path, test)


def test_a_session_goes_on_by_the_word_of_the_one_of_its_name_that_ends(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(word("one", 5))
        await asked(one, "attach")
        next_one = scene.seats.of("x", lambda: WORK)
        scene.claim.over()  # the former is done after the next has begun
        seat = next_one.find(None)
        assert seat is not None and seat.epoch == 5
        assert scene.said == [StreamWanted(WORK, PATIENCE_MS, 0)]
        next_one.over()
        assert scene.said[-1] == StreamReleased("x")

    run(tmp_path, test)


def test_the_end_of_a_former_session_is_not_that_of_the_next_one(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(word("one", 5))
        await asked(one, "attach")
        scene.claim.ends(20.0)
        next_one = scene.seats.of("x", lambda: WORK)
        next_one.ends(None)  # its publisher is here
        assert scene.said[-1] == StreamEnds("x", None)
        scene.claim.over()
        next_one.over()

    run(tmp_path, test)


def test_a_refusal_ends_what_does_not_run_and_a_wait_is_told(tmp_path: Path) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        scene.ends.picture(0, key=True)
        scene.says(Wait("x", "cpu_ms is used up", None))
        assert "cpu_ms is used up" in scene.claim.why
        assert "expected" not in scene.claim.why
        scene.says(Wait("x", "cpu_ms is used up", 9_300))
        assert scene.claim.why == ("it waits for room: cpu_ms is used up; room is expected in 10 s")
        scene.seats.now_ms = lambda: 5_000
        assert scene.claim.why.endswith("in 5 s")
        scene.says(Refuse("x", "cpu_ms is used up", 9_300))
        assert scene.ends.over
        assert scene.ends.stream.error == (
            "no room for the stream: cpu_ms is used up; room is expected in 5 s"
        )

    run(tmp_path, test)


def test_a_coordinator_is_told_when_a_stream_ends_whose_publisher_was_lost(
    tmp_path: Path,
) -> None:
    async def test(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        ends = scene.ends
        ends.picture(0, key=True)
        scene.says(word("one", 5))
        await seated(one)
        await until(lambda: ends.stream.tenure.live)
        grace_ms = round(ends.stream._grace_s * 1000)
        publisher = ends.stream.publisher
        assert publisher is not None
        ends.stream.leave(publisher, explicit=False)
        assert scene.said[-1] == StreamEnds("x", grace_ms)
        assert scene.seats.hello()[1:] == (
            StreamWanted(WORK, PATIENCE_MS, 0),
            StreamEnds("x", grace_ms),
        ), "the next leader is told as well"
        ends.stream.arrive(publisher)
        assert scene.said[-1] == StreamEnds("x", None)
        assert len(scene.seats.hello()) == 2
        ends.stream.end()

    run(tmp_path, test)


def test_ports_need_keys_and_names_are_names() -> None:
    assert ClusterSettings(coordinators=("/run/c",), name="edge-a").key is None
    with pytest.raises(ValueError, match="need key and coordinator_key"):
        ClusterSettings(coordinators=("10.0.0.5:7100",))
    with pytest.raises(ValueError, match="not a name"):
        ClusterSettings(coordinators=("/run/c",), name="a b")


def test_other_edges_find_a_folder_on_one_machine_only_and_elsewhere_a_port_with_our_key(
    tmp_path: Path,
) -> None:
    here = ClusterSettings(coordinators=("/run/c",), name="a")
    found = Joined(here, Server(cluster=here), tmp_path).registered
    assert (found.mirror, found.mirror_key) == (str(tmp_path), "")

    key = new_key(tmp_path / "key").public.hex()
    far = ClusterSettings(
        coordinators=("10.0.0.5:7100",), name="a", key=tmp_path / "key", coordinator_key="5f" * 32
    )
    link = LinkSettings(listen="127.0.0.1:7000", key=tmp_path / "key", workers=("5f" * 32,))

    def mirror(settings: ClusterSettings) -> tuple[str, str]:
        one = Joined(settings, Server(cluster=settings, link=link), tmp_path).registered
        return one.mirror, one.mirror_key

    assert mirror(far) == ("", ""), "a folder of this name there is not ours"
    assert mirror(far.model_copy(update={"mirror": "10.0.0.7:7200"})) == (
        "tcp://10.0.0.7:7200",
        key,
    )
    with pytest.raises(ValueError, match="without key"):
        ClusterSettings(coordinators=("/run/c",), name="a", mirror="10.0.0.7:7200")
    for wrong in ({"edges": ("nonsense",)}, {"mirror": "nowhere"}):
        with pytest.raises(ValueError):
            ClusterSettings.model_validate(far.model_dump() | wrong)


def test_the_workers_of_a_server_in_a_cluster_join_it_too(tmp_path: Path) -> None:
    settings = ClusterSettings(
        coordinators=("10.0.0.5:7100",), name="a", key=tmp_path / "key", coordinator_key="5f" * 32
    )
    with pytest.raises(ValueError, match="need link"):
        Server(cluster=settings)
    link = LinkSettings(listen="127.0.0.1:7000", key=tmp_path / "key", workers=("5f" * 32,))
    edge, first, second = children(Server(cluster=settings, link=link), tmp_path, None)
    assert "--link" in edge.command and "--link" not in first.command
    assert [first.name, second.name] == ["a-worker-0", "a-worker-1"]
    given = dict(zip(first.command, first.command[1:], strict=False))
    assert given["--cluster"] == "10.0.0.5:7100" and given["--share"] == "2"
    assert given["--key"] == str(tmp_path / "key") and given["--coordinator-key"] == "5f" * 32
