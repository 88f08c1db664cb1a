"""`Client`: one HTTP request to another server, with a limit to everything that may come back.

HTTP/1.1, a connection for each request. Redirects are answers like any other and never followed:
what asks here knows where it goes. No proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h11

from streamgen import __version__
from streamgen_edge.outbound.resolving import (
    Address,
    Forbidden,
    Lookup,
    Names,
    OutboundError,
    resolve,
)
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url

MOST_HEAD = 16 << 10
_AT_ONCE = 64 << 10
_READ = (b"location", b"retry-after")
"""Headers of an answer that are looked at."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    location: str | None = None
    """Where what was made lies, or where to ask instead: as the other says it."""
    retry_after: str | None = None
    """When to ask again: as the other says it."""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """On the loop's thread; asks as many at a time as it is asked to."""

    def __init__(
        self,
        outbound: OutboundSettings,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` says whose certificates are believed; default: those that this machine does."""
        self._outbound = outbound
        self._lookup = Names() if lookup is None else lookup
        self._tls = tls

    def use(self, outbound: OutboundSettings) -> None:
        """Of requests to come."""
        self._outbound = outbound

    async def get(self, url: Url, *, within_s: float, most_bytes: int) -> Answer:
        """Raises `OutboundError`, also where the body is longer than that."""
        headers = {"accept": "application/json"}
        return await self.ask(url, "GET", headers, b"", within_s, most_bytes)

    async def post(
        self, url: Url, body: bytes, headers: Mapping[str, str], *, within_s: float
    ) -> int:
        """JSON; the status of the answer, whose body is not looked at. Raises `OutboundError`."""
        all_headers = {"content-type": "application/json", "accept": "*/*", **headers}
        answer = await self.ask(url, "POST", all_headers, body, within_s, None)
        return answer.status

    async def ask(
        self,
        url: Url,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        within_s: float,
        most_bytes: int | None,
    ) -> Answer:
        """`within_s` is for all together, from the name to the last byte; `most_bytes` None: the
        body does not matter. Raises `OutboundError`."""
        try:
            async with asyncio.timeout(within_s):
                addresses = await resolve(url.host, url.port, self._outbound, self._lookup)
                if not url.secure and not all(address.listed for address in addresses):
                    raise Forbidden(url.host, "without TLS only to what outbound.allow has")
                reader, writer = await self._connected(url, addresses, within_s)
                try:
                    line = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
                    writer.write(_request(line, url, method, headers, body))
                    return await _answer(line, url.host, reader, most_bytes)
                finally:
                    writer.transport.abort()  # a farewell could take as long as the other likes
        except TimeoutError as error:
            raise OutboundError(url.host, f"no answer within {within_s:g} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise OutboundError(url.host, _reason(error)) from error

    async def _connected(
        self, url: Url, addresses: Sequence[Address], within_s: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """By the first address that can be; each has its share of the time."""
        tls = await self._believed() if url.secure else None
        name = url.host if url.secure else None
        *others, last = addresses
        for address in others:
            try:
                async with asyncio.timeout(within_s / len(addresses)):
                    return await asyncio.open_connection(
                        address.ip, address.port, ssl=tls, server_hostname=name
                    )
            except ssl.SSLError:
                raise
            except OSError:  # or in time: TimeoutError is one
                continue
        return await asyncio.open_connection(last.ip, last.port, ssl=tls, server_hostname=name)

    async def _believed(self) -> ssl.SSLContext:
        if self._tls is None:  # reading them takes so long that a picture would be late
            self._tls = await asyncio.to_thread(_system_trust)
        return self._tls


def _system_trust() -> ssl.SSLContext:
    tls = ssl.create_default_context()
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return tls


def _request(
    line: h11.Connection, url: Url, method: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    fixed = {
        "host": url.authority,
        "user-agent": f"streamgen/{__version__}",
        "accept-encoding": "identity",
        "connection": "close",
        "content-length": str(len(body)),
    }
    request = h11.Request(
        method=method, target=url.path, headers=[*fixed.items(), *headers.items()]
    )
    parts = (request, h11.Data(data=body), h11.EndOfMessage())
    return b"".join(line.send(part) or b"" for part in parts)


async def _answer(
    line: h11.Connection, host: str, reader: asyncio.StreamReader, most_bytes: int | None
) -> Answer:
    """`most_bytes` None: its body does not matter."""
    status, size, parts = 0, 0, []
    found: dict[bytes, str] = {}
    while True:
        event = line.next_event()
        if event is h11.NEED_DATA:
            line.receive_data(await reader.read(_AT_ONCE))
        elif isinstance(event, h11.Response):
            status = event.status_code
            found = {k: v.decode("latin-1") for k, v in event.headers if k in _READ}
            if most_bytes is None:
                break
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if most_bytes is not None and size > most_bytes:
                raise OutboundError(host, f"its answer is longer than {most_bytes} bytes")
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise OutboundError(host, "it broke off")
    return Answer(status, b"".join(parts), *map(found.get, _READ))


def _reason(error: OSError | h11.RemoteProtocolError) -> str:
    """Nothing of what the other said."""
    match error:
        case h11.RemoteProtocolError():
            return "its answer is no HTTP, or broke off"
        case ssl.SSLCertVerificationError():
            return f"its certificate does not hold: {error.verify_message}"
        case ssl.SSLError():
            return "no TLS connection could be made"
        case _:
            return os.strerror(error.errno).lower() if error.errno else "it broke off"
