"""`Connections`: those to one port that native threads of this process hold, as the kernel sees
them.

granian ends handshakes and heads that take too long, but a client that says nothing after its
handshake it holds for ever, and it does not count them by address.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from streamgen_edge.crowd import customer

Peer = tuple[str, int, str]
_TIMES = struct.Struct("8B24I")
_LAST_SENT, _LAST_HEARD = 17, 19
"""`tcpi_last_data_sent` and `tcpi_last_data_recv` of Linux's `tcp_info`, in ms."""


class Connections:
    """Looked at now and then. `sweep` may run in any thread, one at a time."""

    def __init__(self, port: int, most: Callable[[], int], idle_s: float) -> None:
        """`most()` of one address may be there."""
        self._port = port
        self._most = most
        self._idle_s = idle_s
        self._known: dict[Peer, None] = {}
        """By address and port of the client and our own address, the oldest first."""

    def sweep(self) -> int:
        """End those that are idle, and the newest of an address that has too many; how many were
        too many."""
        there: dict[Peer, socket.socket] = {}
        surplus = 0
        try:
            for connection, peer in self._ours():
                if peer in there:  # one of our own, whose number the listing had
                    connection.close()
                else:
                    there[peer] = connection
            self._known = {peer: None for peer in self._known if peer in there}
            self._known |= dict.fromkeys(there)
            most, number = self._most(), Counter[str]()
            for peer in list(self._known):
                name = customer(peer[0])
                number[name] += 1
                if number[name] > most:
                    surplus += 1
                elif _silent_s(there[peer]) < self._idle_s:
                    continue
                with suppress(OSError):  # it has just ended by itself
                    there[peer].shutdown(socket.SHUT_RDWR)
        finally:
            for connection in there.values():
                connection.close()
        return surplus

    def _ours(self) -> Iterator[tuple[socket.socket, Peer]]:
        """A descriptor of our own for each: the number of another may be a file's by now."""
        for name in os.listdir("/proc/self/fd"):
            try:
                own = _duplicate(int(name))
            except OSError:  # no socket, or closed meanwhile
                continue
            try:
                here = own.getsockname()
                if isinstance(here, tuple) and here[1] == self._port:
                    yield own, (*own.getpeername()[:2], here[0])
                    continue
            except OSError:  # it listens
                pass
            own.close()


def _duplicate(descriptor: int) -> socket.socket:
    number = os.dup(descriptor)
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, number)
    except OSError:
        os.close(number)
        raise


def _silent_s(connection: socket.socket) -> float:
    """How long nothing was sent and nothing was received."""
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TIMES.size)
    except OSError:
        return 0.0
    values = _TIMES.unpack(told)
    return float(min(values[_LAST_SENT], values[_LAST_HEARD])) / 1000
