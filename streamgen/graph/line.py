"""`Line`: the requests to one isolated stage, answered in order by whichever worker lives."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from streamgen.errors import ConfigError, StageError, StageUnavailable
from streamgen.graph import wire
from streamgen.graph.keeper import Hand, Keeper
from streamgen.graph.lending import Lending
from streamgen.graph.spec import Limits
from streamgen.graph.tags import WireError
from streamgen.graph.wire import Message, Received
from streamgen.graph.zygote import Zygote
from streamgen.media.frame import Fence
from streamgen.media.pool import CopyMeter
from streamgen.media.shared import SharedPool


class Reply:
    """What the stage will have answered: a fence, and the outputs behind it."""

    __slots__ = ("_calls", "_error", "_gate", "_lock", "_outputs", "_passed")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._calls: list[Callable[[], None]] = []
        self._passed = False
        self._outputs: Any = None
        self._error: StageError | None = None

    @property
    def fence(self) -> Fence:
        return self

    def done(self) -> bool:
        return self._passed

    def wait(self) -> None:
        if not self._passed:
            with self._gate:
                pass
        if self._error is not None:
            raise self._error

    def on_done(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self._passed:
                self._calls.append(call)
                return
        call()

    def outputs(self) -> Any:
        """Valid once the fence has passed. Raises `StageError`."""
        self.wait()
        return self._outputs

    def settle(self, outputs: Any, error: StageError | None) -> None:
        """Pass the fence; once."""
        self._outputs, self._error = outputs, error
        with self._lock:
            self._passed = True
            calls, self._calls = self._calls, []
        self._gate.release()
        for call in calls:
            call()


def _nothing(lending: Lending, extra: dict[str, Any]) -> list[bytes]:
    return []


@dataclass(eq=False, slots=True)
class Request:
    """One question on its way; it can be asked again of another worker."""

    kind: Message
    limit_ns: int
    """Longest time at work."""
    take: Callable[[Lending, Received], Any]
    """Reads the answer, on the keeper's thread. Raises `WireError`."""
    refer: Callable[[Lending, dict[str, Any]], list[bytes]] = _nothing
    """Gives the references, and adds what changed to the message."""
    pts: int = 0
    reply: Reply = field(default_factory=Reply)
    number: int = 0
    leases: list[wire.Lease] = field(default_factory=list)


