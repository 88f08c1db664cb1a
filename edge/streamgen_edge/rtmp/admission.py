"""How many clients may come, from where, and how fast they may send."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from streamgen_edge.rtmp.limits import Limits


@dataclass(slots=True, eq=False)
class Origin:
    """The clients of one address, or of one IPv6 network of 64 bits, which is one customer's."""

    name: str
    rate: int
    """Bytes per second."""
    clients: int = 0
    _spent: float = 0.0
    _at: float = 0.0

    def delay_s(self, received: int, now: float) -> float:
        """Count bytes; how long reading must wait for the rate to hold (bursts of one second)."""
        self._spent = max(0.0, self._spent - (now - self._at) * self.rate) + received
        self._at = now
        return max(0.0, self._spent / self.rate - 1.0)


class Admission:
    """Counts clients, all together and by origin."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._origins: dict[str, Origin] = {}
        self.clients = 0

    def enter(self, address: str) -> Origin | str:
        """The origin of a client that may come in; else the limit that keeps it out."""
        if self.clients >= self._limits.connections:
            return "connections"
        name = _origin(address)
        origin = self._origins.get(name)
        if origin is None:
            origin = Origin(name, self._limits.bytes_per_s_per_address)
        if origin.clients >= self._limits.connections_per_address:
            return "connections_per_address"
        self._origins[name] = origin
        origin.clients += 1
        self.clients += 1
        return origin

    def leave(self, origin: Origin) -> None:
        """A client that came in has gone."""
        origin.clients -= 1
        self.clients -= 1
        if not origin.clients:
            del self._origins[origin.name]


def _origin(address: str) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return ip.exploded[:19]
