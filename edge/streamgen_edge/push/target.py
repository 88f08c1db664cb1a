"""Where a stream is sent, as its address says. What follows the host is secret."""

from __future__ import annotations

from streamgen.errors import StreamGenError
from streamgen_edge.outbound.url import Url

SCHEMES = ("rtmp", "rtmps", "https", "http")
"""The last two are WHIP."""


class Failure(StreamGenError):
    """Why a target does not get the stream. The text never holds what the target wrote."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        """`refused`: the target said no, and may do so for long."""
        super().__init__(reason)
        self.refused = refused


def target_of(text: str) -> Url:
    """Raises `ValueError`, whose text holds nothing of the address."""
    target = Url.of(text, SCHEMES)
    if by_rtmp(target) and not all(publishing(target)):
        raise ValueError("application and key are missing (write rtmp://host/app/key)")
    return target


def by_rtmp(target: Url) -> bool:
    return target.scheme in ("rtmp", "rtmps")


def publishing(target: Url) -> tuple[str, str]:
    """Of RTMP: the application, and the key with its query."""
    path, mark, query = target.path.partition("?")
    app, _, key = path.strip("/").rpartition("/")
    return app, f"{key}{mark}{query}" if key else ""
