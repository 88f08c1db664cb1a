"""Ports for the servers of tests: between its choice and its server, nobody else gets one.

They lie below those that the system hands out, and a lock of this process on a file says to the
other pytest processes of this machine which ones it has.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from functools import cache
from itertools import cycle
from pathlib import Path

FIRST, LAST = 20_000, 32_000
_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def free_port(count: int = 1) -> int:
    """The first of so many ports in a row, free for TCP and UDP on loopback.

    Raises RuntimeError where there are none.
    """
    for _ in range(FIRST, LAST):
        ports = [next(_numbers()) for _ in range(count)]
        if ports[-1] - ports[0] == count - 1 and all(_taken(port) for port in ports):
            return ports[0]
    raise RuntimeError(f"no {count} free ports from {FIRST} to {LAST}")


def _taken(port: int) -> bool:
    """Whether it is ours now, for as long as this process lives, and nobody listens there."""
    try:
        # Of this process alone: neither a child has it, nor does its end end it.
        fcntl.lockf(_locks(os.getpid()), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        for kind in _KINDS:
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@cache
def _locks(pid: int) -> int:
    """One file for all of a user's tests."""
    path = Path(tempfile.gettempdir()) / f"streamgen-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@cache
def _numbers() -> cycle[int]:
    """Processes begin far from each other."""
    begins = FIRST + os.getpid() * 131 % (LAST - FIRST)
    return cycle([*range(begins, LAST), *range(FIRST, begins)])
