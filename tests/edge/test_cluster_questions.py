"""What an edge asks of the leader, and what comes of the answers, or of none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.events import (
    LeaseGained,
    NodeRegistered,
    StreamEnds,
    StreamWanted,
)
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.messages import (
    FromCoordinator,
    Letter,
    ToCoordinator,
    opened,
    sealed,
)
from streamgen.control.coordinator.places import Kind
from streamgen.control.coordinator.questions import ApiAsked, ApiTold, RoomTold, Told
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen_edge.cluster.questions import API_S, ROOM_S, Questions, Unanswered
from streamgen_edge.rtmp.publisher import Refused
from tests.edge.homed import HandLoop

LARGE = Profile("large", (Resources(cpu_ms=1_000),))
EPOCH = 3


class Wire:
    """An edge's questions and a leader. Its clock shows other times than the edge's."""

    def __init__(self, loop: HandLoop) -> None:
        self.loop = loop
        self.questions = Questions()
        self.questions.leads, self.questions.now_ms = (lambda: EPOCH), self.now_ms
        self.questions.say = self.ask
        self.api: list[ApiAsked] = []
        self.deaf = False
        self.desk = Desk(Coordinator(b"secret"), Figures(), self._say, lambda rows: None)
        self.desk.asked = lambda edge, asked: self.api.append(asked)
        self.desk.gained(LeaseGained(EPOCH), self.now_ms() + 500)

    def now_ms(self) -> int:
        return round(self.loop.now_s * 1000)

    def ask(self, message: ToCoordinator) -> None:
        frames = sealed(message, self.now_ms(), EPOCH)
        if not self.deaf:
            self.hear("edge", opened(frames, self.now_ms() + 500).message)

    def hear(self, kind: Kind, message: object) -> None:
        name = "node" if kind == "worker" else "edge"
        self.desk.hear(kind, name, Letter(message, EPOCH), self.now_ms() + 500)  # type: ignore[arg-type]

    def _say(self, kind: Kind, name: str | None, message: FromCoordinator) -> None:
        if isinstance(message, Told):
            self.tell(message)

    def tell(self, message: Told) -> None:
        told = opened(sealed(message, self.now_ms() + 500, EPOCH), self.now_ms()).message
        assert isinstance(told, Told)
        self.questions.heard(told)

    def full(self) -> None:
        """A node, and a stream that takes all of it."""
        self.hear("worker", NodeRegistered("node", "boot", Resources(cpu_ms=1_200)))
        self.hear("edge", StreamWanted(work("first"), None))

    def admit(self, name: str) -> asyncio.Task[None]:
        asked = self.loop.create_task(self.questions.admit(work(name)))
        self.loop.step()
        return asked


def work(name: str) -> Work:
    return Work(name, LARGE, Standing.LIVE_PAID)


@pytest.fixture
def wire() -> Iterator[Wire]:
    loop = HandLoop()
    yield Wire(loop)
    loop.end()


def refusal(asked: asyncio.Task[None]) -> Refused:
    error = asked.exception()
    assert isinstance(error, Refused)
    return error


def test_a_new_stream_without_room_is_refused_with_the_reason(wire: Wire) -> None:
    assert "no nodes" in str(refusal(wire.admit("x")))
    wire.full()
    error = refusal(wire.admit("x"))
    assert error.later and error.wait_s is None
    assert str(error) == "no room for the stream: all nodes are full, most of cpu_ms"
    assert wire.admit("first").result() is None, "it has its place"


def test_a_refusal_says_when_there_will_be_room_as_far_as_that_is_known(wire: Wire) -> None:
    wire.full()
    wire.hear("edge", StreamEnds("first", wire.now_ms() + 500 + 18_200))
    error = refusal(wire.admit("x"))
    assert error.wait_s == 19 and str(error).endswith("cpu_ms; room is expected in 19 s")
    wire.loop.pass_time(18)
    assert refusal(wire.admit("x")).wait_s == 1
    wire.loop.pass_time(5)
    assert refusal(wire.admit("x")).wait_s == 1, "it is late: soon"


def test_where_there_is_room_a_stream_comes_and_none_is_kept_for_it(wire: Wire) -> None:
    wire.hear("worker", NodeRegistered("node", "boot", Resources(cpu_ms=1_200)))
    for name in ("a", "b"):
        assert wire.admit(name).result() is None
    cluster = wire.desk.coordinator.cluster
    assert cluster is not None and not cluster.streams


def test_what_a_stream_is_to_become_is_asked_for_with_what_it_has(wire: Wire) -> None:
    wire.full()

    def becomes(cpu_ms: int) -> asyncio.Task[None]:
        profile = Profile("other", (Resources(cpu_ms=cpu_ms),))
        wish = Work("first", profile, Standing.LIVE_PAID)
        asked = wire.loop.create_task(wire.questions.admit(wish, runs=True))
        wire.loop.step()
        return asked

    assert becomes(1_050).result() is None
    assert "cpu_ms 1100" in str(refusal(becomes(1_100)))


def test_where_nobody_says_whether_there_is_room_a_stream_comes(wire: Wire) -> None:
    wire.full()
    wire.questions.leads = lambda: None
    assert wire.admit("x").result() is None
    wire.questions.leads = lambda: EPOCH
    wire.deaf = True
    coming = wire.admit("x")
    wire.loop.pass_time(ROOM_S / 2)
    assert not coming.done()
    wire.loop.pass_time(ROOM_S)
    assert coming.result() is None


def test_an_answer_in_parts_is_put_together_and_a_late_one_is_nobodys(wire: Wire) -> None:
    asking = [wire.loop.create_task(wire.questions.api("GET", f"/v1/{n}")) for n in "ab"]
    wire.loop.step()
    first, second = wire.api
    assert (first.method, first.path, second.path) == ("GET", "/v1/a", "/v1/b")
    wire.tell(ApiTold(first.number, 200, '{"one": ', last=False))
    wire.tell(ApiTold(second.number, 404, "{}", last=True))
    wire.tell(ApiTold(first.number, 200, "1}", last=True))
    wire.tell(ApiTold(first.number, 500, "again", last=True))
    wire.tell(RoomTold(12, "of nobody's question", None))
    wire.loop.step()
    assert [one.result() for one in asking] == [(200, '{"one": 1}'), (404, "{}")]


def test_who_asks_is_told_where_nobody_answers(wire: Wire) -> None:
    asking = wire.loop.create_task(wire.questions.api("GET", "/v1/nodes"))
    wire.loop.step()
    wire.tell(ApiTold(wire.api[0].number, 200, "[", last=False))
    wire.loop.pass_time(API_S + 1)
    assert isinstance(asking.exception(), Unanswered) and "does not answer" in str(
        asking.exception()
    )
    wire.questions.leads = lambda: None
    nobody = wire.loop.create_task(wire.questions.api("GET", "/v1/nodes"))
    wire.loop.step()
    assert str(nobody.exception()) == "no coordinator leads"
