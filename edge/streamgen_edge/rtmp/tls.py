"""TLS of one client, on bytes alone.

asyncio's own makes connections known only after their handshake, and keeps what a client does not
read without a bound.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import cast


class Tls:
    """The server's side. What it gives is to be sent; it raises `ssl.SSLError`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.up = False
        """The handshake is over, and nothing has broken it since."""
        self.ended = False
        """The client has said that no more will come."""

    def feed(self, data: bytes | memoryview) -> None:
        """What came; `read_into` says what it is."""
        self._incoming.write(data)

    def read_into(self, buffer: memoryview) -> int:
        """The next decrypted bytes; 0: more must come first."""
        filled = 0
        try:
            if not self.up:
                self._inner.do_handshake()
                self.up = True
            while filled < len(buffer) and not self.ended:
                # A number, since there is a buffer; typeshed says bytes.
                number = cast(int, self._inner.read(len(buffer) - filled, buffer[filled:]))
                filled += number
                self.ended = not number
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError:
            self.up = False
            raise
        return filled

    def encrypted(self, data: bytes) -> bytes:
        """To be sent; while TLS is not up it is dropped."""
        if self.up and data:
            self._inner.write(data)
        return self.answers()

    def answers(self) -> bytes:
        """What TLS itself has to say."""
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """Says that no more will come from here."""
        if self.up:
            with suppress(ssl.SSLError):
                self._inner.unwrap()
        return self.answers()
