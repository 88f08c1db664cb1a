"""Blocks that no signal breaks off: what a library in C calls back must not be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from streamgen.media.interrupts import ENDINGS, unbroken


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDINGS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@pytest.mark.parametrize("number", ENDINGS)
def test_an_interrupt_is_raised_where_the_block_ends(number: signal.Signals) -> None:
    signal.signal(number, terminated)
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt) as caught, unbroken(lambda: done.append("told")):
        signal.raise_signal(number)
        done.append("first")
        signal.raise_signal(number)
        done.append("second")
    assert done == ["told", "first", "second"]
    assert caught.value.args == (number,)
    assert signal.getsignal(number) is terminated


def test_an_interrupt_comes_before_what_it_made_fail() -> None:
    with pytest.raises(KeyboardInterrupt), unbroken():
        signal.raise_signal(signal.SIGINT)
        raise OSError("ended")


def test_a_handler_that_does_not_raise_is_called_at_once_and_ends_nothing() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with unbroken(lambda: heard.append(0)):
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    assert heard == [signal.SIGTERM]


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with unbroken():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)


def test_on_other_threads_nothing_is_changed() -> None:
    found: list[object] = []

    def work() -> None:
        with unbroken():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
