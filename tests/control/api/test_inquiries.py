"""What a coordinator does with questions of edges that it cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgen.control.api.cluster import edges_api
from streamgen.control.api.inquiries import MOST, WITHIN_S, Inquiries
from streamgen.control.coordinator.office import Office
from streamgen.control.coordinator.questions import ApiAsked, ApiTold
from streamgen.control.keys import new_key
from streamgen.control.store import Store
from streamgen.telemetry import MonotonicClock, Telemetry
from tests.edge.homed import HandLoop

pytest.importorskip("zmq")
pytest.importorskip("fastapi")


class Away:
    """Jobs of a store that takes what it is asked and says nothing."""

    async def rows(self, most: int | None = None) -> list[dict[str, object]]:
        await asyncio.Event().wait()
        return []

    async def row(self, name: str) -> dict[str, object] | None: ...
    async def cancel(self, name: str) -> dict[str, object] | None: ...


@pytest.fixture
def loop() -> Iterator[HandLoop]:
    loop = HandLoop()
    yield loop
    loop.end()


def test_questions_that_the_store_does_not_answer_leave_room_for_others(
    tmp_path: Path, loop: HandLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ApiTold]] = []

    async def work() -> None:
        office = Office(
            "one",
            lambda: Store(f"sqlite:///{tmp_path / 'state.db'}", lambda: 0),
            str(tmp_path / "wire"),
            key=new_key(tmp_path / "key"),
            known=None,
            ttl_ms=60_000,
            clock=MonotonicClock(),
            telemetry=Telemetry(),
        )
        monkeypatch.setattr(office, "say", lambda kind, name, message: told.append((name, message)))
        async with Inquiries(office, edges_api(office, Away())):
            for number in range(MOST):
                office.desk.asked("edge", ApiAsked(number, "GET", "/v1/jobs"))
            office.desk.asked("edge", ApiAsked(MOST, "GET", "/v1/nodes"))
            await asyncio.sleep(WITHIN_S + 0.1)
            office.desk.asked("edge", ApiAsked(MOST + 1, "GET", "/v1/nodes"))
            await asyncio.sleep(0.1)

    task = loop.create_task(work())
    for _ in range(100):
        loop.pass_time(0.1)
        if task.done():
            break
    task.result()
    assert [(name, one.number, one.status) for name, one in told] == [("edge", MOST + 1, 503)]
