"""`OutboundSettings`: where the server may go although it is no address of the internet."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from pydantic import field_validator

from streamgen.config import Settings
from streamgen.errors import ConfigError
from streamgen_edge.outbound.ranges import Ip, Network, ends_at, is_metadata, peculiar
from streamgen_edge.outbound.url import Url

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*")


class OutboundSettings(Settings):
    """What pushes, hooks, callbacks and fetched keys may reach. Read again on SIGHUP."""

    allow: tuple[str, ...] = ()
    """Names, addresses or ranges (`10.0.0.0/8`) in the own network. A cloud's metadata address
    must be named itself: no name and no range stands for it."""

    @field_validator("allow")
    @classmethod
    def _each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if _network(entry) is None and not _NAME.fullmatch(entry):
                raise ValueError(f"'{entry}' is no host, address or range (write 10.0.0.0/8)")
        return tuple(entry.lower().rstrip(".") for entry in value)

    def lists(self, host: str, ip: Ip) -> bool:
        """Whether this address of this host was allowed by the one who runs the server."""
        networks = [network for network in map(_network, self.allow) if network is not None]
        ends = ends_at(ip)
        if is_metadata(ip):
            return any(n.num_addresses == 1 and n[0] in ends for n in networks)
        inside = any(one.version == n.version and one in n for n in networks for one in ends)
        return inside or host.lower().rstrip(".") in self.allow

    def refusal(self, host: str, ip: Ip) -> str | None:
        """Why this address of this host is not gone to; None: it may be."""
        kind = peculiar(ip)
        return None if kind is None or self.lists(host, ip) else kind


def refuse_inside(key: str, url: Url, outbound: OutboundSettings) -> None:
    """What can be said of a URL before its name is resolved. Raises `ConfigError`."""
    loopback = url.host.lower() == "localhost"
    try:
        ip = ip_address("127.0.0.1" if loopback else url.host)
    except ValueError:
        return
    refused = outbound.refusal(url.host, ip)
    if refused is None and not url.secure and not outbound.lists(url.host, ip):
        refused = "reached without TLS"
    if refused is not None:
        raise ConfigError(f"{key}: {url.host} is {refused}, and outbound.allow does not have it")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
