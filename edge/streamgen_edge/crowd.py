"""`Crowd`: how many of something one address has, and all together. Who is too many is counted."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

SURPLUS = "streamgen.surplus"
"""Set in the scope of a request whose connection is one too many."""
SAY_AGAIN_S = 10.0
"""The log hears of a limit that is reached so often at most, with the number of those refused."""
log = logging.getLogger("streamgen.edge.limits")


def customer(address: str) -> str:
    """An address, or of IPv6 the network of 64 bits, which is one customer's."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return ip.exploded[:19]


class Refusals:
    """Counts what the limits of the server keep out: `streamgen_refused_total`, by limit."""

    def __init__(
        self,
        count: Callable[[str, str], None] = lambda name, reason: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._clock_s = clock_s
        self._unsaid: Counter[str] = Counter()
        self._said_s: dict[str, float] = {}

    def add(self, limit: str) -> None:
        """One more was refused. `limit` is the key below `limits` in the configuration."""
        self._count("refused", limit)
        self._unsaid[limit] += 1
        now = self._clock_s()
        if now - self._said_s.get(limit, float("-inf")) >= SAY_AGAIN_S:
            self._said_s[limit] = now
            log.warning("limits.%s is reached: %d refused", limit, self._unsaid.pop(limit))


class Crowd:
    """Those who are in, by address."""

    def __init__(
        self,
        limit: str = "",
        most: Callable[[], int] = lambda: sys.maxsize,
        refusals: Refusals | None = None,
        in_all: int = sys.maxsize,
    ) -> None:
        """`most()` of one address may be in, and `in_all` together."""
        self._limit = limit
        self.most = most
        self._in_all = in_all
        self._refusals = refusals
        self._in: Counter[str] = Counter()
        self.number = 0

    def enter(self, address: str) -> bool:
        """Whether one more of this address may come in; then it is in until `leave`."""
        name = customer(address)
        if self.number >= self._in_all or self._in[name] >= self.most():
            self.refuse()
            return False
        self._in[name] += 1
        self.number += 1
        return True

    def refuse(self) -> None:
        """Count one that was kept out."""
        if self._refusals is not None:
            self._refusals.add(self._limit)

    def leave(self, address: str) -> None:
        """One that came in has gone."""
        name = customer(address)
        self.number -= 1
        self._in[name] -= 1
        if not self._in[name]:
            del self._in[name]
