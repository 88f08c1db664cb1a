"""The spare worker of an isolated stage, and its keeper: a crash costs one picture."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from streamgen.errors import StageError, StageUnavailable
from streamgen.graph.spec import Limits
from streamgen.testing import picture
from tests.graph.isolation.test_isolated import is_negative, write_plugins
from tests.graph.isolation.test_isolated_deaths import (
    Opened,
    opened,
    plugins,
    restarted,
    result_of,
    spared,
    told,
    wait_until,
)

__all__ = ["opened", "plugins"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")


@pytest.mark.parametrize("way", ["null", "hang", "leak"])
def test_a_spare_worker_takes_over_with_the_next_picture(opened: Opened, way: str) -> None:
    stage = opened("Troubled", limits=Limits(memory_mb=150), timeout=1_500_000_000)
    source = picture(64, 48)
    for number in range(1, 4):
        spare = spared(stage)
        with pytest.raises(StageError):
            for _ in range(50):  # it leaks more with each until somebody looks
                result_of(stage, source, way=way, every=1)
        assert stage.line.keeper.pid == spare
        assert is_negative(result_of(stage, source), source)
        assert stage.deaths == number


def test_pictures_behind_the_fatal_one_go_to_the_spare_worker(opened: Opened) -> None:
    stage = opened("Troubled")
    params = stage.Params(way="signal", every=5)
    spared(stage)
    sources = [picture(64, 48, seed=number).retimed(pts=number) for number in range(4, 8)]
    replies = [stage.process({"picture": source}, params) for source in sources]
    with pytest.raises(StageError, match="SIGSEGV"):
        replies[0].outputs()
    for reply, source in zip(replies[1:], sources[1:], strict=True):
        assert is_negative(reply.outputs()["picture"], source)


def test_a_worker_that_dies_between_two_pictures_costs_none(opened: Opened) -> None:
    stage = opened("Troubled")
    source = picture(64, 48)
    stage.prepare(64, 48, source.color)
    for _ in range(5):
        spared(stage)
        for _ in range(3):  # or its start counts as failed
            assert is_negative(result_of(stage, source), source)
        os.kill(stage.line.keeper.pid, signal.SIGKILL)
        replies = [stage.process({"picture": source}, stage.Params()) for _ in range(3)]
        lost = 0
        for reply in replies:
            try:
                assert is_negative(reply.outputs()["picture"], source)
            except StageError:
                lost += 1
        assert lost <= 1  # what it had taken up already


class Contested:
    """The lock of a worker whose caller takes it just after the keeper has closed its channel."""

    def __init__(self, hand: Any) -> None:
        self._lock, self._close = hand.reading, hand.close
        self._pid = hand.pid
        self._closed, self._left = threading.Event(), threading.Event()
        self.locked = self._lock.locked
        hand.reading, hand.close = self, self.close

    def close(self) -> None:
        self._close()
        self._closed.set()
        self._left.wait(30)  # what was asked is settled later: until then there is all to read

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:  # the keeper's acquire waits, if for no time at all
            os.kill(self._pid, signal.SIGKILL)
            assert self._closed.wait(30)
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        self._lock.release()
        if self._closed.is_set():
            self._left.set()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_who_comes_to_read_when_the_worker_is_buried_learns_of_its_death(opened: Opened) -> None:
    stage = opened("Troubled")
    spared(stage)
    source = picture(64, 48)
    assert is_negative(result_of(stage, source), source)
    fatal = stage.process({"picture": source}, stage.Params(way="hang", every=1))
    behind = stage.process({"picture": source}, stage.Params())
    Contested(stage.line._hand)
    with pytest.raises(StageError, match="SIGKILL"):
        fatal.outputs()
    assert is_negative(behind.outputs()["picture"], source)


def test_who_finds_the_keeper_reading_is_not_forgotten(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = opened("Troubled", timeout=300_000_000_000, limits=Limits(spare=False))
    source = picture(64, 48)
    assert is_negative(result_of(stage, source), source)
    hand = stage.line._hand
    asked, late, at_once = threading.Event(), threading.Lock(), hand.channel.receive_at_once

    def comes_late() -> bytes | None:
        """As if somebody had waited, and read what the keeper was woken for."""
        if not asked.is_set():
            return None
        if late.acquire(False):
            with stage.line.lock:
                stage.line.keeper.watch(hand, False)
            waiting.start()
            assert wait_until(lambda: reply.gate is not None)
            return None
        found: bytes | None = at_once()
        return found

    monkeypatch.setattr(hand.channel, "receive_at_once", comes_late)
    reply = stage.process({"picture": source}, stage.Params())
    waiting = threading.Thread(target=reply.wait, daemon=True)
    asked.set()
    reply.done()  # has the keeper read
    assert wait_until(lambda: reply.passed)
    waiting.join()


def test_limits_may_do_without_a_spare_worker(opened: Opened) -> None:
    stage = opened("Troubled", limits=Limits(spare=False))
    source = picture(64, 48)
    result_of(stage, source)
    stage.line.keeper.wake()
    told(stage, "null")
    assert len(stage.line.keeper.hands) <= 1
    restarted(stage, 1)
    assert is_negative(result_of(stage, source), source)


def test_what_is_prepared_later_is_prepared_by_the_spare_worker_too(opened: Opened) -> None:
    stage = opened("Prepared")
    spared(stage)
    source = picture(64, 48).retimed(pts=4)
    stage.prepare(64, 48, source.color)
    spare = spared(stage)
    with pytest.raises(StageError, match="SIGKILL"):
        result_of(stage, source, every=5)
    assert stage.line.keeper.pid == spare
    assert is_negative(result_of(stage, source), source)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_keeper_that_fails_fails_its_pictures(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = opened("Troubled", timeout=100_000_000)

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    reply = stage.process({"picture": picture(64, 48)}, stage.Params(way="hang", every=1))
    monkeypatch.setattr(stage.line.keeper, "_watch", broken)
    with pytest.raises(StageError):
        reply.outputs()
    with pytest.raises(StageUnavailable, match="its keeper has failed"):
        stage.process({"picture": picture(64, 48)}, stage.Params())


def test_closing_does_not_wait_for_a_process_that_is_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    slow = tmp_path / "slow"
    (tmp_path / "slowly_loaded.py").write_text(
        "import os, time\n"
        f"if os.path.exists({str(slow)!r}):\n"
        f"    open({str(slow)!r}, 'w').write('loading')\n"
        "    time.sleep(60)\n"
        "from tests.graph.isolation.troubled import *\n"
    )
    write_plugins(tmp_path, "slowly_loaded", ["Same"])
    monkeypatch.syspath_prepend(str(tmp_path))
    stage = opened("Same")
    slow.touch()
    os.kill(stage.zygote.pid, signal.SIGKILL)
    assert wait_until(slow.read_text)
    began = time.monotonic()
    stage.close()
    assert time.monotonic() - began < 30  # of 60, on the busiest machine; 2 as a rule
    stage.zygote.end()
