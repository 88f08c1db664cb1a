"""`Door`: where workers come in: of this machine by a folder, of others by TCP with a known key."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any, Protocol

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from streamgen.control.keys import LinkKey
from streamgen.control.wire import Place, prepare, prove
from streamgen.errors import ConfigError

SAY_AGAIN_S = 60.0
"""A stranger tries several times a second; the log hears of it once in so long."""
MOST_STRANGERS = 256
log = logging.getLogger("streamgen.edge.link")


class Telemetry(Protocol):
    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...

    def gauge(self, name: str, label: str, value: float) -> None: ...


class Guests:
    """The public keys that may come in. Counts and logs the others."""

    def __init__(self, keys: Iterable[bytes], telemetry: Telemetry) -> None:
        self.keys = frozenset(keys)
        self._telemetry = telemetry
        self._said: dict[bytes, float] = {}

    def callback(self, domain: str, key: bytes) -> bool:
        """What `zmq.auth` asks."""
        public = z85.decode(key)
        if public in self.keys:
            return True
        self._telemetry.count("link_refused", "unknown_key")
        now = time.monotonic()
        if now - self._said.get(public, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            if len(self._said) >= MOST_STRANGERS:
                self._said.clear()
            self._said[public] = now
            log.warning("a worker with the unknown key %s was refused", public.hex())
        return False


class Door:
    """Two ROUTER sockets; a worker is known by its name."""

    def __init__(self, context: zmq.asyncio.Context, place: Place, key: LinkKey | None) -> None:
        """Raises `ConfigError` when the place is taken or not ours, or has no key but needs one."""
        if place.keyed and key is None:
            raise ConfigError(f"nobody listens at {place.media} without a key")
        self._context = context
        self._key = key
        self.media = self._bound(place.media, control=False)
        try:
            self.control = self._bound(place.control, control=True)
        except ConfigError:
            self.media.close()
            raise

    def _bound(self, address: str, *, control: bool) -> Any:
        socket: Any = self._context.socket(zmq.ROUTER)
        prepare(socket, control=control)
        if self._key is not None:
            prove(socket, self._key)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close()
            reason = zmq.strerror(error.errno or 0)
            raise ConfigError(f"the link cannot listen at {address}: {reason}") from error
        return socket

    def close(self) -> None:
        self.media.close()
        self.control.close()


def guarded(context: zmq.asyncio.Context, guests: Guests) -> AsyncioAuthenticator:
    """Asks `guests` about everybody who comes with a key; on the running loop, until `stop`."""
    guard = AsyncioAuthenticator(context)
    guard.start()
    guard.configure_curve_callback("link", credentials_provider=guests)
    return guard
