"""`Bounded`: the only queue on the frame path. It has a depth, a policy when full, and counts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar, assert_never

from streamgen.errors import ConfigError

T = TypeVar("T")


class WhenFull(Enum):
    """What `put` does when the queue is full."""

    WAIT = "wait"
    """Block the producer. The only policy of an offline run."""
    DROP_OLDEST = "drop_oldest"
    """Live pictures in front of `process`: the oldest goes, the newest stays."""
    DROP_TO_KEYFRAME = "drop_to_keyframe"
    """Live packets: one lost packet spoils all until an IDR, so drop until one arrives."""


class Cancelled(Exception):
    """The queue was cancelled: its run is over. Never reaches a user."""


class Bounded(Generic[T]):
    """First in, first out, between producer and consumer threads, one or more of each.

    `depth` is in items, or in whatever `weigh` gives (bytes, milliseconds of audio). An item that
    alone weighs more than `depth` still passes when the queue is empty, so nothing can deadlock on
    one large packet. Iterating ends when the queue is closed and empty.
    """

    def __init__(
        self,
        depth: int,
        when_full: WhenFull = WhenFull.WAIT,
        *,
        name: str = "queue",
        weigh: Callable[[T], int] | None = None,
        is_key: Callable[[T], bool] | None = None,
        on_drop: Callable[[T], None] | None = None,
        producers: int = 1,
    ) -> None:
        if depth < 1:
            raise ConfigError(f"a queue holds at least one item, got depth {depth}")
        if when_full is WhenFull.DROP_TO_KEYFRAME and is_key is None:
            raise ConfigError("dropping to a key frame needs is_key")
        self.name = name
        self.depth = depth
        self.when_full = when_full
        self.dropped = 0
        self.passed = 0
        self.peak = 0
        self._weigh = weigh
        self._is_key = is_key
        self._on_drop = on_drop
        self._items: deque[T] = deque()
        self._weight = 0
        self._open = producers
        self._cancelled = False
        self._waiting_for_key = False
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._putters = 0
        # One token for each item, and one that goes round once the queue is closed or cancelled.
        # Waiting for it costs half of what waiting for a condition costs.
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def weight(self) -> int:
        """Present fill in the units of `depth`."""
        return self._weight

    def put(self, item: T) -> None:
        """Append `item`; waits or drops as `when_full` says. Raises `Cancelled`."""
        weight = 1 if self._weigh is None else self._weigh(item)
        lost: list[T] = []
        with self._lock:
            if self._cancelled:
                raise Cancelled
            if self._open < 1:
                raise ConfigError(f"{self.name}: put after close")
            if self._items and self._weight + weight > self.depth:
                self._make_room(weight, lost)
            if self._waiting_for_key and self._is_key is not None:
                if self._is_key(item):
                    self._waiting_for_key = False
                else:
                    lost.append(item)
            if not (lost and lost[-1] is item):
                self._items.append(item)
                self._weight += weight
                if self._weight > self.peak:
                    self.peak = self._weight
            self.dropped += len(lost)
        # Not under the lock: the consumer would wake up only to wait for it.
        if not (lost and lost[-1] is item):
            self._tokens.put(None)
        if self._on_drop is not None:
            for gone in lost:
                self._on_drop(gone)

    def _make_room(self, weight: int, lost: list[T]) -> None:
        match self.when_full:
            case WhenFull.WAIT:
                self._putters += 1
                try:
                    while self._items and self._weight + weight > self.depth:
                        self._freed.wait()
                        if self._cancelled:
                            raise Cancelled
                finally:
                    self._putters -= 1
            case WhenFull.DROP_OLDEST:
                while self._items and self._weight + weight > self.depth:
                    lost.append(self._pop())
                    self._untoken(1)
            case WhenFull.DROP_TO_KEYFRAME:
                lost.extend(self._items)
                self._untoken(len(self._items))
                self._items.clear()
                self._weight = 0
                self._waiting_for_key = True
            case _:
                assert_never(self.when_full)

    def _pop(self) -> T:
        item = self._items.popleft()
        self._weight -= 1 if self._weigh is None else self._weigh(item)
        return item

    def _untoken(self, number: int) -> None:
        """Take back the tokens of lost items; who has one already finds out by itself."""
        with suppress(Empty):
            for _ in range(number):
                self._tokens.get_nowait()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Next item; None when closed and empty, or when `timeout_s` passed without one."""
        while True:
            try:
                self._tokens.get(timeout=timeout_s)
            except Empty:
                return None
            with self._lock:
                if self._cancelled:
                    self._tokens.put(None)
                    raise Cancelled
                if self._items:
                    item = self._pop()
                    self.passed += 1
                    if self._putters:
                        self._freed.notify()
                    return item
                if self._open < 1:
                    self._tokens.put(None)
                    return None
            # Its item was dropped after the token was taken: wait for the next.

    def __iter__(self) -> Iterator[T]:
        while (item := self.get()) is not None:
            yield item

    def close(self) -> None:
        """One producer has ended; after the last the consumer gets what is inside, then None."""
        with self._lock:
            self._open -= 1
            if self._open < 1:
                self._tokens.put(None)

    def cancel(self) -> None:
        """Drop everything and make every waiting or later call raise `Cancelled`."""
        with self._lock:
            self._cancelled = True
            self._items.clear()
            self._weight = 0
            self._tokens.put(None)
            self._freed.notify_all()
