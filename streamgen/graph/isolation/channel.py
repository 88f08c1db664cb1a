"""`Channel`: whole messages between two processes, with descriptors where there are any."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from streamgen.graph.isolation.wire import MOST_BYTES

_WITH_FDS = b"\xff"
_NO_FDS: Sequence[int] = ()


class Channel:
    """One end of a pair that carries whole messages in order, and notices the other's death."""

    MOST_FDS = 32

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.flags = 0
        """Of `send`: `MSG_DONTWAIT` where it must raise rather than wait for a reader."""
        # A bytes object of this size for every message would be mapped and unmapped each time.
        self._room = bytearray(MOST_BYTES)
        self._view = memoryview(self._room)
        self._ancillary = socket.CMSG_SPACE(4 * self.MOST_FDS)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, side, 2 * MOST_BYTES)
        return cls(ends[0]), cls(ends[1])

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def closed(self) -> bool:
        return self.socket.fileno() < 0

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send one message, with descriptors where there are any. Raises `OSError`."""
        if fds:
            # Room for descriptors costs the reader of every message; so they are announced.
            self.socket.send(_WITH_FDS, self.flags)
            socket.send_fds(self.socket, [data], list(fds), self.flags)
        else:
            self.socket.send(data, self.flags)

    def receive(self) -> bytes:
        """One message; empty when the other side is gone. Descriptors are refused."""
        try:
            size = self.socket.recv_into(self._room)
        except ConnectionResetError:  # it is gone, and did not read our last words
            return b""
        return self._view[:size].tobytes()

    def receive_at_once(self) -> bytes | None:
        """As `receive`; None where nothing is there."""
        try:
            size = self.socket.recv_into(self._room, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""
        return self._view[:size].tobytes()

    def receive_with_fds(self) -> tuple[bytes, Sequence[int]]:
        """One message and the descriptors that came with it, which are the caller's to close."""
        try:
            size = self.socket.recv_into(self._room)
            if size != 1 or self._room[0] != _WITH_FDS[0]:
                return self._view[:size].tobytes(), _NO_FDS
            size, ancillary, _, _ = self.socket.recvmsg_into(
                [self._room], self._ancillary, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return b"", _NO_FDS
        fds: list[int] = []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += memoryview(content[: len(content) // 4 * 4]).cast("i")
        return self._view[:size].tobytes(), fds

    def close(self) -> None:
        self.socket.close()
