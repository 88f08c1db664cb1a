"""`Door`: where workers come in: of this machine by a folder, of others by TCP with a known key."""

from __future__ import annotations

from typing import Any

import zmq
import zmq.asyncio

from streamgen.control.keys import LinkKey
from streamgen.control.wire import Place, prepare, prove
from streamgen.errors import ConfigError


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
