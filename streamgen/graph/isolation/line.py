"""`Line`: the questions to one isolated stage, answered in order by whichever worker lives."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from streamgen.errors import ConfigError, StageError, StageUnavailable
from streamgen.graph.isolation import wire
from streamgen.graph.isolation.hand import Hand
from streamgen.graph.isolation.keeper import Keeper
from streamgen.graph.isolation.lending import Lending
from streamgen.graph.isolation.reply import Reply
from streamgen.graph.isolation.tags import WireError
from streamgen.graph.isolation.wire import Message, Received
from streamgen.graph.isolation.zygote import Zygote
from streamgen.graph.spec import Limits
from streamgen.media.pool import CopyMeter
from streamgen.media.shared import SharedPool

Calls = Iterable[Callable[[], None]] | None


class Line:
    """Any thread asks, and nobody ever waits: while there is no worker a request fails at once.

    A worker that dies fails the request at work; those behind it go to the spare one. Whoever
    waits for an answer reads it from the worker himself, which saves waking another thread; what
    nobody waits for is read by the keeper.
    """

    DEPTH = 8
    """Requests on their way; more are turned away."""

    def __init__(
        self,
        zygote: Zygote,
        first: Callable[[], list[bytes]],
        meter: CopyMeter,
        limits: Limits,
        timeout_ns: int,
        *,
        spare: bool,
    ) -> None:
        """`first`: what every new worker is told before anything else; `spare`: keep one more."""
        self.pool = SharedPool(meter)
        """Buffers that are lent for results."""
        self.lock = threading.Lock()
        self.asked_ns = 0
        """When the request was made that is at work, or was last."""
        self._name = zygote.stage
        self._first = first
        self._meter = meter
        self._changed = threading.Condition(self.lock)
        self._hand: Hand | None = None
        self._requests: deque[Reply] = deque()
        self._fatal: dict[Hand, Reply] = {}
        """By worker that was lost: the question at which it was."""
        self._number = 0
        self._failure = ""
        """Why the last worker was lost before it worked."""
        self.keeper = Keeper(zygote, self, self._started, limits, timeout_ns, spare=spare)

    def open(self) -> None:
        """Wait for the first worker. Raises `ConfigError` with what it said."""
        self.keeper.start()
        with self.lock:
            self._changed.wait_for(lambda: self._hand is not None or self._failure != "")
            failure = self._failure if self._hand is None else ""
        if failure:
            self.close()
            raise ConfigError(f"stage {self._name}: {failure}")

    def ask(self, request: Reply) -> Reply:
        """Send a request. Raises `StageUnavailable` while there is no worker."""
        with self.lock:
            if self._hand is None or len(self._requests) >= self.DEPTH:
                raise self._unavailable(request)
            self._send(self._hand, request)
        if self.keeper.asleep:
            self.keeper.wake()
        return request

    def tell(self, kind: Message) -> None:
        """Something that is not answered; a worker that is to come has no need of it."""
        with self.lock:
            if self._hand is not None:
                with suppress(OSError):  # its death is on the way to the keeper
                    self._hand.channel.send(wire.pack(kind, 0))

    def close(self) -> None:
        """End the worker; whatever waits is lost."""
        self.tell(Message.CLOSE)
        self.keeper.close()

    def attend(self, reply: Reply) -> None:
        """Return when the reply has passed; reads the answers itself where nobody else does."""
        hand = reply.hand
        if hand is not None and hand.begin_reading():
            try:
                self._read(hand, reply)
            finally:
                hand.reading.release()
            if self._requests:  # of those who came meanwhile, and found us reading
                self.watch(hand)
        if reply.passed:
            return
        with self.lock:
            if reply.passed:
                return
            if reply.gate is None:
                reply.gate = threading.Lock()
                reply.gate.acquire()
        with reply.gate:
            pass

    def _read(self, hand: Hand, reply: Reply) -> None:
        """Until the reply has passed, or the worker's end."""
        if hand.watched:
            with self.lock:
                self.keeper.watch(hand, False)
        while not reply.passed and (data := hand.channel.receive()):
            try:
                self.heard(hand, wire.unpack(data))
            except WireError as error:
                hand.ended = str(error)
                self.keeper.wake()
                return

    def watch(self, hand: Hand) -> None:
        """See that answers are read although nobody waits for them."""
        with self.lock:  # who reads asks for it when he leaves
            self.keeper.watch(hand, not hand.reading.locked())

    def _unavailable(self, request: Reply) -> StageUnavailable:
        state = "is busy" if self._hand is not None else "is being started again"
        why = f": {self._failure}" if self._failure else ""
        return StageUnavailable(
            f"stage {self._name} {state}{why}", stage=self._name, pts=request.pts
        )

    def _send(self, hand: Hand, request: Reply) -> None:
        """Raises `StageError` where the request itself cannot cross."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        lending = hand.lending
        extra: dict[str, Any] = {}
        fds: Sequence[int] = ()
        try:
            references = request.refer(lending, extra)
            if lending.has_news:
                fds = lending.news(extra)
            hand.channel.send(wire.pack(request.kind, number, references, (), extra), fds)
        except WireError as error:
            lending.withdraw(lending.taken())
            raise self._error(str(error), request) from error
        except OSError:  # its death is on the way to the keeper: who comes next is asked
            request.sent = False
        else:
            request.sent = True
        finally:
            for fd in fds:
                os.close(fd)
        request.leases = lending.taken()
        request.line, request.hand, request.number = self, hand, number
        if not self._requests:
            self.asked_ns = time.monotonic_ns()
        self._requests.append(request)

    def _error(self, text: str, request: Reply) -> StageError:
        return StageError(f"stage {self._name}: {text}", stage=self._name, pts=request.pts)

    def heard(self, hand: Hand, message: Received) -> None:
        """An answer, from the thread that reads. Raises `WireError` where the worker must end."""
        with self.lock:
            if hand is not self._hand:
                return  # it was left, and its requests have failed
            request = self._requests[0] if self._requests else None
            if request is None or message.number != request.number:
                raise WireError("answered what was not asked")
            if message.kind == Message.ASK:
                self._lend(hand, request, message)
                return
            outputs, error = self._outcome(hand, request, message)
            hand.lending.settle(request.leases, message.leases)
            hand.answered += 1
            self._requests.popleft()
            if self._requests:
                self.asked_ns = time.monotonic_ns()
            calls = request.settle(outputs, error)
        _run(calls)

    def _lend(self, hand: Hand, request: Reply, message: Received) -> None:
        size = (message.extra or {}).get("bytes")
        extra: dict[str, Any] = {}
        references: Sequence[bytes] = ()
        if isinstance(size, int) and size >= 0:
            with suppress(WireError):  # an empty answer says that it is too large
                references = [hand.lending.lend(size)]
        fds = hand.lending.news(extra)
        request.leases += hand.lending.taken()
        with suppress(OSError):  # its death is on the way to the keeper
            hand.channel.send(wire.pack(Message.LENT, 0, references, (), extra), fds)
        for fd in fds:
            os.close(fd)

    def _outcome(
        self, hand: Hand, request: Reply, message: Received
    ) -> tuple[Any, StageError | None]:
        extra = message.extra
        try:
            if extra is not None:
                hand.lending.count(extra, self._meter)
            if message.kind == Message.DONE:
                if extra is not None:
                    hand.lending.learn(extra)
                return request.take(hand.lending, message), None
        except WireError as error:
            return None, self._error(str(error), request)
        if message.kind != Message.FAILED:
            raise WireError(f"an unknown message {message.kind}")
        return None, self._error(str((extra or {}).get("error")), request)

    # What the keeper calls, from its thread.

    def _started(self) -> tuple[Lending, list[bytes]]:
        return Lending(self.pool), self._first()

    def ready(self, hand: Hand) -> None:
        with self.lock:
            self._hand, self._failure = hand, ""
            self._changed.notify_all()

    def left(self, hand: Hand, heir: Hand | None) -> None:
        calls: list[Calls] = []
        with self.lock:
            requests, self._requests = self._requests, deque()
            self._hand = heir
            if requests and requests[0].sent:
                self._fatal[hand] = requests.popleft()
            for request in requests:
                try:
                    if heir is None:
                        raise self._unavailable(request)
                    self._send(heir, request)
                except StageError as error:
                    calls.append(request.settle(None, error))
        for those in calls:
            _run(those)

    def lost(self, hand: Hand, reason: str) -> None:
        calls: Calls = None
        with self.lock:
            request = self._fatal.pop(hand, None)
            if request is not None:
                text = f"stage {self._name} {reason}"
                error = StageError(text, stage=self._name, pts=request.pts)
                calls = request.settle(None, error)
            elif self._hand is None and not hand.answered:
                self._failure = reason
                self._changed.notify_all()
        _run(calls)

    def broken(self) -> None:
        with self.lock:
            self._failure = "its keeper has failed"
            self._changed.notify_all()

    def deadline_ns(self) -> int | None:
        with self.lock:
            return self.asked_ns + self._requests[0].limit_ns if self._requests else None


def _run(calls: Calls) -> None:
    for call in calls or ():
        call()
