"""Reading from what cannot seek: standard input and FIFOs, with a timeout and an end on demand."""

from __future__ import annotations

import os
import select
import sys
import threading

from streamgen.errors import SourceError


class Pipe:
    """File-like object over a pipe. `read` waits at most `timeout_s` for data.

    Opening a FIFO does not wait for its writer, the first `read` does. `cancel` may be called from
    another thread: a waiting `read` then reports the end. The reading thread owns the rest.
    """

    def __init__(self, path: str, *, timeout_s: float, fd: int | None = None) -> None:
        """Open `path`, `-` for standard input; `fd` is a pipe that is open already, ours to close.

        Raises `SourceError`.
        """
        self.name = path
        self.cancelled = False
        self._owned = path != "-"
        try:
            self._fd = _opened(path) if fd is None else fd
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: cannot be read") from error
        self._wake, self._waker = os.pipe()
        self._closing = threading.Lock()
        """Held to write to `_waker`, and to close it: its number may be another file's at once."""
        self._timeout_ms = timeout_s * 1000
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises `TimeoutError`."""
        ready = [fd for fd, _ in self._poll.poll(self._timeout_ms)]
        if not ready:
            raise TimeoutError(f"no data for {self._timeout_ms / 1000:g} s")
        return b"" if self._wake in ready else os.read(self._fd, size)

    def cancel(self) -> None:
        """End every `read` from now on."""
        self.cancelled = True
        with self._closing:
            if self._waker >= 0:
                os.write(self._waker, b"x")

    def close(self) -> None:
        """Give the descriptors back; standard input stays open."""
        with self._closing:
            if self._waker < 0:
                return
            for fd in (self._wake, self._waker, *((self._fd,) if self._owned else ())):
                os.close(fd)
            self._waker = -1


def _opened(path: str) -> int:
    return sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
