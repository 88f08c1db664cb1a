"""`Keeper`: keeps one worker of an isolated stage at work and a spare one behind it, from a thread
of its own that only waits.

The spare has built and prepared the stage already: when a worker dies, hangs or grows too large,
it takes over at once, and the next spare is ordered. The keeper hears what nobody waits for, reads
what the workers print, and ends those that must end. A stage that dies again within its first
pictures is given more and more time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from streamgen.errors import ConfigError
from streamgen.graph.isolation.channel import Channel
from streamgen.graph.isolation.hand import Hand, Kept, readable
from streamgen.graph.isolation.lending import Lending
from streamgen.graph.isolation.tags import WireError
from streamgen.graph.isolation.wire import Message, pack, unpack
from streamgen.graph.isolation.zygote import Zygote, died
from streamgen.graph.spec import Limits

BUILD_NS = 120_000_000_000
"""Longest time to build a stage; some load and compile a network."""
FIRST_PICTURES = 3
"""A worker that answered so many was no failed start."""
DELAYS_NS = (0, 0, *(100_000_000 << n for n in range(6)), 5_000_000_000)
"""Wait before the next start, by the number of failed starts in a row."""
TICK_NS = 1_000_000_000
_DEATH_S = 1.0
"""Longest time a killed process takes to be gone."""
_CLOSE_S = 1.5
"""Longest time that one who closes a stage waits for a process that is being loaded."""


class Keeper:
    """One thread; everything but `wake`, `also`, `watch` and `close` happens on it."""

    def __init__(
        self,
        zygote: Zygote,
        kept: Kept,
        first: Callable[[], tuple[Lending, list[bytes]]],
        limits: Limits,
        timeout_ns: int,
        *,
        spare: bool,
    ) -> None:
        """`first`: what a new worker is told before anything else."""
        self._zygote = zygote
        self._kept = kept
        self._first = first
        self._limits = limits
        self._timeout_ns = timeout_ns
        self._spare = spare
        self._orders: Channel | None = None
        self._serving: Hand | None = None
        self.hands: list[Hand] = []
        """Those that work or will: at most the serving one and a spare."""
        self._left: list[Hand] = []
        """Those that do not work any more, and may not be gone yet."""
        self._unnamed: deque[Hand] = deque()
        self._listened: dict[int, Hand] = {}
        self._errands: deque[bytes] = deque()
        self._failed_starts = 0
        self._due_ns = 0
        self._watch_ns = 0
        self._short_ns = max(min(timeout_ns // 8, TICK_NS // 2), 5_000_000)
        self._looked_ns = 0
        self._ending = False
        self._waking = threading.Lock()
        """Held to write to `_woken`, and to close it."""
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._woken, select.EPOLLIN)
        self.asleep = False
        """Waiting for long: a new request must `wake` it, for its deadline to be watched."""
        self.deaths = 0
        self.printed = 0
        self._thread = threading.Thread(
            target=self._run, name=f"isolated {zygote.stage}", daemon=True
        )

    @property
    def pid(self) -> int | None:
        """Of the process that works; None while there is none."""
        hand = self._serving
        return None if hand is None else hand.pid

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        with self._waking:
            if self._woken >= 0:  # else it has ended
                os.eventfd_write(self._woken, 1)

    def also(self, message: bytes) -> None:
        """Something that a spare worker must do too before it can work."""
        self._errands.append(message)
        self.wake()

    def watch(self, hand: Hand, watched: bool) -> None:
        """Whether we are told of what this worker answers; the stage's lock is held."""
        fd = hand.channel.fileno()
        # Not another worker's: the number of one that was closed is given out again.
        if hand.watched is not watched and self._listened.get(fd) is hand:
            hand.watched = watched
            with suppress(OSError):  # it is being left
                self._poll.modify(fd, select.EPOLLIN if watched else 0)

    def close(self) -> None:
        """End the workers and the thread. Safe twice."""
        if self._ending:
            return
        self._ending = True
        self.wake()
        self._thread.join(_CLOSE_S)
        while self._thread.is_alive():  # it waits for a process that is being loaded
            self._zygote.interrupt()
            self._thread.join(0.1)

    def _run(self) -> None:
        try:
            while not self._ending:
                self._turn()
        finally:
            self._finish()

    def _turn(self) -> None:
        now = time.monotonic_ns()
        if self._short_handed() and now >= self._due_ns:
            self._hire()
        news = self._poll.poll(self._wait_ns() / 1e9)
        self.asleep = False
        for fd, events in news:
            self._attend(fd, events)
        if not news or time.monotonic_ns() > self._watch_ns:
            self._watch()

    def _short_handed(self) -> bool:
        """A spare is ordered only when the first one works: the two would hold each other up."""
        if not self.hands:
            return True
        return self._spare and len(self.hands) == 1 and self._serving is not None

    def _wait_ns(self) -> int:
        """Until something is due that nobody wakes us for."""
        now = time.monotonic_ns()
        hire_ns = max(self._due_ns - now, 0) if self._short_handed() else TICK_NS
        if self._left or now - self._kept.asked_ns < TICK_NS:
            # Requests come and go without waking us; their deadline is seen this much late.
            return min(hire_ns, self._short_ns)
        self.asleep = True  # before the deadline is read: a request from now on wakes us
        if self._kept.deadline_ns() is None:
            return hire_ns
        self.asleep = False
        return min(hire_ns, self._short_ns)

    def _attend(self, fd: int, events: int) -> None:
        hand = self._listened.get(fd)
        if fd == self._woken:
            with suppress(BlockingIOError):
                os.eventfd_read(self._woken)
            self._run_errands()
        elif self._orders is not None and fd == self._orders.fileno():
            self._told()
        elif hand is not None and fd == hand.output:
            if not hand.words.read(fd):
                self._unlisten(fd)
                os.close(fd)
                hand.output = -1
        elif hand is not None:
            self._listen(hand, ended=bool(events & select.EPOLLHUP))

    def _run_errands(self) -> None:
        while self._errands:
            message = self._errands.popleft()
            for hand in self.hands:
                if hand is not self._serving:
                    hand.tell(message)
        for hand in list(self.hands):
            if hand.ended:  # one who waited for an answer has read something else
                self._leave(hand, hand.ended)

    def _hire(self) -> None:
        """Order a worker, and tell it what to be; it answers when it is."""
        try:
            if self._orders is None:
                self._orders = self._zygote.join()
                self._poll.register(self._orders.fileno(), select.EPOLLIN)
            hand = Hand.ordered(self._orders, *self._first(), self._limits.cpus)
        except (ConfigError, OSError):
            self._no_orders()
            self._failed_starts += 1
            self._delay()
            return
        self.hands.append(hand)
        self._unnamed.append(hand)
        for fd in (hand.channel.fileno(), hand.output):
            self._listened[fd] = hand
            self._poll.register(fd, select.EPOLLIN)

    def _told(self) -> None:
        """What the zygote says: the number of a new worker, the end of an old one."""
        assert self._orders is not None
        data, given = self._orders.receive_with_fds()
        fds = list(given)
        if not data:
            self._no_orders()
            return
        said = json.loads(data)
        if "forked" in said and self._unnamed and fds:
            self._unnamed.popleft().named(said["forked"], fds.pop())
        elif "exited" in said:
            for hand in [*self.hands, *self._left]:
                if hand.pid == said["exited"]:
                    hand.leave()
                    self._listen(hand, ended=True)  # its last answers may lie there still
                    self._bury(hand, died(os.waitstatus_to_exitcode(said["status"])))
        for fd in fds:
            os.close(fd)

    def _no_orders(self) -> None:
        """The zygote is gone, and all workers with it."""
        if self._orders is not None:
            self._poll.unregister(self._orders.fileno())
            self._orders.close()
            self._orders = None
        self._unnamed.clear()
        for hand in [*self.hands[::-1], *self._left]:  # a spare one must not take over now
            hand.leave()
            self._listen(hand, ended=True)
            self._bury(hand, "died with the process it came from")

    def _unlisten(self, fd: int) -> None:
        if self._listened.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _listen(self, hand: Hand, *, ended: bool = False) -> None:
        """Read what is there; `ended`: until its end."""
        if hand not in self.hands:
            return
        if not hand.reading.acquire(timeout=_DEATH_S if ended else 0.0):
            self._kept.watch(hand)  # who waits for the answer reads it himself
            return
        why = None
        try:
            while why is None and (data := hand.channel.receive_at_once()) is not None:
                why = self._heard(hand, data) if data else ""
        finally:
            hand.reading.release()
        if why is not None:
            self._leave(hand, why)
        elif not hand.watched:  # somebody may have come to wait meanwhile, and found us reading
            self._kept.watch(hand)

    def _heard(self, hand: Hand, data: bytes) -> str | None:
        """Says why the worker must end, if it must."""
        try:
            message = unpack(data)
            if not hand.unanswered:
                self._kept.heard(hand, message)
            elif message.kind == Message.FAILED:
                return str((message.extra or {}).get("error"))
            else:
                hand.unanswered -= 1
        except WireError as error:
            return str(error)
        if self._serving is None and not hand.unanswered:
            self._serving = hand
            self._kept.ready(hand)
        return None

    def _watch(self) -> None:
        """End workers that are late or too large, and forget those that are gone."""
        now = time.monotonic_ns()
        self._watch_ns = now + self._short_ns
        looks = now - self._looked_ns > TICK_NS // 4
        for hand in list(self.hands):
            if hand.unanswered and now > hand.since_ns + BUILD_NS:
                self._leave(hand, f"gave no answer for {BUILD_NS / 1e9:g} s and was ended")
            elif hand is self._serving and self._late(now):
                self._listen(hand)
                if hand is self._serving and self._late(now):
                    limit_ms = self._timeout_ns / 1e6
                    self._leave(hand, f"gave no answer for {limit_ms:g} ms and was ended")
            elif looks:
                self._looked_ns = now
                used, most = hand.own_mb(), self._limits.memory_mb
                if used > most:
                    self._leave(hand, f"uses {used} MB, more than {most}, and was ended")
        for hand in list(self._left):
            if now > hand.since_ns + max(self._timeout_ns, TICK_NS // 4):
                self._bury(hand, "died")  # its parent is too busy to say how

    def _late(self, now: int) -> bool:
        deadline = self._kept.deadline_ns()
        return deadline is not None and now > deadline

    def _leave(self, hand: Hand, why: str) -> None:
        """No answer of this worker counts any more; the spare one works from now on.

        `why` we end it; empty: it ends by itself, and its parent will say how.
        """
        self.hands.remove(hand)
        self._left.append(hand)
        self._unlisten(hand.channel.fileno())
        hand.leave()
        if self._serving is hand:
            self._serving = self._heir()
            self._kept.left(hand, self._serving)
        if why:
            hand.ended = why
            hand.kill()
            self._kept.lost(hand, why + hand.last_words())
        self.deaths += 1
        self._failed_starts = 0 if hand.answered >= FIRST_PICTURES else self._failed_starts + 1
        self._delay()

    def _heir(self) -> Hand | None:
        for hand in self.hands:
            if not hand.unanswered and not (hand.pidfd >= 0 and hand.gone(0)):
                return hand
        return None

    def _bury(self, hand: Hand, how: str) -> None:
        """The worker is gone, or goes now."""
        if hand in self.hands:
            self._leave(hand, "")
        self._left.remove(hand)
        hand.kill()
        hand.gone(_DEATH_S)
        if self._orders is None and hand.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(hand.pid, signal.SIGKILL)  # what it started, and nobody else ends
        self._unlisten(hand.output)
        hand.close()
        self.printed += hand.words.printed
        self._kept.lost(hand, (hand.ended or how) + hand.last_words())

    def _delay(self) -> None:
        wait_ns = DELAYS_NS[min(self._failed_starts, len(DELAYS_NS) - 1)]
        self._due_ns = time.monotonic_ns() + wait_ns

    def _finish(self) -> None:
        """All workers are told to end, and may have files to close; their parent says when they
        are gone."""
        if not self._ending:
            self._kept.broken()
        deaths = self.deaths
        for hand in list(self.hands):
            if hand.unanswered:
                hand.kill()
            elif hand is not self._serving:
                with suppress(OSError):
                    hand.channel.send(pack(Message.CLOSE, 0))
        deadline = time.monotonic() + _DEATH_S
        while (self.hands or self._left) and self._orders is not None:
            if not readable(self._orders.fileno(), deadline - time.monotonic()):
                break
            self._told()
        for hand in [*self.hands, *self._left]:
            self._bury(hand, "was closed")
        self._no_orders()
        self._poll.close()
        with self._waking:
            os.close(self._woken)
            self._woken = -1
        self.deaths = deaths
