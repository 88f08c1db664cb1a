"""`Url`: an address of another server. What stands behind the host may be secret."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

PORTS = {"http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
HTTP = ("https", "http")
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Url:
    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    """All behind the host, with the query."""

    @classmethod
    def of(cls, text: str, schemes: Collection[str] = HTTP) -> Url:
        """Raises `ValueError`, whose text holds nothing of the URL."""
        if len(text) > _MOST or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("not a URL (write https://host/path)")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError("not a URL (write https://host/path)") from None
        if parts.scheme not in schemes:
            raise ValueError(f"a URL begins with {' or '.join(schemes)} here")
        if not parts.hostname or port == 0 or "\\" in parts.netloc:
            raise ValueError("a URL without a host (write https://host/path)")
        if "@" in parts.netloc:
            raise ValueError("no names and passwords before the host")
        if parts.fragment:
            raise ValueError("a URL without '#' is needed here")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port or PORTS[parts.scheme], path)

    def led(self, location: str) -> Url:
        """Where a redirect from here leads. Raises `ValueError` where that is no HTTP, or HTTP
        from HTTPS."""
        there = Url.of(urljoin(f"{self.shown}{self.path}", location))
        if self.secure and not there.secure:
            raise ValueError("not safe")
        return there

    @property
    def secure(self) -> bool:
        return self.scheme in ("https", "rtmps")

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """What may be told of it."""
        return f"{self.scheme}://{self.authority}"
