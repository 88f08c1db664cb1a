"""`Bounded`: order, policies, counts, and how it ends."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.errors import ConfigError
from streamgen.media.queue import Bounded, Cancelled, WhenFull


def test_items_come_out_in_the_order_they_went_in_and_then_it_ends() -> None:
    queue: Bounded[int] = Bounded(10)
    for item in range(5):
        queue.put(item)
    queue.close()
    assert list(queue) == [0, 1, 2, 3, 4]
    assert queue.get() is None
    assert (queue.passed, queue.dropped, queue.peak) == (5, 0, 5)


def test_a_full_waiting_queue_blocks_its_producer_and_loses_nothing() -> None:
    queue: Bounded[int] = Bounded(2)
    done = threading.Event()

    def produce() -> None:
        for item in range(100):
            queue.put(item)
        queue.close()
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    time.sleep(0.02)
    assert not done.is_set()
    assert list(queue) == list(range(100))
    thread.join()
    assert queue.peak == 2
    assert queue.dropped == 0


def test_a_full_live_queue_drops_the_oldest_frame() -> None:
    lost: list[int] = []
    queue: Bounded[int] = Bounded(2, WhenFull.DROP_OLDEST, on_drop=lost.append)
    for item in range(5):
        queue.put(item)
    queue.close()
    assert list(queue) == [3, 4]
    assert lost == [0, 1, 2]
    assert queue.dropped == 3


def test_a_full_packet_queue_drops_to_the_next_key_frame() -> None:
    lost: list[str] = []
    queue: Bounded[str] = Bounded(
        3, WhenFull.DROP_TO_KEYFRAME, is_key=lambda item: item.startswith("K"), on_drop=lost.append
    )
    for item in ["K1", "p2", "p3", "p4", "p5", "K6", "p7"]:
        queue.put(item)
    queue.close()
    assert list(queue) == ["K6", "p7"]
    assert lost == ["K1", "p2", "p3", "p4", "p5"]


def test_an_item_heavier_than_the_queue_passes_when_it_is_empty() -> None:
    queue: Bounded[bytes] = Bounded(10, weigh=len)
    queue.put(b"x" * 50)
    assert queue.weight == 50
    assert queue.get() == b"x" * 50


def test_a_queue_of_several_producers_ends_after_the_last_one() -> None:
    queue: Bounded[int] = Bounded(10, producers=2)
    queue.put(1)
    queue.close()
    queue.put(2)
    queue.close()
    assert list(queue) == [1, 2]


def test_cancelling_wakes_a_waiting_producer_and_a_waiting_consumer() -> None:
    full: Bounded[int] = Bounded(1)
    full.put(1)
    empty: Bounded[int] = Bounded(1)
    woken: list[str] = []

    def wait(name: str, queue: Bounded[int], put: bool) -> None:
        try:
            if put:
                queue.put(2)
            else:
                queue.get()
        except Cancelled:
            woken.append(name)

    threads = [
        threading.Thread(target=wait, args=("put", full, True)),
        threading.Thread(target=wait, args=("get", empty, False)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    full.cancel()
    empty.cancel()
    for thread in threads:
        thread.join(timeout=5)
    assert sorted(woken) == ["get", "put"]


def test_a_get_with_a_timeout_returns_nothing_when_nothing_comes() -> None:
    assert Bounded[int](1).get(timeout_s=0.01) is None


@pytest.mark.parametrize("depth", [0, -1])
def test_a_queue_without_room_is_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match="depth"):
        Bounded[int](depth)


def test_putting_after_close_is_an_error() -> None:
    queue: Bounded[int] = Bounded(1)
    queue.close()
    with pytest.raises(ConfigError, match="after close"):
        queue.put(1)


@given(
    st.lists(st.one_of(st.integers(1, 30), st.none()), max_size=80),
    st.integers(1, 40),
    st.sampled_from([WhenFull.DROP_OLDEST, WhenFull.DROP_TO_KEYFRAME]),
)
def test_what_goes_in_comes_out_in_order_or_is_counted(
    script: list[int | None], depth: int, when_full: WhenFull
) -> None:
    """A number puts an item of that weight, None takes one."""
    lost: list[tuple[int, int]] = []
    queue: Bounded[tuple[int, int]] = Bounded(
        depth,
        when_full,
        weigh=lambda item: item[1],
        is_key=lambda item: item[1] % 3 == 0,
        on_drop=lost.append,
    )
    put: list[tuple[int, int]] = []
    got: list[tuple[int, int]] = []
    for weight in script:
        if weight is not None:
            put.append((len(put), weight))
            queue.put(put[-1])
        elif (item := queue.get(timeout_s=0)) is not None:
            got.append(item)
        assert queue.weight <= depth or len(queue) == 1
    queue.close()
    got.extend(queue)
    assert sorted(got + lost) == put
    assert got == sorted(got)
    assert queue.dropped == len(lost)


@given(st.lists(st.integers(0, 99), max_size=60), st.integers(1, 5))
def test_a_waiting_queue_between_two_threads_keeps_everything(items: list[int], depth: int) -> None:
    queue: Bounded[int] = Bounded(depth)

    def produce() -> None:
        for item in items:
            queue.put(item)
        queue.close()

    thread = threading.Thread(target=produce)
    thread.start()
    assert list(queue) == items
    thread.join()
    assert queue.peak <= depth


def test_several_consumers_share_the_items_and_all_end() -> None:
    queue: Bounded[int] = Bounded(4)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.extend(queue)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for item in range(300):
        queue.put(item)
    queue.close()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert sorted(got) == list(range(300))
