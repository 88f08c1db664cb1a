"""A host's addresses, asked for once: what is connected to is what was looked at.

Were the name asked again when it is connected, it could say something else then (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from streamgen.errors import StreamGenError
from streamgen_edge.outbound.once import Once
from streamgen_edge.outbound.ranges import Ip
from streamgen_edge.outbound.settings import OutboundSettings

MOST_ADDRESSES = 8
Lookup = Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]
"""The addresses of a host, as texts. Raises `OSError`."""


class OutboundError(StreamGenError):
    """Another server could not be reached, or may not be. Nothing of its URL but the host is in
    the text, and nothing that it said."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason


class Forbidden(OutboundError):
    """The host is where nothing is sent to: trying again is of no use."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place that may be connected to, by its `ip` and no name."""

    host: str
    """What a certificate must be for, and what the other is called by."""
    ip: str
    port: int
    listed: bool
    """`outbound.allow` names it."""


async def resolve(
    host: str, port: int, outbound: OutboundSettings, lookup: Lookup | None = None
) -> tuple[Address, ...]:
    """The addresses of a host, all of which may be connected to.

    One that may not be spoils all: a name that leads inside, too, is not to be trusted. Raises
    `Forbidden`, and `OutboundError` when the host has no address.
    """
    found = await _addresses(host, port, lookup or ask_system)
    for ip in found:
        refused = outbound.refusal(host, ip)
        if refused is not None:
            raise Forbidden(host, f"{refused}, and outbound.allow does not have it")
    return tuple(Address(host, str(ip), port, outbound.lists(host, ip)) for ip in found)


async def _addresses(host: str, port: int, lookup: Lookup) -> list[Ip]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        texts = await lookup(host, port)
        found = [ip_address(text) for text in dict.fromkeys(texts)]
    except (OSError, ValueError) as error:
        raise OutboundError(host, "its name leads nowhere") from error
    if not found:
        raise OutboundError(host, "its name leads nowhere")
    return found[:MOST_ADDRESSES]


async def ask_system(host: str, port: int) -> Sequence[str]:
    """As this machine resolves names.

    In a thread of its own, which keeps nobody from ending: a resolver may take half a minute, and
    the loop's own threads are for others.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def tell(found: Sequence[str] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: Sequence[str] | OSError
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [str(row[4][0]) for row in rows]
        except UnicodeError:
            found = OSError("not a name")
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=ask, name=f"name {host}", daemon=True).start()
    return await answer


class Names:
    """A lookup that asks for each host once at a time, however many want to know."""

    def __init__(self, lookup: Lookup = ask_system) -> None:
        self._lookup = lookup
        self._asked: Once[tuple[str, int], Sequence[str]] = Once()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return await self._asked.ask((host, port), lambda: self._lookup(host, port))
