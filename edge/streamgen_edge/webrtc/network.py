"""Where WebRTC media goes: addresses, ports, what clients are told of them, and ICE servers."""

from __future__ import annotations

import base64
import hmac
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from streamgen.errors import ConfigError

UDP_BUFFER = 1 << 20
_TURN_KEYS = {"urls", "secret", "ttl"}
TURN_TTL_S = 12 * 3600


class NoPort(OSError):
    """Every port of the range is taken."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A relay for viewers, whose passwords the server makes (draft-uberti-behave-turn-rest)."""

    urls: tuple[str, ...]
    secret: str
    ttl_s: int = TURN_TTL_S

    @classmethod
    def of(cls, value: dict[str, Any]) -> Turn:
        """Raises `ConfigError`."""
        urls = value.get("urls")
        if isinstance(urls, str):
            urls = [urls]
        if set(value) - _TURN_KEYS or not urls or not isinstance(value.get("secret"), str):
            raise ConfigError("webrtc.turn: needs 'urls' and 'secret', may have 'ttl' (seconds)")
        if not all(str(url).startswith(("turn:", "turns:")) for url in urls):
            raise ConfigError("webrtc.turn.urls: write turn:host:port or turns:host:port")
        return cls(tuple(map(str, urls)), value["secret"], int(value.get("ttl", TURN_TTL_S)))

    def link(self, url: str, name: str, wall_s: int) -> str:
        """The `Link` header for one client (RFC 9725, 4.6)."""
        user = f"{wall_s + self.ttl_s}:{name}"
        digest = hmac.new(self.secret.encode(), user.encode(), "sha1").digest()
        password = base64.b64encode(digest).decode()
        return (
            f'<{url}>; rel="ice-server"; username="{user}"; '
            f'credential="{password}"; credential-type="password"'
        )


class Network:
    """Sockets of the configured range; one per peer and address."""

    def __init__(
        self,
        listen: tuple[str, ...] = ("127.0.0.1",),
        udp_ports: str = "50000-50999",
        advertise: tuple[str, ...] = (),
        ice_servers: tuple[str, ...] = (),
        turn: dict[str, Any] | None = None,
        *,
        wall_s: Callable[[], float],
    ) -> None:
        """Raises `ConfigError`."""
        try:
            self.listen = tuple(str(ip_address(address)) for address in listen)
            self.advertise = tuple(str(ip_address(address)) for address in advertise)
        except ValueError as error:
            raise ConfigError(f"webrtc: {error}; write numeric addresses") from error
        if not self.advertise and any(ip_address(a).is_unspecified for a in self.listen):
            raise ConfigError(
                "webrtc.listen: every address says nothing to clients; name them in 'advertise'"
            )
        for url in ice_servers:
            if not url.startswith("stun:"):
                raise ConfigError(f"webrtc.ice_servers: not a STUN server: '{url}'")
        self.stun = ice_servers
        self.turn = None if turn is None else Turn.of(turn)
        first, _, last = udp_ports.partition("-")
        self._ports = range(int(first), int(last) + 1)
        self._turn_of = 0
        self._wall_s = wall_s

    @property
    def checks_clients(self) -> bool:
        """Whether clients' candidates are of use: only where our own address is not known. Else
        a client finds us, and its list would only make us knock at addresses that it names."""
        return bool(self.stun)

    def bind(self, address: str) -> socket.socket:
        """A UDP socket on a free port of the range. Raises `NoPort`."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in self._ports:
            port = self._ports[self._turn_of % len(self._ports)]
            self._turn_of += 1
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.bind((address, port))
            except OSError:
                sock.close()
                continue
            sock.setblocking(False)
            for kind in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, kind, UDP_BUFFER)
            return sock
        raise NoPort(f"no free UDP port in {self._ports[0]}-{self._ports[-1]} at {address}")

    def told(self, address: str) -> Iterator[str]:
        """What clients are told instead of one of our addresses."""
        version = ip_address(address).version
        same = [one for one in self.advertise if ip_address(one).version == version]
        yield from same or [address]

    def links(self, name: str) -> list[str]:
        """`Link` headers with the ICE servers for one client."""
        found = [f'<{url}>; rel="ice-server"' for url in self.stun]
        if self.turn is not None:
            now = int(self._wall_s())
            found += [self.turn.link(url, name, now) for url in self.turn.urls]
        return found
