"""`Reply`: one question to an isolated stage, and the fence that passes with its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from streamgen.errors import StageError
from streamgen.graph.isolation.hand import Hand
from streamgen.graph.isolation.lending import Lending
from streamgen.graph.isolation.wire import Lease, Message, Received
from streamgen.media.frame import Fence


class Asked(Protocol):
    """The line on which a question is on its way."""

    lock: threading.Lock

    def attend(self, reply: Reply) -> None:
        """Return when the reply has passed; whoever waits reads the answer himself."""
        ...

    def watch(self, hand: Hand) -> None:
        """See that answers are read although nobody waits for them."""
        ...


class Reply:
    """A question is a subclass: `refer` writes it, `take` reads what is answered.

    It has no lock of its own, and can be asked again of another worker.
    """

    __slots__ = (
        *("_error", "_value", "calls", "gate", "hand", "leases"),
        *("limit_ns", "line", "number", "passed", "pts", "sent"),
    )
    kind: ClassVar[Message]

    def __init__(self, limit_ns: int, pts: int = 0) -> None:
        """`limit_ns`: longest time at work."""
        self.limit_ns = limit_ns
        self.pts = pts
        self.number: int
        self.leases: list[Lease]
        self.line: Asked
        self.hand: Hand | None = None
        """Who was asked, until it is answered."""
        self.sent = False
        """To the one who was asked; what died before was not killed by this."""
        self.passed = False
        self.gate: threading.Lock | None = None
        self.calls: list[Callable[[], None]] | None = None

    def refer(self, lending: Lending, extra: dict[str, Any]) -> list[bytes]:
        """References of the question; what changed is added to `extra`."""
        return []

    def take(self, lending: Lending, message: Received) -> Any:
        """The outputs. Raises `WireError`."""
        return None

    @property
    def fence(self) -> Fence:
        return self

    def done(self) -> bool:
        hand = self.hand
        if hand is not None and not hand.watched:
            self.line.watch(hand)
        return self.passed

    def wait(self) -> None:
        if not self.passed:
            self.line.attend(self)
        if self._error is not None:
            raise self._error

    def on_done(self, call: Callable[[], None]) -> None:
        with self.line.lock:
            if not self.passed:
                if self.calls is None:
                    self.calls = []
                self.calls.append(call)
                hand = self.hand
            else:
                hand = None
        if hand is None:
            call()
        elif not hand.watched:
            self.line.watch(hand)

    def outputs(self) -> Any:
        """Valid once the fence has passed. Raises `StageError`."""
        self.wait()
        return self._value

    def settle(self, value: Any, error: StageError | None) -> list[Callable[[], None]] | None:
        """Pass the fence, once, with the line's lock held; what is given back is to be called
        without it."""
        self._value, self._error = value, error
        self.hand = None
        self.passed = True
        if self.gate is not None:
            self.gate.release()
        calls, self.calls = self.calls, None
        return calls
