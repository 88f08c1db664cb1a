"""`Keeper`: keeps one worker of an isolated stage alive, from a thread of its own that only waits.

It hears what the worker answers, reads what it prints, ends it when it hangs or grows too large,
and orders a new one at once when it is gone; a stage that dies again within its first pictures is
given more and more time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from streamgen.errors import ConfigError
from streamgen.graph.channel import Channel
from streamgen.graph.lending import Lending
from streamgen.graph.spec import Limits
from streamgen.graph.tags import WireError
from streamgen.graph.wire import Received, unpack
from streamgen.graph.zygote import LastWords, Zygote, died
from streamgen.media.shared import HEADER

BUILD_NS = 120_000_000_000
"""Longest time to build a stage; some load and compile a network."""
FIRST_PICTURES = 3
"""A worker that answered so many was no failed start."""
DELAYS_NS = (0, 0, *(100_000_000 << n for n in range(6)), 5_000_000_000)
"""Wait before the next start, by the number of failed starts in a row."""
TICK_NS = 1_000_000_000
_EXIT_S = 0.05
"""Time that a process may take from closing its channel to its end."""
_DEATH_S = 1.0
"""Longest time a killed process takes to be gone."""


@dataclass(eq=False)
class Hand:
    """One worker process, from its order to its end."""

    channel: Channel
    output: int
    lending: Lending
    born_ns: int
    unanswered: int
    """Messages of its start that it has not answered yet; 0: it works."""
    pid: int | None = None
    pidfd: int = -1
    answered: int = 0
    ended: str = ""
    """Why we ended it."""
    words: LastWords = field(default_factory=LastWords)


class Kept(Protocol):
    """The stage that is kept, called from the keeper's thread."""

    def started(self) -> tuple[Lending, list[bytes]]:
        """A new worker comes: what it is told first."""
        ...

    def ready(self, hand: Hand) -> None: ...

    def heard(self, hand: Hand, message: Received) -> None:
        """Raises `WireError` for a message that ends the worker."""
        ...

    def lost(self, hand: Hand, reason: str) -> None:
        """The worker is gone: nothing of it runs any more."""
        ...

    def deadline_ns(self) -> int | None:
        """When the request that is at work is late; None: there is none."""
        ...


