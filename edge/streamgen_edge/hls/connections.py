"""`Connections`: those to one port that native threads of this process hold, as the kernel sees
them.

granian ends handshakes and heads that take too long. But a client that says nothing after its
handshake it holds for ever, it does not count them by address, and whatever a client does not read
it keeps a copy of, without end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from streamgen_edge.crowd import customer

MOST_UNREAD = 8 << 20
"""Bytes of one connection that its client has not taken yet. What goes beyond waits."""
AGAIN_S = 0.05
Peer = tuple[str, int]
"""Address and port of a client."""
_INFO = struct.Struct("8B24I4Q")
_LAST_SENT, _LAST_HEARD, _ACKED = 17, 19, 34
"""`tcpi_last_data_sent` and `tcpi_last_data_recv`, in ms, and `tcpi_bytes_acked` of Linux's
`tcp_info`."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the kernel says of one."""

    peer: Peer
    descriptor: int
    silent_s: float
    acked: int


@dataclass(slots=True)
class _Connection:
    descriptor: int = -1
    """granian's. It may be another's by now, so it is looked at each time who is there."""
    acked: int = 0
    unread: int = 0

    def update(self, found: _Found) -> None:
        self.descriptor = found.descriptor
        # What TLS adds must not become a credit, so less than nothing is nothing.
        self.unread = max(0, self.unread - (found.acked - self.acked))
        self.acked = found.acked


class Connections:
    """On the loop's thread."""

    def __init__(self, port: int, most: Callable[[], int], idle_s: float) -> None:
        """`most()` of one address may be there, and none silent for `idle_s`."""
        self._port = port
        self._most = most
        self._idle_s = idle_s
        self._known: dict[Peer, _Connection] = {}
        """The oldest first."""
        self._looking = asyncio.Lock()

    async def sweep(self) -> int:
        """End those that are idle, and the newest of an address that has too many; how many were
        too many."""
        there = await self._look()
        most, surplus, number = self._most(), 0, Counter[str]()
        for peer in list(self._known):
            name = customer(peer[0])
            number[name] += 1
            too_many = number[name] > most
            if too_many or there[peer].silent_s >= self._idle_s:
                surplus += too_many
                self._end(there[peer])
        return surplus

    async def give(self, peer: Peer, size: int) -> None:
        """Wait until this client has taken enough of what it was given before."""
        known = self._known.setdefault(peer, _Connection())
        while known.unread > MOST_UNREAD:
            found = _find(known.descriptor, self._port)
            if found is None or found.peer != peer:
                await self._look()
                if self._known.get(peer) is not known:
                    return  # it has gone
            else:
                known.update(found)
            if known.unread > MOST_UNREAD:
                await asyncio.sleep(AGAIN_S)
        known.unread += size

    async def _look(self) -> dict[Peer, _Found]:
        async with self._looking:
            found = await asyncio.to_thread(_all, self._port)
            there = {one.peer: one for one in found}
            self._known = {peer: known for peer, known in self._known.items() if peer in there}
            for peer, one in there.items():
                self._known.setdefault(peer, _Connection()).update(one)
            return there

    def _end(self, found: _Found) -> None:
        with suppress(OSError):  # it has just ended by itself
            own = _duplicate(found.descriptor)
            with own:
                if own.getsockname()[1] == self._port and own.getpeername()[:2] == found.peer:
                    own.shutdown(socket.SHUT_RDWR)


def _all(port: int) -> list[_Found]:
    names = os.listdir("/proc/self/fd")
    return [found for found in (_find(int(name), port) for name in names) if found is not None]


def _find(descriptor: int, port: int) -> _Found | None:
    """The connection to this port that a descriptor is, if it is one."""
    try:
        with _duplicate(descriptor) as own:
            here = own.getsockname()
            if not isinstance(here, tuple) or here[1] != port:
                return None
            host, number = own.getpeername()[:2]
            values = _INFO.unpack(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except OSError:  # closed, no socket, or one that listens
        return None
    silent_s = min(values[_LAST_SENT], values[_LAST_HEARD]) / 1000
    return _Found((host, number), descriptor, silent_s, values[_ACKED])


def _duplicate(descriptor: int) -> socket.socket:
    """One of our own: what it is cannot change any more."""
    number = os.dup(descriptor)
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, number)
    except OSError:
        os.close(number)
        raise
