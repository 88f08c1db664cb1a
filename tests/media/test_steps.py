"""`StepGroup`: nothing outlives it, and the first failure stops all."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from streamgen.errors import SourceError
from streamgen.media.queue import Bounded
from streamgen.media.steps import StepGroup


def test_leaving_the_block_waits_for_every_step() -> None:
    seen: list[int] = []
    queue: Bounded[int] = Bounded(1)

    def produce() -> None:
        for number in range(20):
            queue.put(number)
        queue.close()

    with StepGroup(queue) as steps:
        steps.start("produce", produce)
        steps.start("consume", lambda: seen.extend(queue))
    assert seen == list(range(20))


def test_the_first_failure_stops_all_steps_and_is_raised() -> None:
    queue: Bounded[int] = Bounded(1)

    def fail() -> None:
        raise SourceError("broke off")

    before = threading.active_count()
    with pytest.raises(SourceError, match="broke off"), StepGroup(queue) as steps:
        steps.start("wait", lambda: list(queue))
        steps.start("fail", fail)
    assert threading.active_count() == before


def test_an_error_in_the_block_itself_stops_the_steps() -> None:
    queue: Bounded[int] = Bounded(1)
    with pytest.raises(KeyError), StepGroup(queue) as steps:
        steps.start("wait", lambda: list(queue))
        raise KeyError("x")


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux")
def test_steps_give_way_to_the_one_that_leads() -> None:
    found: dict[str, int] = {}

    def look(name: str) -> None:
        found[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with StepGroup(niceness=3) as steps:
        steps.start("leads", look, "leads", leads=True)
        steps.start("feeds", look, "feeds")
    assert found == {"leads": usual, "feeds": min(usual + 3, 19)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual


def test_cancelling_a_group_is_not_an_error() -> None:
    queue: Bounded[int] = Bounded(1)
    with StepGroup(queue) as steps:
        steps.start("wait", lambda: list(queue))
        steps.cancel()


def test_an_interrupt_while_waiting_still_waits_for_every_step() -> None:
    ended: list[str] = []
    main = threading.main_thread().ident
    assert main is not None

    def slow(name: str) -> None:
        time.sleep(0.3)
        ended.append(name)

    with pytest.raises(KeyboardInterrupt), StepGroup() as steps:
        steps.start("first", slow, "first")
        steps.start("second", slow, "second")
        steps.start(
            "interrupt", lambda: (time.sleep(0.05), signal.pthread_kill(main, signal.SIGINT))
        )
    assert sorted(ended) == ["first", "second"]
