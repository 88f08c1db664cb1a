"""`Marks`: what a server calls its streams where it sends them, to know one that comes back.

Who is sent a stream is told the marks of all streams on its way. A publisher that tells the mark of
the very stream that it wants to feed would close a circle.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b


class Marks:
    """Of one server, until it ends. Nobody else can tell which stream a mark is of."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def of(self, stream: str) -> str:
        """As `rtmp.address.marks` reads it."""
        hashed = blake2b(stream.encode(), key=self._secret, digest_size=8)
        return f"streamgen-{hashed.hexdigest()}"
