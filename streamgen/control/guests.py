"""`Guests`: whose keys open a door that others can reach, of an edge or a coordinator."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

SAY_AGAIN_S = 60.0
"""A stranger tries several times a second; the log hears of it once in so long."""
MOST_STRANGERS = 256
log = logging.getLogger("streamgen.guests")


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
            log.warning("a peer with the unknown key %s was refused", public.hex())
        return False


def guarded(context: zmq.asyncio.Context, guests: Guests) -> AsyncioAuthenticator:
    """Asks `guests` about everybody who comes with a key; on the running loop, until `stop`."""
    guard = AsyncioAuthenticator(context)
    guard.start()
    guard.configure_curve_callback("link", credentials_provider=guests)
    return guard
