from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from streamgen.errors import ModelError
from streamgen.media.frame import Plane
from streamgen.protocols import Inputs
from streamgen.runtimes.engine import Completion, EngineSettings, Requests, lines


class GatedRequest:
    """Runs until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def bind(self, inputs: Inputs, out: Mapping[str, Plane]) -> None: ...

    def run(self) -> None:
        assert self.gate.wait(5)


def test_submit_waits_only_while_every_request_is_busy() -> None:
    gate = threading.Event()
    requests = Requests([GatedRequest(gate), GatedRequest(gate)], (RuntimeError,), str, "gated")
    tickets = [requests.submit({}, {}), requests.submit({}, {})]
    third = threading.Thread(target=lambda: tickets.append(requests.submit({}, {})))
    third.start()
    third.join(0.05)
    assert third.is_alive()
    assert not any(ticket.done() for ticket in tickets)
    gate.set()
    third.join(5)
    requests.close()
    assert len(tickets) == 3
    assert all(ticket.done() for ticket in tickets)


def test_every_waiter_of_a_failed_run_gets_the_error() -> None:
    ticket = Completion({}, {})
    raised: list[str] = []

    def wait() -> None:
        with pytest.raises(ModelError) as caught:
            ticket.wait()
        raised.append(str(caught.value))

    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    ticket.finish("it broke")
    for waiter in waiters:
        waiter.join(5)
    assert raised == ["it broke"] * 3


def test_a_request_without_a_thread_is_refused() -> None:
    with pytest.raises(ModelError, match="a thread for every request"):
        EngineSettings(threads=1, requests=2)


def test_a_long_message_is_read_line_by_line() -> None:
    assert lines(RuntimeError("\n  bad shape \n\n at core.cpp:12\n")) == [
        "bad shape",
        "at core.cpp:12",
    ]
    assert lines(RuntimeError()) == ["RuntimeError"]
