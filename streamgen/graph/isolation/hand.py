"""`Hand`: one worker process of an isolated stage, as the host holds it, from its order to its
end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from streamgen.graph.isolation.channel import Channel
from streamgen.graph.isolation.lending import Lending
from streamgen.graph.isolation.wire import Received
from streamgen.graph.isolation.zygote import LastWords
from streamgen.media.shared import HEADER


class Hand:
    """What belongs to the keeper is changed on its thread only; `reading` is for anybody."""

    def __init__(self, channel: Channel, output: int, lending: Lending, first: list[bytes]) -> None:
        self.channel = channel
        self.output = output
        """What it prints; negative when nobody can print any more."""
        self.lending = lending
        self.told = first
        """What it was told beside its work: parameters, sizes to prepare."""
        self.unanswered = len(first)
        """How much of that it has not answered yet; 0: it can work."""
        self.since_ns = time.monotonic_ns()
        """When it was told, and later: when it was left."""
        self.pid: int | None = None
        self.pidfd = -1
        self.answered = 0
        self.ended = ""
        """Why we ended it, or what it said that was wrong."""
        self.words = LastWords()
        self.reading = threading.Lock()
        """Held by the thread that reads what it answers, and by the one that closes."""
        self.watched = True
        """The keeper is told when there is something to read."""

    @classmethod
    def ordered(
        cls, orders: Channel, lending: Lending, first: list[bytes], cpus: int | None
    ) -> Hand:
        """Order a worker, and tell it what to be. Raises `OSError`."""
        mine, theirs = Channel.pair()
        mine.flags = socket.MSG_DONTWAIT
        output, printing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(printing, True)
        try:
            order = json.dumps({"cpus": cpus}).encode()
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
        return cls(mine, output, lending, first)

    def tell(self, message: bytes) -> None:
        """Something more to do before it can work; a spare one learns like that."""
        if message in self.told:
            return
        self.told.append(message)
        self.since_ns = time.monotonic_ns()
        self.unanswered += 1
        with suppress(OSError):  # its death is on the way to the keeper
            self.channel.send(message)

    def named(self, pid: int, pidfd: int) -> None:
        """Its parent says who it is."""
        self.pid, self.pidfd = pid, pidfd
        if self.ended:
            self.kill()  # it was to be ended before anybody knew its number

    def kill(self) -> None:
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def last_words(self) -> str:
        return f"; last words: {self.words}" if str(self.words) else ""

    def own_mb(self) -> int:
        """Resident memory that it does not share; 0 when it is gone, or not known yet."""
        try:
            fields: Any = Path(f"/proc/{self.pid}/statm").read_text("ascii").split()
        except OSError:
            return 0
        return (int(fields[1]) - int(fields[2])) * HEADER >> 20

    def gone(self, limit_s: float) -> bool:
        """Wait for its end."""
        return self.pidfd < 0 or readable(self.pidfd, limit_s)

    def begin_reading(self) -> bool:
        """Take `reading`; False, without it, where somebody has it or nothing more can come."""
        if not self.reading.acquire(False):
            return False
        if self.channel.closed:
            self.reading.release()
            return False
        return True

    def leave(self) -> None:
        """Whoever reads from it reads its end."""
        self.since_ns = time.monotonic_ns()
        with suppress(OSError):
            self.channel.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything, once it is gone; who still reads has been told to `leave`."""
        with self.reading:
            self.channel.close()
        if self.output >= 0:
            self.words.read(self.output)
            os.close(self.output)
            self.output = -1
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Kept(Protocol):
    """The stage that is kept, called from the keeper's thread."""

    @property
    def asked_ns(self) -> int:
        """When the request was made that is at work, or was last."""
        ...

    def ready(self, hand: Hand) -> None:
        """This one works from now on."""
        ...

    def watch(self, hand: Hand) -> None:
        """See that answers are read although nobody waits for them."""
        ...

    def heard(self, hand: Hand, message: Received) -> None:
        """Raises `WireError` for a message that ends the worker."""
        ...

    def left(self, hand: Hand, heir: Hand | None) -> None:
        """The worker gives no more answers; `heir` works from now on."""
        ...

    def lost(self, hand: Hand, reason: str) -> None:
        """Why it gives none. May come twice."""
        ...

    def broken(self) -> None:
        """The keeper itself has failed."""
        ...

    def deadline_ns(self) -> int | None:
        """When the request that is at work is late; None: there is none."""
        ...


def readable(fd: int, limit_s: float) -> bool:
    """Wait for a message; of a process's descriptor: until it is gone."""
    wait = select.poll()
    wait.register(fd, select.POLLIN)
    return bool(wait.poll(max(limit_s, 0.0) * 1000))
