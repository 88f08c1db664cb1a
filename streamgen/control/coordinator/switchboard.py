"""`Switchboard`: a coordinator's end of the wire: who is there, what they say, who is told what.

Nobody is waited for: what a peer does not take is lost, as it would be on the way, and said again
when the peer's next report shows that it is missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio
from zmq.utils import z85

from streamgen.control.coordinator.events import NodeReport
from streamgen.control.coordinator.known import Known
from streamgen.control.coordinator.messages import (
    ALIVE,
    Alive,
    FromCoordinator,
    Letter,
    opened,
    sealed,
)
from streamgen.control.coordinator.places import DEAD_S, Kind, address, identified, keyed, set_up
from streamgen.control.guests import guarded
from streamgen.control.keys import LinkKey
from streamgen.errors import ConfigError
from streamgen.media.envelope import LinkError
from streamgen.telemetry import Telemetry

TURN = 64
"""Messages after which others on the loop get theirs."""
FORGET_S = 60.0
log = logging.getLogger("streamgen.coordinator")


@dataclass(slots=True)
class Caller:
    """A peer, and the connection it was heard on last."""

    kind: Kind
    name: str
    connection: bytes
    key: bytes
    """Public; empty: it came in by the folder."""
    heard_ms: int
    report: list[bytes] | None = None
    """The last one, as it came: it is mostly the same again."""
    letter: Letter | None = None
    """And what it says."""


class Switchboard:
    """Runs on the loop that enters it."""

    def __init__(
        self,
        place: str,
        key: LinkKey | None,
        known: Known | None,
        heard: Callable[[Caller, Letter | None], None],
        now_ms: Callable[[], int],
        telemetry: Telemetry,
    ) -> None:
        """`place` is `host:port`, where nobody comes in but who is `known`, or a folder. Entering
        raises `ConfigError` where it is taken or not ours. `heard` gets None where somebody only
        says that it lives."""
        if keyed(place) and (key is None or known is None):
            raise ConfigError(f"nobody listens at {place} without keys")
        self._place, self._key, self._known = place, key, known
        self._heard, self._now_ms, self._telemetry = heard, now_ms, telemetry
        self._callers: dict[tuple[Kind, str], Caller] = {}
        self._by_connection: dict[bytes, Caller] = {}
        self._last: tuple[FromCoordinator, int, tuple[bytes, bytes]] | None = None
        self._lock: int | None = None

    async def __aenter__(self) -> Switchboard:
        where = address(self._place)
        if not keyed(self._place):
            self._lock = _own(Path(self._place))
        self._context = zmq.asyncio.Context()
        self._guard = None
        if keyed(self._place) and self._known is not None:
            self._guard = guarded(self._context, self._known.guests)
        self._socket: Any = self._context.socket(zmq.ROUTER)
        set_up(self._socket, self._place, self._key, None)
        try:
            self._socket.bind(where)
        except zmq.ZMQError as error:
            self._close()
            reason = zmq.strerror(error.errno or 0)
            raise ConfigError(f"the coordinator cannot listen at {where}: {reason}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._socket.close()
        if self._guard is not None:
            self._guard.stop()
        self._context.term()
        if self._lock is not None:
            os.close(self._lock)

    async def run(self) -> None:
        """Listen, until cancelled."""
        number = 0
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            self._take(frames)
            number += 1
            if number % TURN == 0:
                await asyncio.sleep(0)

    def _take(self, frames: list[Any]) -> None:
        now_ms = self._now_ms()
        connection, *parts = (frame.bytes for frame in frames)
        caller = self._by_connection.get(connection)
        if caller is not None and (parts == ALIVE or parts == caller.report):
            # By far the most; and who came in by this connection has shown who it is.
            caller.heard_ms, alive = now_ms, parts == ALIVE
            self._telemetry.count("heard", Alive.__name__ if alive else NodeReport.__name__)
            self._heard(caller, None if alive else caller.letter)
            return
        try:
            who = identified(connection)
            letter = opened(parts, now_ms)
        except LinkError as error:
            self._telemetry.count("messages", "not_understood")
            log.warning("what a peer says is not understood: %s", error)
            return
        caller = self._caller(who, connection, _key_of(frames[0]), now_ms)
        if caller is None:
            return
        self._telemetry.count("heard", type(letter.message).__name__)
        if isinstance(letter.message, NodeReport):
            caller.report, caller.letter = parts, letter
        self._heard(caller, None if isinstance(letter.message, Alive) else letter)

    def _caller(
        self, who: tuple[Kind, str], connection: bytes, key: bytes, now_ms: int
    ) -> Caller | None:
        """None: that is not its name."""
        caller = self._callers.get(who)
        lives = caller is not None and now_ms - caller.heard_ms <= DEAD_S * 1000
        if caller is None or (caller.key != key and not lives):
            caller = self._callers[who] = Caller(*who, connection, key, now_ms)
        if caller.key != key or (self._known is not None and not self._known.may(key, who[1])):
            self._telemetry.count("messages", "name_taken")
            return None
        if caller.connection != connection or connection not in self._by_connection:
            self._by_connection.pop(caller.connection, None)
            self._by_connection[connection] = caller
        caller.connection, caller.heard_ms = connection, now_ms
        return caller

    def callers(self, kind: Kind | None = None) -> Iterator[Caller]:
        """Those heard in the last minute."""
        ends_ms = self._now_ms() - FORGET_S * 1000
        for who in [who for who, one in self._callers.items() if one.heard_ms < ends_ms]:
            self._by_connection.pop(self._callers.pop(who).connection, None)
        return (one for one in list(self._callers.values()) if kind in (None, one.kind))

    def say(self, kind: Kind, name: str, message: FromCoordinator, leader: int) -> bool:
        """Whether it is on its way."""
        caller = self._callers.get((kind, name))
        if caller is None:
            return False
        if self._last is None or self._last[0] is not message or self._last[1] != leader:
            # Many are told the same.
            self._last = message, leader, sealed(message, self._now_ms(), leader)
        frames = (caller.connection, *self._last[2])
        error = self._socket.send_multipart(frames, zmq.NOBLOCK).exception()
        if error is None:
            self._telemetry.count("said", type(message).__name__)
            return True
        if not isinstance(error, zmq.ZMQError):
            raise error
        self._telemetry.count("messages", "not_taken")
        return False


def _key_of(frame: Any) -> bytes:
    """The public key that the door was opened for."""
    try:
        return z85.decode(frame.get("User-Id"))
    except zmq.ZMQError:
        return b""


def _own(folder: Path) -> int:
    """Make the folder, for this user alone, and be its only coordinator; the lock's descriptor."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(f"others may enter {folder}: chmod 700 {folder}")
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigError(
            f"another coordinator listens in {folder}: a standby has a folder of its own"
        ) from error
    return lock