class Keeper:
    """One thread; everything but `wake` and `close` happens on it."""

    def __init__(self, zygote: Zygote, kept: Kept, limits: Limits, timeout_ns: int) -> None:
        self._zygote = zygote
        self._kept = kept
        self._limits = limits
        self._timeout_ns = timeout_ns
        self._orders: Channel | None = None
        self._hand: Hand | None = None
        self._failed_starts = 0
        self._due_ns = 0
        self._last_ns = 0
        self._watch_ns = 0
        self._short_ms = max(min(timeout_ns // 8, TICK_NS // 2), 5_000_000) / 1e6
        self._looked_ns = 0
        self._ending = False
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self.asleep = False
        """Waiting for long: a new request must `wake` it, for its deadline to be watched."""
        self.deaths = 0
        self.printed = 0
        self._thread = threading.Thread(
            target=self._run, name=f"isolated {zygote.stage}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """End the worker and the thread. Safe twice."""
        if self._ending:
            return
        self._ending = True
        self.wake()
        self._thread.join()
        os.close(self._woken)

    def _run(self) -> None:
        while not self._ending:
            if self._hand is None and time.monotonic_ns() >= self._due_ns:
                self._hire()
            wait_ms = self._wait_ms()
            news = self._poll.poll(wait_ms)
            self.asleep = False
            for fd, _ in news:
                self._attend(fd)
            if not news or time.monotonic_ns() > self._watch_ns:
                self._watch()
        # The worker was told to end, and may have files to close; its parent says when it is gone.
        deadline = time.monotonic() + _DEATH_S
        while self._hand is not None and self._orders is not None:
            if not _readable(self._orders.fileno(), deadline - time.monotonic()):
                break
            self._told()
        if self._hand is not None:
            self._bury("was closed")
        self._no_orders()

    def _wait_ms(self) -> float:
        """Until something is due that nobody wakes us for."""
        now = time.monotonic_ns()
        if self._hand is None:
            return max(self._due_ns - now, 0) / 1e6
        if now - self._last_ns < TICK_NS:
            # Requests come and go without waking us; their deadline is seen this much late.
            return self._short_ms
        self.asleep = True  # before the deadline is read: a request from now on wakes us
        if self._kept.deadline_ns() is None:
            return TICK_NS / 1e6
        self.asleep = False
        return self._short_ms

    def _attend(self, fd: int) -> None:
        hand = self._hand
        if fd == self._woken:
            with suppress(BlockingIOError):
                os.eventfd_read(self._woken)
        elif self._orders is not None and fd == self._orders.fileno():
            self._told()
        elif hand is not None and fd == hand.channel.fileno():
            self._listen(hand)
        elif hand is not None and fd == hand.output and not hand.words.read(fd):
            self._close_output(hand)

    def _hire(self) -> None:
        """Order a worker, and tell it what to be; it answers when it is."""
        try:
            if self._orders is None:
                self._orders = self._zygote.join()
                self._poll.register(self._orders.fileno(), select.POLLIN)
            self._hand = hand = self._order(self._orders)
            for fd in (hand.channel.fileno(), hand.output):
                self._poll.register(fd, select.POLLIN)
        except (ConfigError, OSError):
            self._no_orders()
            self._delay()

    def _order(self, orders: Channel) -> Hand:
        lending, first = self._kept.started()
        mine, theirs = Channel.pair()
        output, printing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(printing, True)
        mine.socket.setblocking(False)
        try:
            order = json.dumps({"cpus": self._limits.cpus}).encode()
            orders.send(order, [theirs.fileno(), printing])
            for message in first:
                mine.send(message)
        except OSError:
            mine.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(printing)
        return Hand(mine, output, lending, time.monotonic_ns(), len(first))

    def _told(self) -> None:
        """What the zygote says: the number of a new worker, the end of an old one."""
        assert self._orders is not None
        data, fds = self._orders.receive_with_fds()
        if not data:
            self._no_orders()
            return
        said = json.loads(data)
        hand = self._hand
        if "forked" in said and hand is not None and hand.pid is None and fds:
            hand.pid, hand.pidfd = said["forked"], fds.pop()
        elif "exited" in said and hand is not None and hand.pid == said["exited"]:
            self._bury(died(os.waitstatus_to_exitcode(said["status"])))
        for fd in fds:
            os.close(fd)

    def _no_orders(self) -> None:
        if self._orders is not None:
            self._poll.unregister(self._orders.fileno())
            self._orders.close()
            self._orders = None

    def _close_output(self, hand: Hand) -> None:
        if hand.output >= 0:
            self._poll.unregister(hand.output)
            os.close(hand.output)
            hand.output = -1

    def _listen(self, hand: Hand) -> None:
        try:
            data = hand.channel.receive()
        except BlockingIOError:
            return
        if not data:
            self._end(hand, "")
            return
        try:
            message = unpack(data)
            if hand.unanswered:
                hand.unanswered -= 1
                self._kept.heard(hand, message)
                if not hand.unanswered:
                    self._kept.ready(hand)
            else:
                hand.answered += 1
                self._kept.heard(hand, message)
        except WireError as error:
            self._end(hand, str(error))
        self._last_ns = time.monotonic_ns()

    def _watch(self) -> None:
        """End a worker that is late or too large."""
        hand, now = self._hand, time.monotonic_ns()
        self._watch_ns = now + round(self._short_ms * 1e6)
        if hand is None:
            return
        deadline = hand.born_ns + BUILD_NS if hand.unanswered else self._kept.deadline_ns()
        if deadline is not None and now > deadline:
            limit_ns = BUILD_NS if hand.unanswered else self._timeout_ns
            self._end(hand, f"gave no answer for {limit_ns / 1e6:g} ms and was ended")
        elif hand.pid is not None and now - self._looked_ns > TICK_NS // 4:
            self._looked_ns = now
            used, most = own_bytes(hand.pid), self._limits.memory_mb << 20
            if used > most:
                self._end(hand, f"uses {used >> 20} MB, more than {most >> 20}, and was ended")

    def _end(self, hand: Hand, why: str) -> None:
        """Kill the worker, unless it is dead already, and bury it."""
        hand.ended = why
        orders = self._orders
        if hand.pidfd < 0 and orders is not None and _readable(orders.fileno()):
            self._told()  # its number comes only now
        # One that ends by itself is let end: killed on its way out, it would seem to have been.
        if hand.pidfd >= 0 and (why or not _readable(hand.pidfd, _EXIT_S)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(hand.pidfd, signal.SIGKILL)
        orders = self._orders
        if self._hand is hand and orders is not None and _readable(orders.fileno()):
            self._told()
        if self._hand is hand:
            self._bury("died with the process it came from")

    def _bury(self, how: str) -> None:
        """The worker is gone, or goes now: tell the stage, and see when the next one may come."""
        hand, self._hand = self._hand, None
        assert hand is not None
        if hand.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(hand.pidfd, signal.SIGKILL)
            _readable(hand.pidfd)
            os.close(hand.pidfd)
        if self._orders is None and hand.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(hand.pid, signal.SIGKILL)  # what it started, and nobody else ends
        self._poll.unregister(hand.channel.fileno())
        hand.channel.close()
        if hand.output >= 0:
            hand.words.read(hand.output)
        self._close_output(hand)
        self.printed += hand.words.printed
        if not self._ending:
            self.deaths += 1
            self._failed_starts = 0 if hand.answered >= FIRST_PICTURES else self._failed_starts + 1
            self._delay(self._failed_starts)
        words = f"; last words: {hand.words}" if str(hand.words) else ""
        self._kept.lost(hand, (hand.ended or how) + words)

    def _delay(self, failed: int | None = None) -> None:
        if failed is None:
            self._failed_starts += 1
            failed = self._failed_starts
        wait_ns = DELAYS_NS[min(failed, len(DELAYS_NS) - 1)]
        self._due_ns = time.monotonic_ns() + wait_ns


def _readable(fd: int, limit_s: float = _DEATH_S) -> bool:
    """Wait for a message; of a process's descriptor: until it is gone."""
    wait = select.poll()
    wait.register(fd, select.POLLIN)
    return bool(wait.poll(max(limit_s, 0.0) * 1000))


def own_bytes(pid: int) -> int:
    """Resident memory of a process that it does not share; 0 when it is gone."""
    try:
        fields: Any = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * HEADER