class Line:
    """Any thread asks, and nobody ever waits: while there is no worker a request fails at once.

    A worker that dies fails the request at work; those behind it are told that it is unavailable.
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
    ) -> None:
        """`first`: what every new worker is told before anything else."""
        self.pool = SharedPool(meter)
        """Buffers that are lent for results."""
        self._name = zygote.stage
        self._first = first
        self._meter = meter
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._hand: Hand | None = None
        self._requests: deque[Request] = deque()
        self._head_ns = 0
        self._number = 0
        self._failure = ""
        """Why the last worker was lost before it worked."""
        self.keeper = Keeper(zygote, self, limits, timeout_ns)

    def open(self) -> None:
        """Wait for the first worker. Raises `ConfigError` with what it said."""
        self.keeper.start()
        with self._lock:
            self._changed.wait_for(lambda: self._hand is not None or self._failure != "")
            failure = self._failure if self._hand is None else ""
        if failure:
            self.close()
            raise ConfigError(f"stage {self._name}: {failure}")

    def ask(self, request: Request) -> Reply:
        """Send a request. Raises `StageUnavailable` while there is no worker."""
        with self._lock:
            if self._hand is None or len(self._requests) >= self.DEPTH:
                raise self._unavailable(request)
            self._send(self._hand, request)
        if self.keeper.asleep:
            self.keeper.wake()
        return request.reply

    def tell(self, kind: Message) -> None:
        """Something that is not answered; a worker that is to come has no need of it."""
        with self._lock:
            if self._hand is not None:
                with suppress(OSError):  # its death is on the way to the keeper
                    self._hand.channel.send(wire.pack(kind, 0))

    def close(self) -> None:
        """End the worker; whatever waits is lost."""
        self.tell(Message.CLOSE)
        self.keeper.close()

    def _unavailable(self, request: Request) -> StageUnavailable:
        state = "is busy" if self._hand is not None else "is being started again"
        why = f": {self._failure}" if self._failure else ""
        return StageUnavailable(
            f"stage {self._name} {state}{why}", stage=self._name, pts=request.pts
        )

    def _send(self, hand: Hand, request: Request) -> None:
        """Raises `StageUnavailable`, or `StageError` where the request itself cannot cross."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        request.number = self._number
        extra: dict[str, Any] = {}
        fds: list[int] = []
        try:
            references = request.refer(hand.lending, extra)
            fds = hand.lending.news(extra)
            request.leases = [wire.lease_of(reference) for reference in references]
            hand.channel.send(wire.pack(request.kind, request.number, references, (), extra), fds)
        except WireError as error:
            raise self._error(str(error), request) from error
        except OSError as error:
            raise self._unavailable(request) from error
        finally:
            for fd in fds:
                os.close(fd)
        if not self._requests:
            self._head_ns = time.monotonic_ns()
        self._requests.append(request)

    def _error(self, text: str, request: Request) -> StageError:
        return StageError(f"stage {self._name}: {text}", stage=self._name, pts=request.pts)

    # What the keeper calls, from its thread.

    def started(self) -> tuple[Lending, list[bytes]]:
        return Lending(self.pool), self._first()

    def ready(self, hand: Hand) -> None:
        with self._lock:
            self._hand, self._failure = hand, ""
            self._changed.notify_all()

    def heard(self, hand: Hand, message: Received) -> None:
        if hand is not self._hand:
            if message.kind == Message.FAILED:
                raise WireError(str((message.extra or {}).get("error")))
            return
        with self._lock:
            request = self._requests[0] if self._requests else None
            if request is None or message.number != request.number:
                raise WireError("answered what was not asked")
            if message.kind == Message.ASK:
                self._lend(hand, request, message)
                return
            outputs, error = self._outcome(hand, request, message)
            hand.lending.settle(request.leases, message.leases)
            self._requests.popleft()
            self._head_ns = time.monotonic_ns()
        request.reply.settle(outputs, error)

    def _lend(self, hand: Hand, request: Request, message: Received) -> None:
        size = (message.extra or {}).get("bytes")
        extra: dict[str, Any] = {}
        references: Sequence[bytes] = ()
        if isinstance(size, int) and size >= 0:
            with suppress(WireError):  # an empty answer says that it is too large
                references = [hand.lending.lend(size)]
        fds = hand.lending.news(extra)
        request.leases += [wire.lease_of(reference) for reference in references]
        with suppress(OSError):  # as above
            hand.channel.send(wire.pack(Message.LENT, 0, references, (), extra), fds)
        for fd in fds:
            os.close(fd)

    def _outcome(
        self, hand: Hand, request: Request, message: Received
    ) -> tuple[Any, StageError | None]:
        extra = message.extra or {}
        hand.lending.count(extra, self._meter)
        if message.kind == Message.FAILED:
            return None, self._error(str(extra.get("error")), request)
        if message.kind != Message.DONE:
            raise WireError(f"an unknown message {message.kind}")
        try:
            hand.lending.learn(extra)
            return request.take(hand.lending, message), None
        except WireError as error:
            return None, self._error(str(error), request)

    def lost(self, hand: Hand, reason: str) -> None:
        with self._lock:
            if self._hand is not hand:
                self._failure = reason
            self._hand = None
            requests = list(self._requests)
            self._requests.clear()
            self._changed.notify_all()
        for number, request in enumerate(requests):
            at_work = number == 0
            request.reply.settle(
                None, self._fatal(reason, request) if at_work else self._unavailable(request)
            )

    def _fatal(self, reason: str, request: Request) -> StageError:
        return StageError(f"stage {self._name} {reason}", stage=self._name, pts=request.pts)

    def deadline_ns(self) -> int | None:
        with self._lock:
            return self._head_ns + self._requests[0].limit_ns if self._requests else None
